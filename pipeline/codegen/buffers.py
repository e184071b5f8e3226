"""Link buffers of a firmware: how much the host may send ahead, and whether a sample is kept as the base of DELTAs."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.config.board import Board
from pipeline.protocol import wire

RESERVE_BYTES = 2048
"""RAM for what is not counted here: the frame decoder, ticks per layer, the C library."""
_MOST_RX_BYTES = 0xFFFF
"""HELLO tells it in 16 bits."""


@dataclass(frozen=True)
class Buffers:
    """What the link takes of the RAM."""

    rx_bytes: int
    """Receive buffer, the host's credit."""
    base_bytes: int
    """The base of DELTAs, 0 for none."""


def plan(board: Board, arena_bytes: int, input_bytes: int) -> Buffers:
    """What the board's `link.buffers` and its RAM allow to a network of this arena and input."""
    least = board.link.rx_buffer_bytes
    if board.link.buffers == "piece":
        return Buffers(least, 0)
    taken = arena_bytes + board.memory.stack_bytes + board.link.max_payload + RESERVE_BYTES
    free = board.memory.ram.length - taken
    rx_bytes = max(least, _sample_ahead_bytes(board, input_bytes))
    if rx_bytes > min(free, _MOST_RX_BYTES):
        rx_bytes = least
    return Buffers(rx_bytes, input_bytes if rx_bytes + input_bytes <= free else 0)


def _sample_ahead_bytes(board: Board, input_bytes: int) -> int:
    """Most bytes on the wire of one RUN under way and of all requests of the sample after it; 0 when these are more
    requests than may be unanswered."""
    fixed = wire.fixed_bytes("INPUT")
    pieces, rest = divmod(input_bytes, board.link.max_payload - fixed)
    runs = 2
    if pieces + bool(rest) + runs > wire.MOST_IN_FLIGHT:
        return 0
    size = pieces * wire.wire_size(board.link.max_payload) + runs * wire.wire_size(wire.fixed_bytes("RUN"))
    return size + (wire.wire_size(fixed + rest) if rest else 0)
