"""Mean over the part of each window that lies inside the input; the output has the input's quantization.

params: pool (h, w), stride, padding (top, left), activation (min, max). Global pooling is a window of the whole map.
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
    return geometry.window_of(layer, layer.params["pool"][0])


def reference(layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[Int8Array]) -> Int8Array:
    return rescale.clamped(layer, values(layer, specs, inputs, True))


def values(layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[NDArray[Any]], rounded: bool) -> NDArray[Any]:
    x = inputs[0].astype(np.int64) if rounded else inputs[0]
    total = geometry.windows(layer, x, layer.params["pool"], 0).sum(axis=(4, 5))
    count = _count(layer, specs[0])
    mean = arith.rounded_mean(total, count) if rounded else total / count
    return mean.reshape(len(x), *layer.output.shape)


def gradient(
    layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[NDArray[Any]], upstream: NDArray[Any]
) -> list[NDArray[Any]]:
    share = geometry.map_of(layer, upstream) / _count(layer, specs[0])
    taps = np.broadcast_to(share[..., None, None], (*share.shape, *layer.params["pool"]))
    return [geometry.scattered(layer, taps, inputs[0].shape, layer.params["pool"])]


def _count(layer: QLayer, spec: TensorSpec) -> NDArray[np.int64]:
    """int64 (1, oh, ow, 1): elements of each window inside the input."""
    inside = np.ones((1, *spec.shape[:2], 1), np.int64)
    return np.asarray(geometry.windows(layer, inside, layer.params["pool"], 0).sum(axis=(4, 5)))


def kernel(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    return calls.pool("nn_average_pool2d", layer, specs)
