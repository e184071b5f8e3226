"""Zeros around an image. params: before (rows above, columns to the left), after (below, to the right)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import Int8Array, KernelCall, QLayer, TensorSpec
from pipeline.network import calls


def macs(layer: QLayer, specs: Sequence[TensorSpec]) -> int:
    return 0


def reference(layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[Int8Array]) -> Int8Array:
    return values(layer, specs, inputs, True)


def values(layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[NDArray[Any]], rounded: bool) -> NDArray[Any]:
    (top, left), (bottom, right) = layer.params["before"], layer.params["after"]
    around = ((0, 0), (top, bottom), (left, right), (0, 0))
    return np.pad(inputs[0], around, constant_values=layer.output.quantization.zero_point)


def gradient(
    layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[NDArray[Any]], upstream: NDArray[Any]
) -> list[NDArray[Any]]:
    (top, left), (_, h, w, _) = layer.params["before"], inputs[0].shape
    return [upstream[:, top : top + h, left : left + w]]


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
