"""Link buffers: a whole sample ahead where the board asks for it and has the RAM, never more than it has."""

from __future__ import annotations

import pytest

from pipeline.codegen import buffers
from pipeline.codegen.buffers import Buffers
from pipeline.config import board
from pipeline.config.board import Board
from pipeline.core import schema
from pipeline.core.errors import ConfigError
from pipeline.protocol import wire

ARENA = 20_000
SAMPLE = 3072


def target(ram_bytes: int = 128 * 1024, **link: object) -> Board:
    """olimex-stm32-h405 with that much RAM and that link."""
    plain = board.load("olimex-stm32-h405")
    ram = plain.memory.ram.model_copy(update={"length": ram_bytes})
    memory = plain.memory.model_copy(update={"ram": ram})
    return plain.model_copy(update={"memory": memory, "link": plain.link.model_copy(update=link)})


def worst_bytes(input_bytes: int, max_payload: int) -> int:
    """On the wire: a RUN, then a whole sample in full pieces and its RUN, no byte of it zero."""
    run = len(wire.encode(wire.Frame(0xFF, 0xFF, b"\xff" * 7)))
    piece = max_payload - 8
    sizes = [min(piece, input_bytes - start) for start in range(0, input_bytes, piece)]
    return 2 * run + sum(len(wire.encode(wire.Frame(0xFF, 0xFF, b"\xff" * (8 + size)))) for size in sizes)


def test_boards_that_do_not_ask_keep_theirs():
    assert buffers.plan(target(buffers="piece"), ARENA, SAMPLE) == Buffers(1024, 0)
    assert buffers.plan(board.load("netduinoplus2"), ARENA, SAMPLE) == Buffers(1024, 0)


@pytest.mark.parametrize("size", [64, 247, 248, 249, 3072, 12288, 20000])
def test_a_whole_sample_fits_behind_a_run(size):
    planned = buffers.plan(target(), ARENA, size)
    assert planned.base_bytes == size
    assert worst_bytes(size, 256) <= planned.rx_bytes
    assert planned.rx_bytes <= max(1024, 1.01 * worst_bytes(size, 256) + 40)


def test_a_small_sample_keeps_the_buffer_of_the_board():
    assert buffers.plan(target(), ARENA, 64) == Buffers(1024, 64)


def test_every_byte_of_the_ram_counts():
    """The least RAM for both, for the receive buffer alone; a byte less, and neither is there."""
    whole = buffers.plan(target(), ARENA, SAMPLE).rx_bytes
    taken = ARENA + 2048 + 256 + buffers.RESERVE_BYTES
    assert buffers.plan(target(taken + whole + SAMPLE), ARENA, SAMPLE) == Buffers(whole, SAMPLE)
    assert buffers.plan(target(taken + whole + SAMPLE - 1), ARENA, SAMPLE) == Buffers(whole, 0)
    assert buffers.plan(target(taken + whole), ARENA, SAMPLE) == Buffers(whole, 0)
    assert buffers.plan(target(taken + whole - 1), ARENA, SAMPLE) == Buffers(1024, 0)


def test_what_hello_and_the_sequence_numbers_cannot_tell_is_left():
    """HELLO has 16 bits; no more than 100 requests are unanswered at a time."""
    large = target(ram_bytes=1 << 20, max_payload=4096, rx_buffer_bytes=5000)
    assert buffers.plan(large, ARENA, 60_000).rx_bytes > 60_000
    assert buffers.plan(large, ARENA, 66_000) == Buffers(5000, 66_000)
    assert buffers.plan(target(ram_bytes=1 << 20), ARENA, 98 * 248).rx_bytes > 98 * 248
    assert buffers.plan(target(ram_bytes=1 << 20), ARENA, 98 * 248 + 1) == Buffers(1024, 98 * 248 + 1)


def test_every_bare_metal_serial_board_asks_for_it():
    loaded = [board.load(name) for name in board.names()]
    asking = {b.name for b in loaded if b.link.buffers == "sample"}
    assert asking == {b.name for b in loaded if b.link.kind == "serial" and not b.is_arduino}


def test_an_arduino_core_has_its_own_buffer():
    asked = board.load("due").model_dump(mode="json")
    asked["link"]["buffers"] = "sample"
    with pytest.raises(ConfigError, match=r"link\.buffers must be .piece.: an Arduino core has its own") as caught:
        schema.validate(Board, asked, "due.toml")
    assert "\n" not in str(caught.value)
