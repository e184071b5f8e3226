"""OpenOCD: ST-LINK, J-Link and CMSIS-DAP probes."""

from __future__ import annotations

from pathlib import Path

from pipeline.config.board import Board
from pipeline.core.errors import ConfigError
from pipeline.core.shell import Result
from pipeline.device.runners import (
    CORRUPTED,
    PLUG_IN,
    UNREACHABLE,
    USB_FAILURES,
    WAKE_UP,
    Failure,
    already_running,
    firmware,
    judge,
)

PROGRAM = "openocd"
EMULATOR = False
NEEDS_PORT = False
attach = already_running
PROOF = r"\*\* Verified OK \*\*"
"""Not the exit code: without an adapter in the configuration OpenOCD 0.12 prints errors and exits with 0."""
FAILURES = (
    *USB_FAILURES,
    Failure(
        r"Error: open failed|No J-Link device found|unable to find a matching CMSIS-DAP device|serial mismatch",
        "no debug probe found",
        PLUG_IN,
    ),
    Failure(
        r"Can't find \S+\.cfg",
        "this OpenOCD does not know the board",
        "install OpenOCD 0.12 or later, or name other files in [flashing.openocd] of the board",
    ),
    Failure(
        r"does not support any transports",
        "no adapter in the configuration",
        'put an interface/*.cfg first in "config" of [flashing.openocd]',
    ),
    Failure(
        r"init mode failed|unable to connect to the target|Unable to reset target|examination failed|target not halted",
        UNREACHABLE,
        WAKE_UP,
    ),
    Failure(r"\*\* Verify Failed \*\*", CORRUPTED, "run again; check the supply"),
    Failure(r"\*\* Programming Failed \*\*", "writing the flash failed", "remove a write protection; check the supply"),
)


def command(board: Board, folder: Path, place: str | None = None, serial_number: str = "") -> list[str]:
    """Writes, reads back and starts firmware.elf. ConfigError: its path holds what Tcl cannot quote."""
    arguments = board.flashing.openocd
    assert arguments is not None
    extra = [f"adapter serial {serial_number}"] if serial_number else []
    path = str(firmware(board, folder))
    if set(path) & set("{}"):
        raise ConfigError(f"{path}: OpenOCD reads no path with braces", "keep the run elsewhere with --run-dir")
    program = f"program {{{path}}} verify reset exit"
    return [
        PROGRAM,
        *(word for file in arguments.config for word in ("-f", file)),
        *(word for line in (*extra, *arguments.commands, program) for word in ("-c", line)),
    ]


def verify(board: Board, result: Result) -> None:
    """DeviceError unless OpenOCD read the image back."""
    judge(result, PROOF, FAILURES)
