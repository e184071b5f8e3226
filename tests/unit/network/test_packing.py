from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codegen import trits
from pipeline.core.errors import UnsupportedError
from pipeline.core.nouns import QLayer, Quantization, TensorSpec
from pipeline.network import packing
from tests.support import unpacking


@given(st.sampled_from(packing.WIDTHS), st.integers(1, 6), st.integers(1, 70), st.integers(0, 999))
def test_unpacking_gives_the_weights_back(bits: int, rows: int, count: int, seed: int) -> None:
    limit = (1 << (bits - 1)) - 1
    weights = np.random.default_rng(seed).integers(-limit, limit + 1, (rows, count)).astype(np.int8)
    packed = packing.pack(weights, bits)
    assert packed.shape == (rows, -(-count * bits // 8))
    assert np.array_equal(unpacking.unpack(packed, bits, count), weights)


def test_golden_bytes() -> None:
    """Worked by hand: 0 -> 00, +1 -> 01, -1 -> 11, the first weight in the low bits; 3 bits run across bytes."""
    assert packing.pack(np.array([[1, -1, 0, 1, -1]]), 2).tolist() == [[0b01_00_11_01, 0b00_00_00_11]]
    assert packing.pack(np.array([[3, -3, 1]]), 3).tolist() == [[0b01_101_011, 0b0000000_0]]


OUTSIDE = [(2, 2, "-1 to 1"), (2, -2, "-1 to 1"), (3, -4, "-3 to 3"), (4, 8, "-7 to 7")]


@pytest.mark.parametrize(("bits", "value", "allowed"), OUTSIDE)
def test_other_values_never_reach_the_packer(bits: int, value: int, allowed: str) -> None:
    weights = np.array([[0, 1, value, -1]], np.int8)
    layer = QLayer("conv7", "dense", (0,), TensorSpec((1,), Quantization(1.0, 0)), weights=weights, weight_bits=bits)
    with pytest.raises(UnsupportedError, match=rf"layer 'conv7': weight 2 is {value}, .* is {allowed}"):
        packing.require_range(layer)


def test_an_unserved_width_names_the_nearest() -> None:
    layer = QLayer(
        "d", "dense", (0,), TensorSpec((1,), Quantization(1.0, 0)), weights=np.ones((1, 1), np.int8), weight_bits=6
    )
    with pytest.raises(UnsupportedError) as error:
        packing.require_range(layer)
    assert "6-bit" in str(error.value)
    assert "nearest that works: 4" in error.value.hint or "nearest that works: 8" in error.value.hint


@given(st.integers(0, 60), st.sampled_from([0.0, 0.3, 0.9, 1.0]), st.integers(0, 999))
def test_trits_give_the_fields_back(words: int, density: float, seed: int) -> None:
    """As the kernels have them: -1 is field 0 or 3, by its place in the word."""
    random = np.random.default_rng(seed)
    weights = random.choice([-1, 1], (words, 16)) * (random.random((words, 16)) < density)
    fields = np.where(np.arange(16) % 2, weights & 3, weights + 1)
    table = (fields << 2 * np.arange(16)).sum(axis=1).astype(np.uint32)
    packed = trits.pack_trits(table)
    assert packed is not None
    digits, threes = packed
    assert len(digits) == -(-words // 5) * 16
    assert threes & ~0xCCCCCCCC == 0
    assert np.array_equal(unpacking.unpack_trits(digits, threes)[:words], table)


def test_golden_trits() -> None:
    """Worked by hand: fields 1 3 0 1 3, the 3 as digit 2: 1 + 3 * 2 + 27 * 1 + 81 * 2 = 196."""
    table = packing.pack(np.array([[1, -1, 0, 1, -1]]), 2)
    packed = trits.pack_trits(table)
    assert packed is not None
    assert packed[0].tolist() == [196, *[0] * 15]
    assert packed[1] == 0b01_00_00_01_00


def test_a_table_with_four_values_in_one_place_needs_its_two_bits() -> None:
    assert trits.pack_trits(np.array([2, 3], np.uint32)) is None
    assert trits.pack_trits(np.array([2, 3 << 2], np.uint32)) is not None
