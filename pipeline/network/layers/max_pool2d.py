"""Maximum over windows; its gradient goes in equal parts to all elements that are the maximum.

params: pool (h, w), stride, padding (top, left), activation (min, max).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import Int8Array, KernelCall, QLayer, TensorSpec
from pipeline.network import calls, geometry, rescale


def macs(layer: QLayer, specs: Sequence[TensorSpec]) -> int:
    return 0


def row_window(layer: QLayer) -> geometry.RowWindow:
    return geometry.window_of(layer, layer.params["pool"][0])


def reference(layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[Int8Array]) -> Int8Array:
    return rescale.clamped(layer, values(layer, specs, inputs, True))


def values(layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[NDArray[Any]], rounded: bool) -> NDArray[Any]:
    best = _view(layer, inputs[0]).max(axis=(4, 5))
    return np.asarray(best.reshape(len(best), *layer.output.shape))


def gradient(
    layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[NDArray[Any]], upstream: NDArray[Any]
) -> list[NDArray[Any]]:
    view = _view(layer, inputs[0])
    hits = view == view.max(axis=(4, 5), keepdims=True)
    share = geometry.map_of(layer, upstream)[..., None, None] / hits.sum(axis=(4, 5), keepdims=True)
    return [geometry.scattered(layer, hits * share, inputs[0].shape, layer.params["pool"])]


def _view(layer: QLayer, x: NDArray[Any]) -> NDArray[Any]:
    """float64 windows of x; what lies outside the input is never the maximum."""
    return geometry.windows(layer, x.astype(np.float64), layer.params["pool"], -np.inf)


def kernel(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    return calls.pool("nn_max_pool2d", layer, specs)
