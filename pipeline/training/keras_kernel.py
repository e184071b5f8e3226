"""The integers of a kernel that one of QKeras' own quantizers makes, read from its values: weights as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import UnsupportedError
from pipeline.core.nouns import Int8Array
from pipeline.training import keras_settings
from pipeline.training.keras_backend import keras, qkeras, to_numpy
from pipeline.training.quantizers import EMPTY_CHANNEL_SCALE

MOST_RESIDUE = 1e-2
"""Steps. The straight-through sum w + (q - w) of QKeras rounds in float32."""
WIDTHS = (2, 3, 4, 8)
"""Bits that the device knows."""


def codes(
    quantizer: Any, weights: NDArray[Any], channel_axes: int, place: str
) -> tuple[Int8Array, NDArray[np.float64], int]:
    """(codes int8 like weights, scale float64 per channel, bits of a code) of what the quantizer makes of the weights.

    channel_axes: trailing axes that index output channels. UnsupportedError, naming `place`: another quantizer, a
    setting that is not computed, or weights that are no multiples of one step per channel, -127 to 127.
    """
    if type(quantizer) not in keras_settings.KERNEL_SETTINGS:
        known = ", ".join(kind.__name__ for kind in keras_settings.KERNEL_SETTINGS)
        raise UnsupportedError(f"{place}: kernel quantizer {quantizer} is not computed", f"use one of {known}")
    keras_settings.require_known(quantizer, f"{place}: kernel quantizer", keras_settings.KERNEL_SETTINGS)
    values = to_numpy(quantizer(keras.ops.convert_to_tensor(weights))).astype(np.float64)
    flat = values.reshape(-1, int(np.prod(values.shape[-channel_axes:])))
    step = _step(quantizer, values).reshape(flat.shape)
    steps = np.rint(flat / step)
    if (step != step[:1]).any() or np.abs(flat / step - steps).max() > MOST_RESIDUE:
        what = f"{place}: {quantizer} makes no multiples of one step in each channel"
        raise UnsupportedError(what, "one scale for a channel, or for all of them")
    most = int(np.abs(steps).max())
    bits = next((width for width in WIDTHS if most < 1 << (width - 1)), None)
    if bits is None:
        what = f"{place}: {quantizer} makes a weight of {most} steps; the device knows -127 to 127"
        raise UnsupportedError(what, "use symmetric=1 and at most 8 bits")
    return steps.reshape(values.shape).astype(np.int8), step[0], bits


def _step(quantizer: Any, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The step of each of the values that the quantizer has just made, shaped like them."""
    if isinstance(quantizer, qkeras.quantized_linear) and quantizer.bits > 1:
        return _like(quantizer.quantization_scale, values)
    unsigned = quantizer.bits - bool(getattr(quantizer, "keep_negative", True))
    if isinstance(quantizer, qkeras.quantized_bits) and unsigned > 0:
        return np.ldexp(_like(quantizer.scale, values), int(quantizer.integer) - unsigned)
    # Two or three levels: their distance is their size.
    sizes = np.abs(values).max(axis=tuple(range(values.ndim - 1)), keepdims=True)
    return _like(np.where(sizes > 0, sizes, EMPTY_CHANNEL_SCALE), values)


def _like(step: Any, values: NDArray[np.float64]) -> NDArray[np.float64]:
    array = np.asarray(to_numpy(step), np.float64)
    return np.asarray(np.broadcast_to(np.where(array > 0, array, EMPTY_CHANNEL_SCALE), values.shape))
