"""pyOCD: CMSIS-DAP, ST-LINK and J-Link probes."""

from __future__ import annotations

from pathlib import Path

from pipeline.config.board import Board
from pipeline.core.shell import Result
from pipeline.device.runners import (
    PLUG_IN,
    UNREACHABLE,
    USB_FAILURES,
    WAKE_UP,
    Failure,
    already_running,
    firmware,
    judge,
)

PROGRAM = "pyocd"
EMULATOR = False
NEEDS_PORT = False
attach = already_running
PROOF = r"(?:programmed|identical|skipped) [1-9]\d* bytes"
"""It does not read back, and reports 0 programmed bytes if the target has no flash at the image's addresses."""
FAILURES = (
    *USB_FAILURES,
    Failure(r"No connected debug probe|No target device available", "no debug probe found", PLUG_IN),
    Failure(
        r"Target type .* not recognized",
        "target not built in",
        'pyocd pack install TARGET, or name the file in "pack" of [flashing.pyocd]',
    ),
    Failure(
        r"No ACK|Unexpected ACK|Memory transfer fault|get_target_voltage|no cores were discovered", UNREACHABLE, WAKE_UP
    ),
    Failure(
        r"flash (?:erase|program) .*failure", "writing the flash failed", "remove a write protection; check the supply"
    ),
    Failure(
        r"no memory region defined for address", "the image is outside the target's flash", "check the target's name"
    ),
)


def command(board: Board, folder: Path, place: str | None = None, serial_number: str = "") -> list[str]:
    """Writes and starts firmware.hex; -W: fails without a probe instead of waiting for one for ever."""
    arguments = board.flashing.pyocd
    assert arguments is not None
    pack = ["--pack", arguments.pack] if arguments.pack else []
    unit = ["-u", serial_number] if serial_number else []
    return [PROGRAM, "flash", "-W", "-t", arguments.target, *pack, *unit, str(firmware(board, folder, "hex"))]


def verify(board: Board, result: Result) -> None:
    """DeviceError unless pyOCD programmed something, or found it there."""
    judge(result, PROOF, FAILURES)
