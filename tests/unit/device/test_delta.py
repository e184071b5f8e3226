"""Samples as differences: every width, its worst values, modulo 256, in pieces of any size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.device import delta
from pipeline.protocol import wire
from tests.support import unpacking

widths = st.sampled_from(wire.DELTA_BITS)


def moved(base: np.ndarray, values: np.ndarray) -> bytes:
    return (base + values).astype(np.uint8).tobytes()


@pytest.mark.parametrize("bits", wire.DELTA_BITS)
@pytest.mark.parametrize("worst", ["lowest", "highest"])
def test_the_width_holds_its_extremes_and_nothing_more(bits, worst):
    base = np.arange(200)
    value = -(1 << bits - 1) if worst == "lowest" else (1 << bits - 1) - 1
    further = value - 1 if worst == "lowest" else value + 1
    values = np.zeros(200, np.int64)
    for place, change, expected in ((0, value, bits), (199, value, bits), (100, further, bits + 1)):
        values[:] = 0
        values[place] = change
        found = delta.between(moved(base, values), base.astype(np.uint8).tobytes())
        if expected == 8:
            assert found is None
        else:
            assert found is not None
            assert (found.bits, int(found.values[place])) == (expected, change)


def test_differences_go_round():
    """From -128 to 127 it is one step down."""
    low, high = bytes([0x80]) * 100, bytes([0x7F]) * 100
    for x, base, value in ((high, low, -1), (low, high, 1)):
        found = delta.between(x, base)
        assert found is not None
        assert (found.bits, set(found.values.tolist())) == (2, {value})


def test_a_sample_that_would_not_get_shorter_goes_as_it_is():
    assert delta.between(bytes(10), bytes(10)) is not None
    assert delta.between(bytes(6), bytes(6)) is None
    assert delta.between(bytes([64]) * 30, bytes(30)) is None


@given(widths, st.integers(1, 300), st.lists(st.integers(0, 40), min_size=1, max_size=20), st.integers(0, 1000))
def test_pieces_of_any_size_give_the_sample(bits, size, rooms, seed):
    """Read as the device reads them: as many elements as the bytes hold, at most up to the end."""
    random = np.random.default_rng(seed)
    values = random.integers(-(1 << bits - 1), 1 << bits - 1, size).astype(np.int8)
    read: list[int] = []
    while len(read) < size:
        room = rooms[len(read) % len(rooms)]
        tail, end = delta.Delta(values, bits).piece(len(read), room)
        assert 1 <= len(tail) <= max(room, 1)
        count = min(8 * len(tail) // bits, size - len(read))
        read += unpacking.unpack(np.frombuffer(tail, np.uint8)[None], bits, count)[0].tolist()
        assert len(read) == end
    assert read == values.tolist()
