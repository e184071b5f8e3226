"""The command `tritmcu`: its grammar, and the only place that catches errors and exits.

What a command does is in verbs.py, imported once it is known: `--help` answers at once.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from pipeline import __version__
from pipeline.core.errors import ConfigError, PipelineError
from pipeline.core.registry import unknown
from pipeline.stages import STAGES

EXPECTED_FAILURE = 2
INTERRUPTED = 130
DESCRIPTION = "Train robust ternary networks, pack them at 2 bits, measure them on the microcontroller."
RUN_COMMANDS = {
    "run": "all stages, from a job or a stored model to the report",
    **STAGES,
    "export": "write the firmware as a project for CMake, the Arduino tools or PlatformIO",
}
"""Commands that work on a run, with what they do."""
LISTINGS = {
    "boards": "list the boards",
    "zoo": "list the trained networks that ship with tritmcu",
    "doctor": "check programs, packages and data; name the command for what is missing",
    "rig": "list ports and debug probes; note which board hangs on which",
    "board": "make a board file from a PlatformIO board description",
    "reproduce": "run a recorded device/twin mismatch once more",
}
"""Commands that look and show."""
FILE_SYSTEM = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room in your quota",
    errno.EROFS: "choose a place that can be written, --run-dir",
    errno.EACCES: "get permission there, or choose another place with --run-dir",
    errno.EPERM: "get permission there, or choose another place with --run-dir",
    errno.ENOTDIR: "remove the file that is in the way, or choose another place with --run-dir",
    errno.EEXIST: "remove the file that is in the way, or choose another place with --run-dir",
    errno.EISDIR: "name a file, not a folder",
}
"""What a person can do about errors of the file system; others are ours."""
WITH_JSON = frozenset({"run", "report", "boards", "zoo", "doctor", "rig"})


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 1 something is missing (doctor), 2 an expected failure, 130 interrupted."""
    signal.signal(signal.SIGTERM, _interrupt)
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        arguments = _parse(words)
        verbs = importlib.import_module("pipeline.cli.commands")
        return int(verbs.act(arguments))
    except PipelineError as error:
        print(f"error: {_one_line(str(error))}", file=sys.stderr)
        if error.hint:
            print(f"hint: {_one_line(error.hint)}", file=sys.stderr)
        return EXPECTED_FAILURE
    except OSError as error:
        if error.errno not in FILE_SYSTEM:
            raise
        print(f"error: {error.filename or 'writing'}: {error.strerror}", file=sys.stderr)
        print(f"hint: {FILE_SYSTEM[error.errno]}, then the same command again", file=sys.stderr)
        return EXPECTED_FAILURE
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return INTERRUPTED


def _interrupt(number: int, frame: object) -> NoReturn:
    """A request to end leaves through the same doors as Ctrl-C, so that nothing half-done stays."""
    raise KeyboardInterrupt


def _one_line(message: str) -> str:
    return " ".join(message.split())


class _Parser(argparse.ArgumentParser):
    """Reports a wrong command line as every other wrong input is reported."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message, f"{self.prog} --help")


def _parse(words: list[str]) -> argparse.Namespace:
    known = {**RUN_COMMANDS, **LISTINGS}
    if words and not words[0].startswith("-") and words[0] not in known:
        raise ConfigError(*unknown("command", words[0], known))
    arguments = parser().parse_args(words)
    # What a hint has to repeat, so that the command it names works on the same run.
    arguments.words = words[1:]
    return arguments


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    whole = _Parser(prog="tritmcu", description=DESCRIPTION, allow_abbrev=False)
    whole.add_argument("--version", action="version", version=f"tritmcu {__version__}")
    verbs = whole.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="verb", parser_class=_Parser)
    for name, summary in {**RUN_COMMANDS, **LISTINGS}.items():
        verb = verbs.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        if name in RUN_COMMANDS:
            _add_run(verb)
        if name in WITH_JSON:
            verb.add_argument("--json", action="store_true", help="JSON on standard output and nothing else there")
        if name == "reproduce":
            verb.add_argument("folder", type=Path, metavar="FOLDER", help="a folder of runs/NAME/stream/mismatches")
            verb.add_argument("--port", metavar="PORT", help="serial port of a real board")
        if name == "rig":
            _add_rig(verb)
        if name == "board":
            verb.add_argument("action", choices=("import",))
            verb.add_argument("file", type=Path, metavar="FILE", help="a JSON file of PlatformIO's boards folders")
            verb.add_argument("--name", default="", help="name of the board; by default the file's")
        if name == "flash":
            verb.add_argument("--dry-run", action="store_true", help="print the command lines, run none of them")
        if name == "export":
            verb.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new or an empty folder")
            formats = "cmake (as it is built here), arduino (library and sketch) or platformio"
            verb.add_argument("--format", default="cmake", metavar="FORMAT", help=formats)
    return whole


def _add_run(verb: argparse.ArgumentParser) -> None:
    """What to run, where, and how much of it."""
    add = verb.add_argument
    add("job", nargs="?", metavar="JOB", help="a job file, or the name of one in jobs/; digits when left out")
    add("--model", type=Path, metavar="NETWORK", help="of the zoo, or the folder of a stored one, instead of a job")
    add("--dataset", metavar="NAME", help="data set for a --model that does not name its own")
    add("--board", metavar="NAME", help="board instead of the job's; `tritmcu boards` lists them")
    add("--epochs", type=_positive, metavar="N", help="train so many epochs instead of the job's")
    add("--seed", type=_seed, metavar="N", help="of every random draw, instead of the job's")
    add("--limit", type=_positive, metavar="N", help="attack and stream only the first N test samples")
    add("--port", metavar="PORT", help="serial port of a real board; without it, the one of rig.toml or the only one")
    add("--unit", default="", metavar="NAME", help="which of several boards in rig.toml: its name or USB serial number")
    add("--runner", metavar="TOOL", help="flash with this one of the board's tools")
    add("--run-dir", type=Path, metavar="DIR", help="keep everything in DIR instead of runs/NAME")
    add(
        "--resume",
        action="store_true",
        help="continue an earlier training of the same recipe, also one of fewer epochs",
    )
    add(
        "--kernels",
        choices=("auto", "reference"),
        default="auto",
        help="the fastest for the core, or the portable ones",
    )
    add(
        "--trits-per-byte",
        type=int,
        choices=(4, 5),
        help="of ternary weights, instead of the job's: 5 is 1.6 bits each, where the arena has room to expand them",
    )
    add("--fresh", action="store_true", help="repeat what is up to date")


def _add_rig(verb: argparse.ArgumentParser) -> None:
    """What to note in rig.toml; without --add everything that is plugged in is listed."""
    verb.add_argument("--add", metavar="BOARD", help="note in rig.toml that this board hangs on --port")
    verb.add_argument("--port", default="", metavar="PORT", help="serial port; may be left out when only one can be it")
    verb.add_argument("--name", default="", metavar="NAME", help="what to call the unit in --unit")
    verb.add_argument("--probe", default="", metavar="SERIAL", help="serial number of a debug probe of its own")


def _positive(value: str) -> int:
    number = int(value) if value.isascii() and value.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{value!r} is no whole number above 0")
    return number


def _seed(value: str) -> int:
    if not (value.isascii() and value.isdigit() and int(value) < 1 << 31):
        raise argparse.ArgumentTypeError(f"{value!r} is no whole number below 2^31")
    return int(value)


if __name__ == "__main__":
    sys.exit(main())
