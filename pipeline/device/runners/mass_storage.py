"""Copying to the drive that the debug adapter of a Nucleo, Discovery or DAPLink board shows."""

from __future__ import annotations

from pathlib import Path

from pipeline.config.board import Board
from pipeline.core.errors import DeviceError
from pipeline.core.shell import Result
from pipeline.device.runners import Failure, _drives, already_running, firmware, judge

PROGRAM = "dd"
EMULATOR = False
NEEDS_PORT = False
attach = already_running
PROOF = r"[1-9]\d* bytes .*copied"
FAILURES = (
    Failure(r"Permission denied|Read-only file system", "the drive cannot be written", "mount it for this user"),
    Failure(r"No space left", "the image is larger than the drive", "tritmcu boards shows the flash of the boards"),
    Failure(r"Input/output error|No such file", "the drive vanished while it was written", "plug the board in again"),
)
REPORT = "FAIL.TXT"
"""Appears on the drive, with the reason, when the adapter could not write the MCU's flash."""


def command(board: Board, folder: Path, place: str | None = None, serial_number: str = "") -> list[str]:
    """Copies firmware.bin until the adapter has all of it (fsync). DeviceError when the drive is not mounted."""
    arguments = board.flashing.mass_storage
    assert arguments is not None
    path = firmware(board, folder, "bin")
    drive = _drive(arguments.volume, serial_number)
    return [PROGRAM, f"if={path}", f"of={drive / path.name}", "bs=64k", "conv=fsync"]


def verify(board: Board, result: Result) -> None:
    """DeviceError when the copy failed or the adapter left its report. The adapter does not tell success."""
    judge(result, PROOF, FAILURES)
    report = Path(result.command[2].removeprefix("of=")).with_name(REPORT)
    if report.exists():
        reason = " ".join(report.read_text(encoding="utf-8", errors="replace").split())
        raise DeviceError(
            f"{report}: the adapter could not flash the MCU: {reason}", "plug the board in again; run again"
        )


def _drive(volume: str, serial_number: str) -> Path:
    """Folder where the drive is mounted; found by the unit's serial number if that is given."""
    link = _drives.by_serial_number(serial_number) if serial_number else _drives.DISKS / "by-label" / volume
    what = f"drive {volume}" + (f" of unit {serial_number}" if serial_number else "")
    if link is None or not link.exists():
        raise DeviceError(f"{what}: not plugged in", "tritmcu rig lists what is there")
    device = str(link.resolve())
    folder = _drives.mounted().get(device)
    if folder is None:
        raise DeviceError(f"{what}: plugged in as {device} but not mounted", f"udisksctl mount -b {device}")
    return folder
