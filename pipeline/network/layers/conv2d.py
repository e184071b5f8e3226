"""2-D convolution, any filter, stride and padding. params: stride, padding (top, left), activation (min, max)."""

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
    return geometry.window_of(layer, layer.weights.shape[1])


def reference(layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[Int8Array]) -> Int8Array:
    return rescale.clamped(layer, values(layer, specs, inputs, True))


def values(layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[NDArray[Any]], rounded: bool) -> NDArray[Any]:
    assert layer.weights is not None
    _, kh, kw, _ = layer.weights.shape
    view = geometry.windows(layer, rescale.centred(inputs[0], specs[0]), (kh, kw), 0)
    # float64 sums of integers below 2^53 are exact, and BLAS is fast
    acc = np.einsum("nhwcyx,oyxc->nhwo", view.astype(np.float64), layer.weights.astype(np.float64), optimize=True)
    return rescale.requantized(layer, acc, rounded)


def gradient(
    layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[NDArray[Any]], upstream: NDArray[Any]
) -> list[NDArray[Any]]:
    assert layer.weights is not None
    _, kh, kw, _ = layer.weights.shape
    sums = rescale.gain(layer) * upstream
    taps = np.einsum("nhwo,oyxc->nhwcyx", sums, layer.weights.astype(np.float64), optimize=True)
    return [geometry.scattered(layer, taps, inputs[0].shape, (kh, kw))]


def kernel(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    assert layer.weights is not None
    oc, kh, kw, ic = layer.weights.shape
    packing.require_range(layer)
    rows = layer.weights.reshape(oc, -1)
    return KernelCall(
        function=f"nn_conv2d_{packing.SUFFIX[layer.weight_bits]}",
        args=calls.weighted_args(
            calls.params(
                "nn_conv_params",
                **calls.conv_fields(layer, specs[0]),
            ),
            layer,
            specs[0],
            calls.dims(oc, kh, kw, ic),
        ),
        tables={"filter": packing.pack(rows, layer.weight_bits), **calls.requant_tables(layer)},
        scratch_bytes=0 if layer.weight_bits == 8 else kh * kw * ic,
        start_cost=packing.start_cost(layer),
    )
