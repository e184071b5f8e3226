"""Depthwise 2-D convolution: output channel o reads input channel o // multiplier.

params: stride, padding (top, left), activation (min, max).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import Int8Array, KernelCall, QLayer, TensorSpec
from pipeline.network import calls, geometry, packing, rescale


def macs(layer: QLayer, specs: Sequence[TensorSpec]) -> int:
    assert layer.weights is not None
    return int(np.prod(layer.output.shape[:2])) * layer.weights.size


def row_window(layer: QLayer) -> geometry.RowWindow:
    assert layer.weights is not None
    return geometry.window_of(layer, layer.weights.shape[0])


def reference(layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[Int8Array]) -> Int8Array:
    return rescale.clamped(layer, values(layer, specs, inputs, True))


def values(layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[NDArray[Any]], rounded: bool) -> NDArray[Any]:
    assert layer.weights is not None
    kh, kw, oc = layer.weights.shape
    x = np.repeat(rescale.centred(inputs[0], specs[0]), oc // specs[0].shape[2], axis=3)
    view = geometry.windows(layer, x, (kh, kw), 0)
    acc = np.einsum("nhwoyx,yxo->nhwo", view, layer.weights.astype(np.int64))
    return rescale.requantized(layer, acc, rounded)


def gradient(
    layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[NDArray[Any]], upstream: NDArray[Any]
) -> list[NDArray[Any]]:
    assert layer.weights is not None
    kh, kw, oc = layer.weights.shape
    n, h, w, channels = inputs[0].shape
    sums = rescale.gain(layer) * upstream
    taps = np.einsum("nhwo,yxo->nhwoyx", sums, layer.weights.astype(np.float64))
    repeated = geometry.scattered(layer, taps, (n, h, w, oc), (kh, kw))
    return [repeated.reshape(n, h, w, channels, -1).sum(axis=4)]


def kernel(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    assert layer.weights is not None
    kh, kw, oc = layer.weights.shape
    packing.require_range(layer)
    taps = layer.weights.reshape(1, -1)
    return KernelCall(
        function=f"nn_depthwise_conv2d_{packing.SUFFIX[layer.weight_bits]}",
        args=calls.weighted_args(
            calls.params("nn_dw_conv_params", **calls.conv_fields(layer, specs[0], ch_mult=oc // specs[0].shape[2])),
            layer,
            specs[0],
            calls.dims(1, kh, kw, oc),
        ),
        tables={"filter": packing.pack(taps, layer.weight_bits), **calls.requant_tables(layer)},
        scratch_bytes=0 if layer.weight_bits == 8 else kh * kw * oc,
        start_cost=packing.start_cost(layer),
    )
