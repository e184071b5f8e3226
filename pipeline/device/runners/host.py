"""The host board: its firmware is a program of this machine, which the pipe link starts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.config.board import Board
from pipeline.device.runners import firmware

PROGRAM = ""
EMULATOR = True


def command(board: Board, folder: Path, place: str | None = None) -> list[str]:
    """The program itself."""
    return [place or str(firmware(board, folder))]


@contextmanager
def attach(board: Board, folder: Path, place: str | None = None) -> Iterator[str]:
    """Yields the program's path; every link opened there is a fresh process."""
    yield command(board, folder, place)[0]
