"""Requantization: multipliers and shifts of a layer, and how the NumPy specification applies them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import Int8Array, QLayer, Quantization, TensorSpec
from pipeline.network import arith


def finish(layer: QLayer, acc: NDArray[Any]) -> Int8Array:
    """int8 outputs of int64 accumulators (..., channels): bias, requantization, output zero point, clamp."""
    assert layer.bias is not None and layer.multiplier is not None and layer.shift is not None
    q = arith.requantize(acc + layer.bias, layer.multiplier, layer.shift) + layer.output.quantization.zero_point
    return arith.clamp(q, *layer.params["activation"]).astype(np.int8)


def centred(x: Int8Array, spec: TensorSpec) -> NDArray[np.int64]:
    """x minus its zero point."""
    return x.astype(np.int64) - spec.quantization.zero_point


def add_params(first: Quantization, second: Quantization, output: Quantization) -> dict[str, Any]:
    """Multipliers and shifts of an add: both inputs to a common scale of twice the larger, then to the output's.

    TensorFlow Lite, reference kernel of Add for int8 (left shift 20).
    """
    common = 2 * max(first.scale, second.scale)
    reals = {
        "input1": first.scale / common,
        "input2": second.scale / common,
        "output": common / ((1 << arith.ADD_LEFT_SHIFT) * output.scale),
    }
    return _multipliers(reals)


def concatenate_params(first: Quantization, second: Quantization, output: Quantization) -> dict[str, Any]:
    """Multipliers and shifts of a concatenation: each input, widened by 20 bits, to the output's scale."""
    step = (1 << arith.ADD_LEFT_SHIFT) * output.scale
    return _multipliers({"input1": first.scale / step, "input2": second.scale / step})


def _multipliers(reals: Mapping[str, float]) -> dict[str, Any]:
    return {
        f"{name}_{part}": value
        for name, real in reals.items()
        for part, value in zip(("mult", "shift"), arith.quantize_multiplier(real), strict=True)
    }
