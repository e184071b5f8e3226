"""Projections: what lands on the lattice, inside its ball."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.core.nouns import Quantization
from pipeline.robustness import projection

PIXELS = Quantization(1 / 255, -128)
IMAGES = arrays(np.int8, (3, 2, 2, 1))
MOVES = arrays(np.float32, (3, 2, 2, 1), elements=st.floats(-2, 2, width=32))


@given(IMAGES, IMAGES, st.integers(1, 255))
def test_linf_projection_is_the_nearest_point_of_the_box(q, clean, steps):
    projected = projection.project_linf(q, clean, steps, PIXELS).astype(int)
    assert np.abs(projected - clean).max() <= steps
    inside = np.abs(q.astype(int) - clean) <= steps
    assert np.array_equal(projected[inside], q[inside])
    assert np.all(np.abs(projected - clean)[~inside] == steps)


@given(IMAGES, MOVES, st.floats(0.004, 3))
def test_l2_projection_stays_in_the_ball_and_near_the_wish(clean, move, eps):
    projected = projection.project_l2(clean + 255 * move, clean, 255 * eps, PIXELS)
    change = (projected.astype(int) - clean).reshape(3, -1)
    assert np.all(np.linalg.norm(change, axis=1) <= 255 * eps * (1 + 1e-5))
    assert np.all(np.sign(change) * np.sign(move.reshape(3, -1)) >= 0)


@given(IMAGES, MOVES)
def test_l2_projection_only_rounds_what_lies_inside(clean, move):
    wanted = clean + 255 * move.astype(np.float64)
    assert np.abs(projection.project_l2(wanted, clean, 1e5, PIXELS) - np.clip(wanted, -128, 127)).max() <= 0.5


@given(IMAGES, MOVES)
def test_a_budget_of_each_element_is_kept_by_each_element(clean, move):
    reach = np.array([0.0, 1.0, 7.0, 255.0]).reshape(2, 2, 1)
    projected = projection.project_linf(clean + 255 * move, clean, reach, PIXELS).astype(int)
    assert np.all(np.abs(projected - clean) <= reach)
