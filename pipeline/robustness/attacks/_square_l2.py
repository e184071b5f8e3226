"""Proposals of the Square attack in the Euclidean norm (Andriushchenko et al. 2020, arXiv 1912.00049, section 3.3 and
algorithm 3): pyramids of opposite sign side by side in a window, whose length is taken from another window and from
what is left of the budget. A vector counts as an image of width 1."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import FloatArray
from pipeline.robustness.trial import Rows, Trial

SIGNS = np.array([-1.0, 1.0])
FIRST_TILES = 5
"""Along each side of the image, of the starting point."""
LEAST_SIDE = 3
"""Of a window; sides are odd where the image has room."""
TINY = 1e-12
Generators = dict[int, np.random.Generator]
Field = NDArray[np.float64]


def start(trial: Trial, rows: Rows, generators: Generators) -> FloatArray:
    """float32 (len(rows), *shape): every tile of the image filled with pyramids, together as long as the budget."""
    changes = np.stack([_tiled(generators[row], _image(trial)) for row in rows.tolist()])
    return _scaled(trial, rows, changes)


def proposal(trial: Trial, rows: Rows, z: FloatArray, generators: Generators, share: float) -> FloatArray:
    """z with the change in one window of every sample made anew, and none left in a second one. share: of the image
    that a window covers."""
    image = _image(trial)
    changes = (z - trial.x[rows]).reshape(len(rows), *image).astype(np.float64)
    radius = np.broadcast_to(trial.radius(rows).reshape(-1), (len(rows),))
    for change, row, reach in zip(changes, rows.tolist(), radius, strict=True):
        _move(generators[row], change, _sides(image, share), float(reach))
    return _scaled(trial, rows, changes)


def _move(generator: np.random.Generator, change: Field, sides: tuple[int, int], radius: float) -> None:
    """Changes one sample's change (h, w, c), in place."""
    h, w, channels = change.shape
    here, there = (_window(generator, (h, w), sides) for _ in range(2))
    used = np.zeros((h, w, 1), bool)
    used[here] = used[there] = True
    unused = max(radius**2 - (change**2).sum(), 0.0) / channels
    length = np.sqrt(unused + (change**2 * used).sum(axis=(0, 1)))
    old = change[here] / (TINY + np.sqrt((change[here] ** 2).sum(axis=(0, 1))))
    new = old + _pyramids(generator, sides)[:, :, None] * SIGNS[generator.integers(2, size=channels)]
    change[there] = 0.0
    change[here] = new / (TINY + np.sqrt((new**2).sum(axis=(0, 1)))) * length


def _tiled(generator: np.random.Generator, image: tuple[int, int, int]) -> Field:
    h, w, channels = image
    change = np.zeros(image)
    sides = max(h // FIRST_TILES, 1), max(w // FIRST_TILES, 1)
    for top in range(0, h - sides[0] + 1, sides[0]):
        for left in range(0, w - sides[1] + 1, sides[1]):
            tile = _pyramids(generator, sides)[:, :, None] * SIGNS[generator.integers(2, size=channels)]
            change[top : top + sides[0], left : left + sides[1]] = tile
    return change


def _pyramids(generator: np.random.Generator, sides: tuple[int, int]) -> Field:
    """(h, w) of length 1: a pyramid up in one half, one down in the other, the halves side by side or one above the
    other by chance."""
    h, w = sides
    turned = bool(generator.integers(2)) if min(h, w) > 1 else w > h
    if turned:
        h, w = w, h
    upper, lower = _pyramid(h // 2, w), _pyramid(h - h // 2, w)
    found = np.concatenate([upper, -lower])
    found /= np.linalg.norm(found)
    return np.asarray(found.T if turned else found)


def _pyramid(h: int, w: int) -> Field:
    """(h, w) of length 1: rectangles around the middle, the k-th adding 1 / k^2."""
    found = np.zeros((h, w))
    middle = h // 2, w // 2
    for k in range(max(middle) + 1):
        top, left = (max(centre - k, 0) for centre in middle)
        found[top : middle[0] + k + 1, left : middle[1] + k + 1] += 1 / (k + 1) ** 2
    return np.asarray(found / max(float(np.linalg.norm(found)), TINY))


def _window(generator: np.random.Generator, image: tuple[int, int], sides: tuple[int, int]) -> tuple[slice, slice]:
    """One of the image at a random place."""
    firsts = [int(generator.integers(0, size - side + 1)) for size, side in zip(image, sides, strict=True)]
    return slice(firsts[0], firsts[0] + sides[0]), slice(firsts[1], firsts[1] + sides[1])


def _sides(image: tuple[int, int, int], share: float) -> tuple[int, int]:
    h, w, _ = image
    area = share * h * w
    side = max(round(math.sqrt(area) if min(h, w) > 1 else area), LEAST_SIDE) | 1
    return min(side, h), min(side, w)


def _image(trial: Trial) -> tuple[int, int, int]:
    """The shape of a sample as an image."""
    shape = trial.x.shape[1:]
    return (shape[0], shape[1], shape[2]) if len(shape) == 3 else (math.prod(shape), 1, 1)


def _scaled(trial: Trial, rows: Rows, changes: Field) -> FloatArray:
    """The samples with these changes, made as long as the budget allows."""
    flat = changes.reshape(len(rows), *trial.x.shape[1:])
    size = np.linalg.norm(flat.reshape(len(rows), -1), axis=1).reshape(-1, *[1] * (flat.ndim - 1))
    return trial.clip(trial.x[rows] + flat / (TINY + size) * trial.radius(rows), rows)
