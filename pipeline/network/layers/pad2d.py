"""Zeros around an image. params: before (rows above, columns to the left), after (below, to the right)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.core.nouns import Int8Array, KernelCall, QLayer, TensorSpec
from pipeline.network import calls


def macs(layer: QLayer, specs: Sequence[TensorSpec]) -> int:
    return 0


def reference(layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[Int8Array]) -> Int8Array:
    (top, left), (bottom, right) = layer.params["before"], layer.params["after"]
    around = ((0, 0), (top, bottom), (left, right), (0, 0))
    return np.pad(inputs[0], around, constant_values=layer.output.quantization.zero_point)


def kernel(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    return KernelCall(
        function="nn_pad2d",
        args=(
            calls.params(
                "nn_pad_params",
                value=layer.output.quantization.zero_point,
                before=calls.tile(layer.params["before"]),
            ),
            calls.map_dims(specs[0].shape),
            calls.input_arg(),
            calls.map_dims(layer.output.shape),
            calls.OUTPUT,
        ),
        tables={},
    )
