"""What a command of `tritmcu` is: a class with a name, a line of help, options and `invoke`.

Its file is imported for `--help` already, so it imports nothing heavy at its top: what a command works with is imported
in `invoke`.
"""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True)
class Option:
    """One option or positional argument, as data: commands share them, and a hint can repeat what was given."""

    flag: str
    """ "--board", or the bare name of a positional argument."""
    help: str
    """One line, without a full stop."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of argparse's add_argument."""
    group: str = ""
    """Heading in the command's help; "": among argparse's own."""
    selects: bool = True
    """Whether it decides which run is meant, so that a hint about the same run repeats it."""

    @property
    def name(self) -> str:
        """Its attribute of the parsed arguments."""
        return self.flag.lstrip("-").replace("-", "_")

    def given(self, arguments: argparse.Namespace) -> bool:
        """Whether the command line says something else than the default."""
        value = getattr(arguments, self.name, None)
        return bool(value not in (None, False, self.settings.get("default")))

    def takes_as(self, other: Option) -> bool:
        """Whether both take as many values, so that what is given to one can be given to the other."""
        return all(self.settings.get(key) == other.settings.get(key) for key in ("nargs", "action"))

    def cli_args(self, arguments: argparse.Namespace) -> list[str]:
        """The words that give it again; none when it was not given."""
        if not self.given(arguments):
            return []
        value = getattr(arguments, self.name)
        flag = [self.flag] if self.flag.startswith("-") else []
        words = value if isinstance(value, list) else [] if value is True else [value]
        return [*flag, *map(str, words)]


class Command(ABC):
    """One command. A subclass is listed in commands/__init__.py."""

    NAME: ClassVar[str]
    """As it is typed."""
    HELP: ClassVar[str]
    """One line: what it does."""
    OPTIONS: ClassVar[tuple[Option, ...]] = ()
    """Those it uses, and no others."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Tells the parser the options, under their headings."""
        groups: dict[str, Any] = {"": parser}
        for option in self.OPTIONS:
            if option.group not in groups:
                groups[option.group] = parser.add_argument_group(option.group)
            groups[option.group].add_argument(option.flag, help=option.help, **option.settings)

    def repeated(self, asker: Command) -> tuple[Option, ...]:
        """Its options that a hint of the command `asker` repeats, where they were given there."""
        return tuple(option for option in self.OPTIONS if option.selects)

    @abstractmethod
    def invoke(self, arguments: argparse.Namespace) -> int:
        """Does it; the exit code. An expected failure is a PipelineError."""
