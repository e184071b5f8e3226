"""Copying to the drive of a UF2 bootloader, such as that in the RP2040's ROM."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from pipeline.config.board import Board
from pipeline.core.errors import DeviceError
from pipeline.core.shell import Result
from pipeline.device.runners import Failure, _drives, already_running, firmware, judge

PROGRAM = "dd"
EMULATOR = False
NEEDS_PORT = False
FINDS_BOARD = True
attach = already_running
PROOF = r"[1-9]\d* bytes .*copied"
STARTED = r"Input/output error|No such device"
"""The bootloader starts the firmware, and is gone with its drive, as soon as it has the last block."""
FAILURES = (
    Failure(r"Permission denied|Read-only file system", "the drive cannot be written", "mount it for this user"),
    Failure(r"No space left", "the image is larger than the drive", "tritmcu boards shows the flash of the boards"),
)
INFO = "INFO_UF2.TXT"
"""What every UF2 bootloader has on its drive; its line "Board-ID" says what the drive belongs to."""
MOST_INFO_BYTES = 4096


def command(board: Board, folder: Path, place: str | None = None, serial_number: str = "") -> list[str]:
    """Copies firmware.uf2 until the bootloader has all of it (fsync). DeviceError: no drive of this board is mounted,
    or more than one is."""
    path = firmware(board, folder, "uf2")
    return [PROGRAM, f"if={path}", f"of={_drive(board, serial_number) / path.name}", "bs=64k", "conv=fsync"]


def verify(board: Board, result: Result) -> None:
    """DeviceError when the copy failed. What is on the board then, HELLO tells."""
    if not re.search(STARTED, result.output):
        judge(result, PROOF, FAILURES)


def _drive(board: Board, serial_number: str) -> Path:
    """Folder where the board's drive is mounted."""
    arguments = board.flashing.uf2
    assert arguments is not None
    drives = _of_unit(serial_number) if serial_number else set(_drives.mounted().values())
    ids = {drive: board_id for drive in sorted(drives) if (board_id := _board_id(drive)) is not None}
    found = [drive for drive, board_id in ids.items() if board_id == arguments.board_id]
    if len(found) == 1:
        return found[0]
    if found:
        what = f"{len(found)} drives of boards {arguments.board_id}: {', '.join(map(str, found))}"
        raise DeviceError(what, "unmount all but one, or name one's unit with --unit")
    raise _no_drive(board, arguments.board_id, ids)


def _no_drive(board: Board, board_id: str, others: Mapping[Path, str]) -> DeviceError:
    """others: board id by folder of the drives that are there."""
    named = "; ".join(f"{drive} is that of {other}" for drive, other in others.items())
    what = f"board {board.name!r}: no drive of a bootloader {board_id} is mounted" + (f" ({named})" if named else "")
    start = "plug the board in with BOOTSEL held, or press reset twice; mount the drive and run again"
    tools = [name for name in board.runners if name != "uf2"]
    return DeviceError(what, f"{start}; or --runner {tools[0]}" if tools else start)


def _of_unit(serial_number: str) -> set[Path]:
    """Where the disk of the unit, or a partition of it, is mounted."""
    link = _drives.by_serial_number(serial_number)
    if link is None:
        return set()
    disk = re.compile(rf"{re.escape(str(link.resolve()))}\d*")
    return {folder for device, folder in _drives.mounted().items() if disk.fullmatch(device)}


def _board_id(drive: Path) -> str | None:
    """What the drive belongs to, printable; None when it is not that of a UF2 bootloader."""
    try:
        with (drive / INFO).open("rb") as file:
            text = file.read(MOST_INFO_BYTES).decode("ascii", "replace")
    except OSError:
        return None
    found = re.search(r"^Board-ID:(.*)$", text, re.MULTILINE)
    return "".join(filter(str.isprintable, found[1])).strip() if found else None
