"""The smallest step of a point in a box onto a hyperplane, in either norm."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import FloatArray

HALVINGS = {"linf": 20, "l2": 48}
"""Of the interval of the one unknown; they leave an error far below a lattice step. For l2 the interval is long:
it ends where the element of the smallest gradient has used its room."""


def onto_hyperplane(
    z: FloatArray, normal: FloatArray, change: FloatArray, norm: str, box: tuple[float, float]
) -> FloatArray:
    """float32 like z (n, *shape): the step d of smallest norm with normal * d = change (n,) and z + d inside box; where
    the box does not reach the plane, the step that comes nearest to it.

    Of linf, d = sign * min(r, room) with one r; of l2, d = clip(r * normal, -room, room): monotone in r, so bisection.
    """
    flat, w = z.reshape(len(z), -1), normal.reshape(len(z), -1)
    direction = np.where(change[:, None] >= 0, w, -w)
    room = np.where(direction > 0, box[1] - flat, flat - box[0]).astype(np.float32)
    size, wanted = np.abs(direction), np.abs(change)
    low = np.zeros(len(z), np.float32)
    high = _enough(size, room, norm)
    for _ in range(HALVINGS[norm]):
        middle = (low + high) / 2
        reached = (size * _length(size, room, middle, norm)).sum(axis=1) >= wanted
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    step = np.sign(direction) * _length(size, room, high, norm)
    return np.asarray(step.reshape(z.shape), np.float32)


def _length(size: FloatArray, room: FloatArray, r: NDArray[np.float32], norm: str) -> FloatArray:
    """How far each element moves at r."""
    return np.minimum(r[:, None] if norm == "linf" else r[:, None] * size, room)


def _enough(size: FloatArray, room: FloatArray, norm: str) -> NDArray[np.float32]:
    """An r at which every element with a gradient has used its room."""
    if norm == "linf":
        return np.asarray(room.max(axis=1), np.float32)
    moving = size > 0
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(moving, room / np.where(moving, size, 1), 0).max(axis=1), np.float32)
