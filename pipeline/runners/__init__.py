"""Runners: how an image gets into a board, one module per tool. A module has

    PROGRAM: str       the program it needs, as in shell.PACKAGES; "" when it needs none
    EMULATOR: bool     whether it starts the board itself
    command(board, folder, place) -> list[str]
                       the exact command line: of an emulator, what starts it; of a flashing tool, what flashes it
    attach(board, folder, place) -> context manager yielding the place its link opens
                       an emulator runs, with the image loaded, as long as the block; a flashing tool yields `place`

and, unless EMULATOR,

    verify(board, result: shell.Result) -> None
                       DeviceError when the tool's output does not prove that the image was written and read back.

`folder` holds firmware.elf, firmware.bin and firmware.hex; `place` is a port, or None where the runner finds its own.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.board import Board
from pipeline.errors import DeviceError


def firmware(board: Board, folder: Path, suffix: str = "elf") -> Path:
    """Path of the built firmware. DeviceError when there is none."""
    path = folder / f"firmware.{suffix}"
    if not path.exists():
        raise DeviceError(f"{path}: no firmware to flash", f"tritmcu build --board {board.name}")
    return path
