"""The stored cost of a training step has the rows that `make bench-train` writes, and keeps its promise."""

from __future__ import annotations

import json

import pytest

from bench import train
from bench.results import COST


@pytest.fixture(scope="module")
def stored():
    return json.loads(COST.read_text())


def test_the_stored_rows_are_those_that_are_measured(stored):
    assert set(stored["steps"]) == set(train.VARIANTS)
    parts = [train.part(width) for width in train.WIDTHS]
    for name in parts:
        assert set(stored[name]) == {*train.ROWS, train.KERAS}
    assert set(stored["load_average"]) == {"steps", *parts, "shares"}


def test_a_ternary_step_costs_at_most_15_percent_more_than_the_float_one(stored):
    for rows in (stored[train.part(width)] for width in train.WIDTHS):
        assert [rows[name]["ratio"] <= 1.15 for name in ("ternary", "ternary, N-FGSM")] == [True, True]


def test_keras_alone_is_the_same_network():
    """Its weights have the same shapes."""
    ours, theirs = train.run(0.5).model, train.plain_network(0.5)
    assert sorted(tuple(v.shape) for v in ours.trainable_variables) == sorted(
        tuple(v.shape) for v in theirs.trainable_variables
    )
