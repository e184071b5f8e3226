"""Channels of two tensors side by side, each rescaled to the output's quantization.

params: input1_mult, input1_shift, input2_mult, input2_shift, activation (min, max); see docs/ARITHMETIC.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import Int8Array, KernelCall, QLayer, TensorSpec
from pipeline.network import arith, calls, geometry, rescale


def macs(layer: QLayer, specs: Sequence[TensorSpec]) -> int:
    return 0


def row_window(layer: QLayer) -> geometry.RowWindow:
    return geometry.POINTWISE


def reference(layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[Int8Array]) -> Int8Array:
    return rescale.clamped(layer, values(layer, specs, inputs, True))


def values(layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[NDArray[Any]], rounded: bool) -> NDArray[Any]:
    parts = [
        rescale.rescaled(rescale.widened(x, spec), layer, f"input{i}", rounded)
        for i, (x, spec) in enumerate(zip(inputs, specs, strict=True), 1)
    ]
    return np.asarray(np.concatenate(parts, axis=-1) + layer.output.quantization.zero_point)


def gradient(
    layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[NDArray[Any]], upstream: NDArray[Any]
) -> list[NDArray[Any]]:
    wide = upstream * (1 << arith.ADD_LEFT_SHIFT)
    parts = np.split(wide, [specs[0].shape[-1]], axis=-1)
    return [part * rescale.factor(layer, f"input{i}") for i, part in enumerate(parts, 1)]


def kernel(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    p = layer.params
    return KernelCall(
        function="nn_concatenate",
        args=(
            calls.params(
                "nn_concat_params",
                input1_offset=-specs[0].quantization.zero_point,
                input1_mult=p["input1_mult"],
                input1_shift=p["input1_shift"],
                input2_offset=-specs[1].quantization.zero_point,
                input2_mult=p["input2_mult"],
                input2_shift=p["input2_shift"],
                output_offset=layer.output.quantization.zero_point,
                activation=calls.activation(layer),
            ),
            calls.map_dims(specs[0].shape),
            calls.input_arg(0),
            calls.map_dims(specs[1].shape),
            calls.input_arg(1),
            calls.OUTPUT,
        ),
        tables={},
    )
