"""Dense layer on its input taken as one vector. params: activation (min, max)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import Int8Array, KernelCall, QLayer, TensorSpec
from pipeline.network import calls, packing, rescale


def macs(layer: QLayer, specs: Sequence[TensorSpec]) -> int:
    assert layer.weights is not None
    return layer.weights.size


def reference(layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[Int8Array]) -> Int8Array:
    return rescale.clamped(layer, values(layer, specs, inputs, True))


def values(layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[NDArray[Any]], rounded: bool) -> NDArray[Any]:
    assert layer.weights is not None
    x = rescale.centred(inputs[0], specs[0]).reshape(len(inputs[0]), layer.weights.shape[1])
    return rescale.requantized(layer, x @ layer.weights.T.astype(np.int64), rounded)


def gradient(
    layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[NDArray[Any]], upstream: NDArray[Any]
) -> list[NDArray[Any]]:
    assert layer.weights is not None
    sums = rescale.gain(layer) * upstream
    return [(sums @ layer.weights.astype(np.float64)).reshape(inputs[0].shape)]


def kernel(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    assert layer.weights is not None
    features = layer.weights.shape[1]
    packing.require_range(layer)
    return KernelCall(
        function=f"nn_dense_{packing.SUFFIX[layer.weight_bits]}",
        args=calls.fc_args(layer, specs[0]),
        tables={"filter": packing.pack(layer.weights, layer.weight_bits), **calls.requant_tables(layer)},
        scratch_bytes=0 if layer.weight_bits == 8 else features,
    )
