"""stm32loader: the UART bootloader in the ROM of every STM32 (ST application note AN3155), in Python."""

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

PROGRAM = "stm32loader"
EMULATOR = False
NEEDS_PORT = True
attach = already_running
PROOF = r"^Verification OK"
FAILURES = (
    *PORT_FAILURES,
    Failure(
        r"Can't init into bootloader|Bad reply from bootloader", SILENT, "set BOOT0 high, reset the board and run again"
    ),
    Failure(
        r"^Verification FAILED", CORRUPTED, "run again; check the cable, or lower the baud in [flashing.stm32loader]"
    ),
    Failure(
        r"Erase failed|readout protection|CommandError: NACK|data: NACK",
        "the bootloader refuses",
        "remove the read-out or write protection (stm32loader -u erases the chip), then run again",
    ),
    Failure(
        r"CommandError: Can't read port|data: Can't read port",
        "the bootloader stopped answering",
        "reset the board and run again",
    ),
)


def command(board: Board, folder: Path, place: str | None = None, serial_number: str = "") -> list[str]:
    """Erases, writes, reads back and starts firmware.bin."""
    arguments = board.flashing.stm32loader
    assert arguments is not None
    address = f"0x{board.memory.flash.origin:08x}"
    return [
        *(PROGRAM, "-p", need_port(board, place), "-b", str(arguments.baud), "-P", arguments.parity),
        *("-f", arguments.family, "-n", "-e", "-w", "-v", "-a", address, "-g", address),
        str(firmware(board, folder, "bin")),
    ]


def verify(board: Board, result: Result) -> None:
    """DeviceError unless stm32loader read the image back."""
    judge(result, f"(?m){PROOF}", FAILURES)
