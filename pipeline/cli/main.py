"""The command `tritmcu`: its grammar, and the only place that catches errors and exits.

What a command works with is imported once it is invoked: `--help` answers at once.
"""

from __future__ import annotations

import argparse
import errno
import io
import os
import shlex
import sys
from collections.abc import Sequence
from typing import NoReturn

from pipeline import __version__
from pipeline.cli import hints, options, packages
from pipeline.cli.command import Command
from pipeline.cli.commands import GROUPS
from pipeline.core import interrupt, text
from pipeline.core.errors import ConfigError, PipelineError
from pipeline.core.registry import unknown

INTERRUPTED = 130
DESCRIPTION = "Train robust ternary networks, pack them at 2 bits, and measure them on the microcontroller."
COMMANDS: dict[str, Command] = {command.NAME: command for group in GROUPS.values() for command in group}
FILE_SYSTEM = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room in your quota",
    errno.EROFS: "choose a writable place{with_run_dir}",
    errno.EACCES: "get permission there, or choose another place{with_run_dir}",
    errno.EPERM: "get permission there, or choose another place{with_run_dir}",
    errno.ENOTDIR: "remove the file that is in the way, or choose another place{with_run_dir}",
    errno.EEXIST: "remove the file that is in the way, or choose another place{with_run_dir}",
    errno.EISDIR: "name a file, not a folder",
    errno.EFBIG: "raise the limit on the size of files, ulimit -f",
    errno.ENOENT: "make it, or change to a folder that exists",
    errno.ELOOP: "remove the link that leads to itself",
    errno.ENAMETOOLONG: "choose a shorter name{with_run_dir}",
}
"""What a person can do about errors of the file system; others are ours."""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 1 something is missing (doctor), 2 an expected failure, 3 a broken budget, 130 interrupted."""
    _print_anything()
    with interrupt.handled():
        return _main(sys.argv[1:] if argv is None else list(argv))


def _main(words: list[str]) -> int:
    arguments = None
    try:
        arguments = parse(words)
        return COMMANDS[arguments.command].invoke(arguments)
    except PipelineError as error:
        return _failed(str(error), hints.completed(error.hint, COMMANDS, arguments), error.EXIT_CODE)
    except ModuleNotFoundError as error:
        package = packages.of_module(error.name or "")
        if package is None:
            if (error.name or "pipeline").partition(".")[0] == "pipeline":
                raise
            return _failed(str(error), "install its package, or correct the import in your own file")
        return _failed(f"the Python package {package.name} is not installed", package.install())
    except BrokenPipeError:
        return _reader_left()
    except OSError as error:
        if error.errno not in FILE_SYSTEM:
            raise
        has_run_dir = arguments is not None and options.RUN_DIR.name in arguments
        remedy = FILE_SYSTEM[error.errno].format(with_run_dir=f" with {options.RUN_DIR.flag}" if has_run_dir else "")
        hint = f"{remedy}, then run the same command again"
        return _failed(f"{error.filename or 'writing'}: {error.strerror}", hint)
    except KeyboardInterrupt:
        print("interrupted; the same command continues where it stopped", file=sys.stderr)
        return INTERRUPTED


def _print_anything() -> None:
    """Makes the standard streams print what their encoding lacks as Python escapes, and stand for closed ones."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _reader_left() -> int:
    """The exit code where nobody reads standard output any more, as of a shell's `| head`."""
    # What is still buffered would fail once more when Python ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return PipelineError.EXIT_CODE


def _failed(message: str, hint: str, code: int = PipelineError.EXIT_CODE) -> int:
    """Prints an expected failure, a line each; its exit code."""
    print(f"error: {text.one_line(message)}", file=sys.stderr)
    if hint:
        print(f"hint: {text.one_line(hint)}", file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    """Reports a wrong command line as every other wrong input is reported."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message, f"{self.prog} --help")


def parse(words: list[str]) -> argparse.Namespace:
    """The arguments. command: its name."""
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        raise ConfigError(*unknown("command", words[0], COMMANDS))
    arguments, foreign = parser().parse_known_args(words)
    if foreign:
        hint = f"tritmcu {arguments.command} --help"
        raise ConfigError(f"{arguments.command}: unrecognized arguments: {shlex.join(foreign)}", hint)
    return arguments


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    whole = _Parser(
        prog="tritmcu",
        usage="tritmcu [-h] [--version] COMMAND ...",
        description=f"{DESCRIPTION}\n\n{_overview()}",
        epilog="tritmcu COMMAND --help lists the options of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    whole.add_argument("--version", action="version", version=f"tritmcu {__version__}")
    names = whole.add_subparsers(
        metavar="COMMAND", required=True, dest="command", parser_class=_Parser, prog="tritmcu", help=argparse.SUPPRESS
    )
    for name, command in COMMANDS.items():
        command.add_arguments(names.add_parser(name, description=command.HELP, allow_abbrev=False))
    return whole


def _overview() -> str:
    """The commands with what they do, under their headings."""
    width = max(map(len, COMMANDS)) + 2
    lines = []
    for heading, group in GROUPS.items():
        lines += [f"{heading}:", *(f"  {command.NAME:<{width}}{command.HELP}" for command in group), ""]
    return "\n".join(lines).rstrip()


if __name__ == "__main__":
    sys.exit(main())
