from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import packing
from pipeline.errors import UnsupportedError


@given(st.integers(1, 6), st.integers(1, 70), st.integers(0, 999))
def test_unpacking_gives_the_trits_back(rows: int, count: int, seed: int) -> None:
    trits = np.random.default_rng(seed).integers(-1, 2, (rows, count)).astype(np.int8)
    packed = packing.pack_t2(trits)
    assert packed.shape == (rows, -(-count // 4))
    assert np.array_equal(packing.unpack_t2(packed, count), trits)


def test_golden_bytes() -> None:
    """Worked by hand: 0 -> 00, +1 -> 01, -1 -> 11, the first trit in the low bits."""
    assert packing.pack_t2(np.array([[1, -1, 0, 1, -1]])).tolist() == [[0b01_00_11_01, 0b00_00_00_11]]


def test_other_values_never_reach_the_packer() -> None:
    with pytest.raises(UnsupportedError, match=r"layer 'conv7': weight 2 is 2"):
        packing.require_ternary(np.array([0, 1, 2, -1], np.int8), "conv7")
