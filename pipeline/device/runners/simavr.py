"""simavr, cycle by cycle: an AVR board whose serial port is a pseudo terminal of this machine (simavr.c)."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.config.board import Board
from pipeline.core import paths, shell
from pipeline.core.errors import DeviceError, ToolError
from pipeline.core.shell import Process
from pipeline.device.runners import firmware

PROGRAM = "simavr"
EMULATOR = True
SOURCE = paths.PACKAGE / "device" / "runners" / "simavr.c"
FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-lsimavr")
START_TIMEOUT_S = 15.0
_TERMINAL = re.compile(r"^pty: (\S+)$", re.MULTILINE)


def command(board: Board, folder: Path, place: str | None = None) -> list[str]:
    """The command line that runs firmware.bin. place: not used, the pseudo terminal names itself."""
    line = (board.core, str(board.clock_hz), str(board.link.baud), str(firmware(board, folder, "bin")))
    return [str(_simulator()), *line]


@contextmanager
def attach(board: Board, folder: Path, place: str | None = None) -> Iterator[str]:
    """Yields the path of the pseudo terminal; the simulator ends with the block.

    ToolError when simavr is missing or does not start. A DeviceError of the block is given the simulator's last words
    when it is what ended.
    """
    with (
        tempfile.TemporaryDirectory(prefix="tritmcu-simavr-") as scratch,
        Process(command(board, folder, place), log=Path(scratch) / "log") as process,
    ):
        terminal = _wait_for_terminal(process)
        try:
            yield terminal
        except DeviceError as error:
            code = process.wait(timeout_s=0.5)
            if code is None:
                raise
            raise DeviceError(f"{error}; {process.log_tail()}", error.hint) from error


def _simulator() -> Path:
    """The program of simavr.c. ToolError when the simulator's library is not installed."""
    shell.require(PROGRAM)
    try:
        return shell.compiled("simavr", [SOURCE], FLAGS)
    except ToolError as error:
        if re.search(r"simavr/\S+: No such file|cannot find -lsimavr", str(error)):
            raise ToolError("the library of simavr is not installed", shell.install_hint(PROGRAM)) from error
        raise


def _wait_for_terminal(process: Process) -> str:
    """The path the simulator reports on its log."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not (found := _TERMINAL.search(process.log.read_text(encoding="utf-8", errors="replace"))):
        if process.wait(timeout_s=0.01) is not None:
            raise ToolError(
                f"simavr ended with exit code {process.returncode()}: {process.log_tail()}", "tritmcu doctor"
            )
        if time.monotonic() > deadline_s:
            raise ToolError(f"simavr opened no pseudo terminal within {START_TIMEOUT_S:g} s", "run again")
    return found[1]
