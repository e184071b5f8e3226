"""What the optimized ternary kernels share: which layers they compute, and their folded biases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import Int32Array, QLayer, TensorSpec
from pipeline.network import arith


def objection(layer: QLayer, kind: str, spec: TensorSpec) -> str:
    """Why no optimized ternary kernel of `kind` computes the layer, "" when one may. Their requantization doubles what
    it multiplies, so accumulators, shifted left where the shift says so, must stay within 30 bits."""
    if layer.kind != kind:
        return f"it computes {kind} layers"
    if layer.weight_bits != 2:
        return f"it reads ternary weights, not {layer.weight_bits} bits"
    return sum_objection(layer, spec)


def sum_objection(layer: QLayer, spec: TensorSpec) -> str:
    """Why requantization that doubles what it multiplies does not do for the layer's accumulators, "" when it does."""
    assert layer.shift is not None
    if arith.requantization_is_safe(2 * _bound(layer, spec), layer.shift).all():
        return ""
    return "shifted accumulators reach 2^30"


def depthwise_objection(layer: QLayer, spec: TensorSpec, most_taps: int) -> str:
    """Why a kernel with one output channel an input channel, which sums at most so many taps, does not compute the
    layer, "" when it does."""
    assert layer.weights is not None
    taps = layer.weights.shape[0] * layer.weights.shape[1]
    return multiplier_objection(layer, spec) or (
        "" if taps <= most_taps else f"it sums at most {most_taps} taps, not {taps}"
    )


def in_pairs(layer: QLayer) -> bool:
    """Whether a ternary depthwise layer can be computed two pixels at a time with all weights in registers."""
    assert layer.weights is not None
    return layer.weights.shape[:2] == (3, 3) and tuple(layer.params["stride"]) == (1, 1)


def multiplier_objection(layer: QLayer, spec: TensorSpec) -> str:
    """Why a kernel with one output channel an input channel does not compute the depthwise layer, "" when it does."""
    multiplier = layer.output.shape[2] // spec.shape[2]
    return "" if multiplier == 1 else f"it gives one output channel an input channel, not {multiplier}"


def folded_bias(layer: QLayer, spec: TensorSpec) -> Int32Array:
    """int32 (channels,): what is left to add when inputs are summed without subtracting their zero point and padding
    is the zero point."""
    assert layer.bias is not None
    bias = layer.bias.astype(np.int64) - spec.quantization.zero_point * rows(layer).sum(axis=1)
    return np.asarray(bias, np.int32)


def requant_tables(layer: QLayer, spec: TensorSpec) -> Mapping[str, NDArray[Any]]:
    """Folded bias, multiplier and shift as constant tables: 9 bytes a channel."""
    assert layer.multiplier is not None and layer.shift is not None
    return {"bias": folded_bias(layer, spec), "multiplier": layer.multiplier, "shift": layer.shift}


def rows(layer: QLayer) -> NDArray[np.int64]:
    """int64 (output channels, weights of one): the filters in the order of their windows."""
    assert layer.weights is not None
    weights = layer.weights.astype(np.int64)
    if layer.kind == "depthwise_conv2d":
        weights = weights.transpose(2, 0, 1)
    return np.ascontiguousarray(weights.reshape(len(weights), -1))


def extremes(weights: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(smallest, largest) sum of each channel over all inputs: weights (channels, inputs). The largest takes 127 for
    every positive weight and -128 for every negative one, the smallest the other way round."""
    plus, minus = np.maximum(weights, 0).sum(axis=1), np.maximum(-weights, 0).sum(axis=1)
    return -128 * plus - 127 * minus, 127 * plus + 128 * minus


def _bound(layer: QLayer, spec: TensorSpec) -> NDArray[np.int64]:
    """Largest |accumulator| per channel, with the folded bias, over all inputs."""
    most = 128 * np.abs(rows(layer)).sum(axis=1)
    return np.asarray(np.abs(folded_bias(layer, spec).astype(np.int64)) + most)
