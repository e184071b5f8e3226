"""The lattice of a data set's inputs, and how far its elements spread."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.dataset import DatasetConfig
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import FloatArray, Int8Array, Quantization

MOST_OUTSIDE = 0.1
"""Share of the training values that a stated lattice may saturate."""


def covering(low: float, high: float) -> Quantization:
    """The 8-bit lattice that covers the real values from low to high and holds 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255
    return Quantization(scale, round(-128 - low / scale))


def chosen(x: NDArray[Any], config: DatasetConfig, place: str) -> Quantization:
    """The lattice for training samples x of real values: the one the job states, or the one that covers x and holds 0.

    ConfigError, at `place`: all values are 0; the stated lattice would saturate more than a tenth of them.
    """
    low, high = float(x.min()), float(x.max())
    if config.lattice is None:
        if low == high == 0:
            raise ConfigError(f"{place}: all training values are 0")
        return covering(low, high)
    stated = config.lattice.quantization
    first, last = (float((q - stated.zero_point) * stated.scale) for q in (stated.qmin, stated.qmax))
    half = stated.scale / 2
    outside = float(((x < first - half) | (x > last + half)).mean())
    if outside > MOST_OUTSIDE:
        raise ConfigError(
            f"{place}: the lattice covers {first:.6g} to {last:.6g}, but {100 * outside:.0f} % of the training values, "
            f"which go from {low:.6g} to {high:.6g}, lie outside",
            "scale the values, or state another lattice",
        )
    return stated


def of_pixels(pixels: NDArray[np.uint8], config: DatasetConfig) -> tuple[Int8Array, Quantization]:
    """Pixels as lattice points, same shape: 0 and 255 stand for the job's range. On the lattice that covers 0 to any
    number, pixel p is int8 p - 128."""
    low, high = config.range
    quantization = config.lattice.quantization if config.lattice else covering(low, high)
    real = low + (high - low) * np.arange(256) / 255
    return np.asarray(quantization.quantize(real)[pixels]), quantization


def spread(x: Int8Array, quantization: Quantization, axes: tuple[int, ...] = (0,)) -> FloatArray:
    """float32 (*shape): standard deviation of the samples x (n, *shape) over these axes, the same for all elements
    along them, in real units."""
    steps = np.std(x, axis=axes, keepdims=True, dtype=np.float64)
    return np.broadcast_to(steps[0] * quantization.scale, x.shape[1:]).astype(np.float32)
