"""Treemaps: nested rectangles whose areas are sizes, near to squares.

Bruls, Huizing, van Wijk: Squarified Treemaps (2000).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Rectangle:
    """A place on the page, in units of its own."""

    x: float
    """Left edge."""
    y: float
    """Upper edge."""
    width: float
    """At least 0."""
    height: float
    """At least 0."""

    def inner(self, margin: float, top: float) -> Rectangle:
        """Without a margin all around and a strip at the top; empty where there is too little room."""
        width, height = self.width - 2 * margin, self.height - 2 * margin - top
        return Rectangle(self.x + margin, self.y + margin + top, max(width, 0.0), max(height, 0.0))


def squarify(sizes: Sequence[float], place: Rectangle) -> list[Rectangle]:
    """A rectangle for each size, largest first, that together fill `place`; areas are in proportion to the sizes, which
    are above 0."""
    if not sizes or not place.width * place.height:
        return [Rectangle(place.x, place.y, 0.0, 0.0)] * len(sizes)
    scale = place.width * place.height / sum(sizes)
    return list(_rows([size * scale for size in sizes], place))


def _rows(areas: Sequence[float], place: Rectangle) -> Iterator[Rectangle]:
    """Row after row along the shorter side, each as long as its rectangles become nearer to squares."""
    at = 0
    while at < len(areas):
        side = min(place.width, place.height)
        end = at + 1
        while end < len(areas) and _worst(areas[at : end + 1], side) <= _worst(areas[at:end], side):
            end += 1
        row = areas[at:end]
        yield from _row(row, place)
        place = _rest(place, sum(row))
        at = end


def _worst(row: Sequence[float], side: float) -> float:
    """The largest ratio of the sides of any rectangle in a row along `side`."""
    total = sum(row)
    if not side or not total:
        return float("inf")
    return max(max(side**2 * area / total**2, total**2 / (side**2 * area)) for area in (max(row), min(row)))


def _row(row: Sequence[float], place: Rectangle) -> Iterator[Rectangle]:
    total, at = sum(row), 0.0
    for area in row:
        share = area / total
        if place.width >= place.height:
            width, height = total / place.height, share * place.height
            yield Rectangle(place.x, place.y + at, width, height)
            at += height
        else:
            width, height = share * place.width, total / place.width
            yield Rectangle(place.x + at, place.y, width, height)
            at += width


def _rest(place: Rectangle, taken: float) -> Rectangle:
    """What a row of that area leaves."""
    if place.width >= place.height:
        width = taken / place.height
        return Rectangle(place.x + width, place.y, max(place.width - width, 1e-9), place.height)
    height = taken / place.width
    return Rectangle(place.x, place.y + height, place.width, max(place.height - height, 1e-9))
