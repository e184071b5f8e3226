"""bossac of BOSSA: the SAM-BA bootloader of Atmel SAM boards and its Arduino relatives.

BOSSA 1.9 is reported to leave an Arduino Due unable to start (issue 125 of shumatech/BOSSA); HELLO tells.
"""

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

PROGRAM = "bossac"
EMULATOR = False
NEEDS_PORT = True
attach = already_running
PROOF = r"^Verify successful"
FAILURES = (
    Failure(r"No device found on", SILENT, "press reset (Due: hold ERASE, then press reset) and run again"),
    Failure(r"^Verify failed", CORRUPTED, "run again; check the cable"),
    Failure(
        r"SAM-BA operation failed|Flash command failed|Flash erase failed|short write",
        "the bootloader refused or lost the image",
        "restart the bootloader and run again",
    ),
    *PORT_FAILURES,
)


def command(board: Board, folder: Path, place: str | None = None, serial_number: str = "") -> list[str]:
    """Erases, writes, reads back and starts firmware.bin; the port goes without its folder, as BOSSA names ports."""
    arguments = board.flashing.bossac
    assert arguments is not None
    port = need_port(board, place).removeprefix("/dev/")
    offset = [f"--offset=0x{arguments.offset:x}"] if arguments.offset else []
    return [
        *(PROGRAM, f"--port={port}", f"--usb-port={str(arguments.native_usb).lower()}", *offset),
        *("--erase", "--write", "--verify", "--boot", "--reset", str(firmware(board, folder, "bin"))),
    ]


def verify(board: Board, result: Result) -> None:
    """DeviceError unless bossac read the image back."""
    judge(result, f"(?m){PROOF}", FAILURES)
