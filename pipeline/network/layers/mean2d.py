"""Mean over height and width, to another quantization: TensorFlow Lite's reference kernel of MEAN for int8.

params: multiplier, shift (they divide by the count too), activation (min, max).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import Int8Array, KernelCall, QLayer, TensorSpec
from pipeline.network import arith, calls, rescale


def macs(layer: QLayer, specs: Sequence[TensorSpec]) -> int:
    return 0


def reference(layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[Int8Array]) -> Int8Array:
    return rescale.clamped(layer, values(layer, specs, inputs, True))


def values(layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[NDArray[Any]], rounded: bool) -> NDArray[Any]:
    multiplier, shift = layer.params["multiplier"], layer.params["shift"]
    total = rescale.centred(inputs[0], specs[0]).sum(axis=(1, 2))
    q = arith.requantize(total, multiplier, shift) if rounded else total * arith.factor(multiplier, shift)
    return np.asarray((q + layer.output.quantization.zero_point).reshape(len(total), *layer.output.shape))


def gradient(
    layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[NDArray[Any]], upstream: NDArray[Any]
) -> list[NDArray[Any]]:
    n, _, _, c = shape = inputs[0].shape
    share = upstream * arith.factor(layer.params["multiplier"], layer.params["shift"])
    return [np.broadcast_to(share.reshape(n, 1, 1, c), shape)]


def kernel(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    p = layer.params
    return KernelCall(
        function="nn_mean2d",
        args=(
            calls.params(
                "nn_mean_params",
                **calls.offsets(layer, specs[0]),
                multiplier=p["multiplier"],
                shift=p["shift"],
                activation=calls.activation(layer),
            ),
            calls.map_dims(specs[0].shape),
            calls.input_arg(),
            calls.OUTPUT,
        ),
        tables={},
    )
