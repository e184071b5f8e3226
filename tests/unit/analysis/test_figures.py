"""Drawings: what is told apart in them."""

from __future__ import annotations

from pipeline.analysis import figures


def test_more_networks_than_colours_are_told_apart_by_their_markers():
    names = [f"network {number}" for number in range(12)]
    assert len({(mark["color"], mark["marker"]) for mark in figures._marks(names).values()}) == 12


def test_slopes_that_end_at_the_same_value_are_labelled_once():
    ends = {"a": (50.0, 0.0), "b": (40.0, 0.01), "c": (60.0, 20.0)}
    svg = figures.slopes(ends, ("paper-like", "strict"), "worst case (%)")
    assert [svg.count(f"<!-- {label} -->") for label in ("0.0", "20.0")] == [1, 1]
