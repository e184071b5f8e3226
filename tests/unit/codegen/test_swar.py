"""Fields of 16 bits that sums of two channels share: they never overflow, whatever the inputs."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.codegen.kernels import _swar
from tests.support import single

MOST_INPUT = 255
"""Of a code x + 128."""


def sums(filters: np.ndarray, chunk: int, inputs: np.ndarray) -> np.ndarray:
    """At the end of every chunk, (channels, chunks)."""
    ends = range(0, filters.shape[1], chunk)
    return np.stack([(filters[:, k : k + chunk] * inputs[:, k : k + chunk]).sum(axis=1) for k in ends], axis=1)


@pytest.mark.parametrize(("bits", "step"), [(4, 8), (4, 4), (3, 16), (3, 8)])
@pytest.mark.parametrize("density", [0.3, 1.0])
def test_no_field_overflows_with_the_worst_inputs(bits: int, step: int, density: float) -> None:
    """Those that are the largest where a channel's weights are positive, and those where they are negative."""
    random = np.random.default_rng(bits)
    for depth in (step, 10 * step, 37 * step):
        signs = single.ternary(single.Geometry("dense", (1, 1, depth), 12), random, density)
        filters = single.wider(signs, random, bits, density).astype(np.int64)
        chunk = _swar.chunk(filters, step)
        assert chunk % step == 0
        for sign in (1, -1):
            worst = MOST_INPUT * (sign * filters > 0)
            assert np.abs(sums(filters, chunk, worst)).max() < 1 << 15
        if chunk < depth:
            longer = [np.abs(sums(filters, chunk + step, MOST_INPUT * (s * filters > 0))).max() for s in (1, -1)]
            assert max(longer) >= 1 << 15, "no chunk is shorter than it must be"


@pytest.mark.parametrize(("bits", "step", "chunk"), [(4, 8, 16), (3, 16, 32)])
def test_the_largest_weights_of_all_make_the_shortest_chunks(bits: int, step: int, chunk: int) -> None:
    most = (1 << (bits - 1)) - 1
    assert _swar.chunk(np.full((2, 10 * step), most), step) == chunk
    assert _swar.chunk(np.full((2, 10 * step), -most), step) == chunk


def test_small_weights_need_one_chunk() -> None:
    assert _swar.chunk(np.zeros((2, 4096), np.int64), 8) == 4096
