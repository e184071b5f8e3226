"""st-flash of stlink-tools: ST-LINK probes."""

from __future__ import annotations

from pathlib import Path

from pipeline.config.board import Board
from pipeline.core.shell import Result
from pipeline.device.runners import CORRUPTED, USB_FAILURES, Failure, already_running, firmware, judge

PROGRAM = "st-flash"
EMULATOR = False
NEEDS_PORT = False
attach = already_running
PROOF = r"Flash written and verified! jolly good!"
FAILURES = (
    *USB_FAILURES,
    Failure(
        r"Couldn't find any ST-Link",
        "no ST-LINK found",
        "plug in the USB connector of the board's ST-LINK; tritmcu rig lists what is there",
    ),
    Failure(
        r"unknown chip id|unknown coreid|Failed to connect to target|Can not connect to target",
        "the ST-LINK does not reach the MCU",
        "check power and jumpers; set connect_under_reset in [flashing.st_flash]",
    ),
    Failure(r"Verification of flash failed", CORRUPTED, "run again; check the supply"),
    Failure(
        r"Flash programming error|Failed to unlock flash|[Ff]lash[_ ]loader",
        "writing the flash failed",
        "unplug the board, plug it in and run again; remove a write protection",
    ),
)


def command(board: Board, folder: Path, place: str | None = None, serial_number: str = "") -> list[str]:
    """Writes, reads back and starts firmware.bin."""
    under_reset = ["--connect-under-reset"] if board.flashing.st_flash.connect_under_reset else []
    unit = ["--serial", serial_number] if serial_number else []
    address = f"0x{board.memory.flash.origin:08x}"
    return [PROGRAM, *under_reset, *unit, "--reset", "write", str(firmware(board, folder, "bin")), address]


def verify(board: Board, result: Result) -> None:
    """DeviceError unless st-flash read the image back."""
    judge(result, PROOF, FAILURES)
