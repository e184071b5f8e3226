"""Requantization: multipliers and shifts of a layer, and how the NumPy specification applies them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import Int8Array, QLayer, Quantization, TensorSpec
from pipeline.network import arith


def clamped(layer: QLayer, values: NDArray[np.int64]) -> Int8Array:
    """int8 outputs of a layer's values: its clamp."""
    return arith.clamp(values, *layer.params["activation"]).astype(np.int8)


def requantized(layer: QLayer, acc: NDArray[Any], rounded: bool) -> NDArray[Any]:
    """Values of a weighted layer before its clamp from sums (..., channels) without the bias: int64 if rounded,
    for sums that are integers of any dtype, else float64."""
    assert layer.bias is not None and layer.multiplier is not None and layer.shift is not None
    zero = layer.output.quantization.zero_point
    if rounded:
        return arith.requantize(np.asarray(acc).astype(np.int64) + layer.bias, layer.multiplier, layer.shift) + zero
    return np.asarray((acc + layer.bias) * gain(layer) + zero)


def thresholds(
    multiplier: NDArray[Any],
    shift: NDArray[Any],
    levels: NDArray[np.int64],
    lowest: NDArray[np.int64],
    highest: NDArray[np.int64],
) -> NDArray[np.int64]:
    """int64 (channels, levels): the smallest accumulator, from the channel's lowest to its highest + 1, that is
    requantized to each level or above. It says all: requantization never decreases."""
    shape = (len(lowest), len(levels))
    low, high = (np.broadcast_to(end[:, None], shape).copy() for end in (lowest, highest + 1))
    while (low < high).any():
        middle = (low + high) >> 1
        reached = arith.requantize(middle, multiplier[:, None], shift[:, None]) >= levels
        high, low = np.where(reached, middle, high), np.where(reached, low, np.minimum(middle + 1, high))
    return high


def largest_input(source: Quantization) -> int:
    """Largest |q - zero point| of an int8 q, also where the lattice has fewer bits: a kernel does not know that."""
    return max(127 - source.zero_point, source.zero_point + 128)


def gain(layer: QLayer) -> NDArray[np.float64]:
    """float64 (channels,): output steps per unit of a weighted layer's accumulator."""
    assert layer.multiplier is not None and layer.shift is not None
    return arith.factor(layer.multiplier, layer.shift)


def rescaled(x: NDArray[Any], layer: QLayer, name: str, rounded: bool) -> NDArray[Any]:
    """x times the factor in params NAME_mult, NAME_shift: requantized to int64 if rounded, else float64."""
    if rounded:
        return arith.requantize(x, layer.params[f"{name}_mult"], layer.params[f"{name}_shift"])
    return np.asarray(x * factor(layer, name))


def factor(layer: QLayer, name: str) -> float:
    """The real factor in params NAME_mult, NAME_shift."""
    return float(arith.factor(layer.params[f"{name}_mult"], layer.params[f"{name}_shift"]))


def centred(x: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    """x minus its zero point: int64 of integers, float64 of real numbers."""
    return x.astype(np.int64 if x.dtype.kind == "i" else np.float64) - spec.quantization.zero_point


def widened(x: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    """x minus its zero point, times 2^20: what add and concatenate rescale."""
    return centred(x, spec) * (1 << arith.ADD_LEFT_SHIFT)


def single(scale: float) -> float:
    """The float32 number next to a scale, which is what a file of TensorFlow Lite holds."""
    return float(np.float32(scale))


def weighted(source: float, scales: Any, output: float) -> NDArray[np.float64]:
    """Real factors of a weighted layer, per channel: from the scales of its input, weights and output as float32, in
    double precision, which is what TensorFlow Lite (PopulateConvolutionQuantizationParams) computes."""
    return np.asarray(single(source) * np.asarray(scales, np.float32).astype(np.float64) / single(output))


def add_params(first: Quantization, second: Quantization, output: Quantization) -> dict[str, Any]:
    """Multipliers and shifts of an add: both inputs to a common scale of twice the larger, then to the output's.

    From the scales as float32, as the reference kernel of TensorFlow Lite for int8 (left shift 20).
    """
    a, b, out = (single(q.scale) for q in (first, second, output))
    common = 2 * max(a, b)
    step = (1 << arith.ADD_LEFT_SHIFT) * out
    return _multipliers({"input1": a / common, "input2": b / common, "output": common / step})


def requantized_values(source: Quantization, output: Quantization) -> Int8Array:
    """int8 (256,): what -128 to 127 of one lattice become on another; TensorFlow Lite, reference kernel of Quantize.
    ValueError when no multiplier says it."""
    pair = arith.quantize_multiplier(single(source.scale) / single(output.scale))
    values = np.arange(-128, 128, dtype=np.int64) - source.zero_point
    moved = arith.requantize(values, *map(np.asarray, pair)) + output.zero_point
    return arith.clamp(moved, -128, 127).astype(np.int8)


def concatenate_params(first: Quantization, second: Quantization, output: Quantization) -> dict[str, Any]:
    """Multipliers and shifts of a concatenation: each input, widened by 20 bits, to the output's scale as float32."""
    step = (1 << arith.ADD_LEFT_SHIFT) * single(output.scale)
    return _multipliers({"input1": single(first.scale) / step, "input2": single(second.scale) / step})


def _multipliers(reals: Mapping[str, float]) -> dict[str, Any]:
    return {
        f"{name}_{part}": value
        for name, real in reals.items()
        for part, value in zip(("mult", "shift"), arith.quantize_multiplier(real), strict=True)
    }
