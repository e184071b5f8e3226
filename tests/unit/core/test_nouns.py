"""nouns: the arithmetic that values carry themselves."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.core.nouns import LinkStats, Quantization


@pytest.mark.parametrize(("bits", "dtype"), [(2, np.int8), (8, np.int8), (9, np.int16), (16, np.int16)])
def test_a_lattice_of_up_to_8_bits_is_stored_in_int8(bits, dtype):
    q = Quantization(0.5, 0, bits)
    ends = q.quantize(np.array([-1e9, 1e9]))
    assert ends.dtype == dtype
    assert ends.tolist() == [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1]


def test_the_nearest_lattice_point_is_taken_and_of_two_the_even_one():
    q = Quantization(0.5, -3)
    assert q.quantize(np.array([0.0, 0.24, 0.26, 0.25, 0.75, -0.25])).tolist() == [-3, -3, -2, -3, -1, -3]
    assert q.reach == (-62.5, 65.0)
    assert q.dequantize(np.array([-128, -3, 127], np.int8)).tolist() == [-62.5, 0.0, 65.0]


def test_a_line_that_did_nothing_has_lost_nothing():
    assert set(vars(LinkStats()).values()) == {0}
