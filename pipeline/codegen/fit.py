"""Whether what a network needs goes into a board's memory."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.config.board import Board
from pipeline.core.errors import FitError
from pipeline.core.nouns import FLASH, RAM

Needs = Mapping[str, Mapping[str, int]]
"""Bytes of FLASH and RAM by what needs them."""
_KIB = 1024


def regions(board: Board) -> dict[str, int]:
    """Bytes of FLASH and RAM that the board has."""
    return {FLASH: board.memory.flash.length, RAM: board.memory.ram.length}


def tables(layer_bytes: Mapping[str, int]) -> dict[str, int]:
    """What needs flash, from the bytes of the constant tables by layer."""
    return {f"the tables of layer {name!r}": size for name, size in layer_bytes.items()}


def require(needs: Needs, board: Board) -> None:
    """FitError when a region of the board's memory is smaller than what is known to need it. Passing is no promise:
    the code comes on top."""
    for region, parts in needs.items():
        if sum(parts.values()) > regions(board)[region]:
            raise error(region, parts, board, "at least ")


def error(region: str, parts: Mapping[str, int], board: Board, about: str = "") -> FitError:
    """The FitError that names the region, what is needed and what there is, and the largest part. about: before what
    is needed, where that is not exact."""
    largest = max(parts, key=parts.__getitem__)
    needed, available = sum(parts.values()), regions(board)[region]
    show = _kib if needed - available >= _KIB else _bytes
    return FitError(
        f"board {board.name!r}: needs {about}{show(needed)} {region}, has {show(available)}; "
        f"largest part: {largest}, {show(parts[largest])}",
        "a smaller model ([model] width in the job), or a board with more memory: tritmcu boards",
    )


def _bytes(size: int) -> str:
    return f"{size} bytes"


def _kib(size: int) -> str:
    return f"{size / _KIB:.1f} KiB"
