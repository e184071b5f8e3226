"""dfu-util: USB bootloaders that speak DFU, with ST's extensions (DfuSe) or without."""

from __future__ import annotations

from pathlib import Path

from pipeline.config.board import Board
from pipeline.core.shell import Result
from pipeline.device.runners import USB_FAILURES, Failure, already_running, firmware, judge

PROGRAM = "dfu-util"
EMULATOR = False
NEEDS_PORT = False
attach = already_running
PROOF = r"File downloaded successfully"
"""Not the exit code: a board that leaves the bootloader at once makes dfu-util end with 74 after a good download."""
FAILURES = (
    *USB_FAILURES,
    Failure(
        r"No DFU capable USB device",
        "no bootloader found",
        "bring the board into its bootloader (Arduino: press reset twice) and run again",
    ),
    Failure(
        r"More than one DFU capable USB device",
        "more than one bootloader found",
        "unplug the others, or name the unit's USB serial number in rig.toml",
    ),
    Failure(
        r"Cannot open (?:DFU )?device",
        "the bootloader cannot be opened",
        "sudo usermod -aG plugdev $USER; log in again",
    ),
    Failure(
        r"dfuERROR|out of range|Error during|Lost device",
        "the bootloader refused or lost the image",
        "restart the bootloader and run again",
    ),
)


def command(board: Board, folder: Path, place: str | None = None, serial_number: str = "") -> list[str]:
    """Writes and starts firmware.bin."""
    arguments = board.flashing.dfu_util
    assert arguments is not None
    unit = ["-S", serial_number] if serial_number else []
    # Plain DFU knows its address and starts the image when USB is reset.
    where = ["-s", f"0x{board.memory.flash.origin:08x}:leave"] if arguments.dfuse else ["-R"]
    path = str(firmware(board, folder, "bin"))
    return [PROGRAM, "-d", arguments.usb_id, *unit, "-a", str(arguments.alt), *where, "-D", path]


def verify(board: Board, result: Result) -> None:
    """DeviceError unless dfu-util delivered the whole image; the bootloader itself checks what it writes."""
    judge(result, PROOF, FAILURES, exit_code_counts=False)
