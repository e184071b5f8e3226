"""Onto the input lattice, inside a ball: what an attack may hand to the device. All in lattice coordinates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import Quantization

Lattice = NDArray[Any]
"""Samples on the input lattice: int8, or int16 where sound is attacked."""

SLACK = 1e-6
"""Relative: 8/255 is eight lattice steps of 1/255, whatever floating point says."""


def project_linf(
    z: NDArray[Any], clean: Lattice, reach: NDArray[np.float64] | int, quantization: Quantization
) -> Lattice:
    """Like clean: z rounded (halves to even), every element moved to within `reach` steps of its clean value and
    into the input range. reach: whole numbers, of each element (*shape) or of all."""
    wide = clean.astype(np.int32)
    reach = np.asarray(reach, np.int32)
    low, high = np.maximum(wide - reach, quantization.qmin), np.minimum(wide + reach, quantization.qmax)
    return np.asarray(np.clip(np.rint(z), low, high), clean.dtype)


def project_l2(
    z: NDArray[Any], clean: Lattice, radius: NDArray[np.float64] | float, quantization: Quantization
) -> Lattice:
    """Lattice points near z (n, *shape) with ||q - clean||_2 <= radius, in steps, one for all samples or (n,).

    z, first pulled onto the ball, is rounded; where that leaves the ball, roundings away from `clean` are taken back,
    those that gained most first: with all of them taken back no element is farther away than in z.
    """
    base = clean.reshape(len(clean), -1).astype(np.float64)
    delta = np.clip(z.reshape(base.shape).astype(np.float64), quantization.qmin, quantization.qmax) - base
    reach = np.broadcast_to(np.reshape(radius, (-1, 1)), (len(base), 1))
    delta *= np.minimum(1.0, reach / np.maximum(np.linalg.norm(delta, axis=1, keepdims=True), 1e-12))
    steps = _rounded_inside(delta, reach * (1 + SLACK))
    return np.asarray(base + steps, clean.dtype).reshape(clean.shape)


def _rounded_inside(delta: NDArray[np.float64], radius: NDArray[np.float64]) -> NDArray[np.float64]:
    """Integers near delta (n, m), each row's norm at most `radius` (n, 1), which no row of delta exceeds."""
    steps = np.rint(delta)
    gain = np.abs(steps) - np.abs(delta)
    order = np.argsort(-gain, axis=1)
    size, rounded_up = (np.take_along_axis(a, order, axis=1) for a in (np.abs(steps), gain > 0))
    saved = np.where(rounded_up, 2 * size - 1, 0.0)
    norm_before = (steps**2).sum(axis=1, keepdims=True) - np.cumsum(saved, axis=1) + saved
    taken_back = np.zeros_like(steps)
    np.put_along_axis(taken_back, order, np.where(rounded_up & (norm_before > radius**2), 1.0, 0.0), axis=1)
    return np.asarray(steps - np.sign(steps) * taken_back)
