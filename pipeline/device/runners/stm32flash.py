"""stm32flash: the UART bootloader in the ROM of every STM32 (ST application note AN3155)."""

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

PROGRAM = "stm32flash"
EMULATOR = False
NEEDS_PORT = True
attach = already_running
PROOF = r"(?s)Wrote and verified address 0x[0-9a-fA-F]+ \(100\.00%\).*Starting execution at address \S+ done"
"""Its exit code is 0 also when the image was not started."""
FAILURES = (
    Failure(r"Failed to init device|Failed to send init", SILENT, "set BOOT0 high, reset the board and run again"),
    Failure(
        r"target write-protected|Failed to read memory",
        "the bootloader refuses to read the flash back",
        "remove the read-out protection (stm32flash -k erases the chip), then run again",
    ),
    Failure(
        r"Failed to verify at address",
        CORRUPTED,
        "run again; check the cable, or lower the baud in [flashing.stm32flash]",
    ),
    Failure(
        r"Failed to write memory|Failed to erase memory|Mass erase error|Erase failed",
        "the bootloader refuses to write the flash",
        "remove the write protection (stm32flash -u), then run again",
    ),
    Failure(
        r"Starting execution at address \S+ (?!done)",
        "the image is written, but the bootloader does not start it",
        "set BOOT0 low and press reset; then `tritmcu stream`",
    ),
    *PORT_FAILURES,
)


def command(board: Board, folder: Path, place: str | None = None, serial_number: str = "") -> list[str]:
    """Writes, reads back and starts firmware.bin."""
    arguments = board.flashing.stm32flash
    gpio = ["-i", arguments.gpio] if arguments.gpio else []
    address = f"0x{board.memory.flash.origin:08x}"
    return [
        *(PROGRAM, "-b", str(arguments.baud), "-m", arguments.mode, *gpio),
        *("-w", str(firmware(board, folder, "bin")), "-v", "-g", address, need_port(board, place)),
    ]


def verify(board: Board, result: Result) -> None:
    """DeviceError unless stm32flash read the image back."""
    judge(result, PROOF, FAILURES)
