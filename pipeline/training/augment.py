"""How a trainer may vary samples: modes of Dataset.augment, on int8 batches, before they reach the framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from pipeline.core.nouns import Int8Array, Quantization

Augment = Callable[[Int8Array, Quantization, np.random.Generator], Int8Array]


def none(x: Int8Array, quantization: Quantization, rng: np.random.Generator) -> Int8Array:
    """x itself."""
    return x


def crop(x: Int8Array, quantization: Quantization, rng: np.random.Generator) -> Int8Array:
    """Images x (n, h, w, c), each moved by up to an eighth of its size in both directions, real zeros moving in."""
    n, h, w, _ = x.shape
    dy, dx = h // 8, w // 8
    padded = np.pad(x, ((0, 0), (dy, dy), (dx, dx), (0, 0)), constant_values=quantization.zero_point)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (h, w), axis=(1, 2))  # type: ignore[call-overload]
    moved: Int8Array = windows[np.arange(n), rng.integers(0, 2 * dy + 1, n), rng.integers(0, 2 * dx + 1, n)]
    return np.ascontiguousarray(np.moveaxis(moved, 1, -1))


def crop_flip(x: Int8Array, quantization: Quantization, rng: np.random.Generator) -> Int8Array:
    """`crop`, and every other image mirrored left to right."""
    x = crop(x, quantization, rng)
    mirrored = rng.random(len(x)) < 0.5
    x[mirrored] = x[mirrored, :, ::-1]
    return x


def shift(x: Int8Array, quantization: Quantization, rng: np.random.Generator) -> Int8Array:
    """Spectrograms x (n, time, frequency, c), each moved in time by up to a tenth, its first or last frame repeated."""
    n, frames = x.shape[:2]
    reach = frames // 10
    index = np.arange(frames) + rng.integers(-reach, reach + 1, (n, 1))
    moved: Int8Array = x[np.arange(n)[:, np.newaxis], np.clip(index, 0, frames - 1)]
    return moved


MODES: Mapping[str, Augment] = {"none": none, "crop": crop, "crop_flip": crop_flip, "shift": shift}
