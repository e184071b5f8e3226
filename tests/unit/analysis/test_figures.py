"""Drawings: what is told apart in them."""

from __future__ import annotations

from pipeline.analysis import figures


def test_more_networks_than_colours_are_told_apart_by_their_markers():
    names = [f"network {number}" for number in range(12)]
    assert len({(mark["color"], mark["marker"]) for mark in figures._marks(names).values()}) == 12
