"""`tritmcu import`: what another tool wrote becomes a file of ours; the kind of its file decides what."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.cli.command import Command, Option

FILE = Option("file", "board description of PlatformIO (.json)", {"type": Path, "metavar": "FILE"})
MADE = Option("--name", "name of what is made; by default the file's", {"metavar": "NAME", "default": ""})


def _board(arguments: argparse.Namespace) -> int:
    from pipeline.cli import console
    from pipeline.config import platformio

    path = platformio.import_board(arguments.file, name=arguments.name)
    console.stderr(f"{path}: written; next: tritmcu export --format arduino --board {path.stem}")
    return 0


KINDS: Mapping[str, tuple[str, Callable[[argparse.Namespace], int]]] = {
    ".json": ("board description of PlatformIO", _board),
}
"""By the file's suffix: what such a file is, and what is done with it."""


class Import(Command):
    """Dispatches by the suffix of the file."""

    NAME = "import"
    HELP = "make a board file from a PlatformIO board description"
    OPTIONS = (FILE, MADE)

    def invoke(self, arguments: argparse.Namespace) -> int:
        from pipeline.core.errors import ConfigError

        suffix = arguments.file.suffix.lower()
        if suffix not in KINDS:
            supported = ", ".join(f"{known} ({what})" for known, (what, _) in KINDS.items())
            raise ConfigError(f"{arguments.file}: cannot import a file of kind {suffix!r}", f"supported: {supported}")
        return KINDS[suffix][1](arguments)
