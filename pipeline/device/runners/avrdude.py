"""avrdude: bootloaders and programmers of AVR boards."""

from __future__ import annotations

from pathlib import Path

from pipeline.config.board import Board
from pipeline.core.shell import Result
from pipeline.device.runners import (
    CORRUPTED,
    PORT_FAILURES,
    SILENT,
    Failure,
    already_running,
    firmware,
    judge,
    need_port,
)

PROGRAM = "avrdude"
EMULATOR = False
NEEDS_PORT = True
attach = already_running
PROOF = r"[1-9]\d* bytes? of flash verified"
FAILURES = (
    Failure(r"verification (?:mismatch|error)", CORRUPTED, "run again"),
    Failure(
        r"not in sync|getsync\(\)|not responding|timeout",
        SILENT,
        "check that it is this board and port; press reset when the upload starts",
    ),
    Failure(
        r"[Ii]nvalid device signature|[Ee]xpected signature",
        "the MCU that answers is not this board's",
        "tritmcu boards lists the boards; name the port of the right one",
    ),
    *PORT_FAILURES,
)


def command(board: Board, folder: Path, place: str | None = None, serial_number: str = "") -> list[str]:
    """Writes and reads back firmware.hex; -D: a bootloader erases by itself, page by page."""
    arguments = board.flashing.avrdude
    assert arguments is not None
    return [
        *(PROGRAM, "-p", arguments.part, "-c", arguments.programmer, "-P", need_port(board, place)),
        *("-b", str(arguments.baud), "-D", "-U", f"flash:w:{firmware(board, folder, 'hex')}:i"),
    ]


def verify(board: Board, result: Result) -> None:
    """DeviceError unless avrdude read the image back."""
    judge(result, PROOF, FAILURES)
