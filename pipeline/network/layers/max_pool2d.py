"""Maximum over windows. params: pool (h, w), stride, padding (top, left), activation (min, max)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.core.nouns import Int8Array, KernelCall, QLayer, TensorSpec
from pipeline.network import arith, calls, geometry


def macs(layer: QLayer, specs: Sequence[TensorSpec]) -> int:
    return 0


def reference(layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[Int8Array]) -> Int8Array:
    view = geometry.windows(layer, inputs[0], layer.params["pool"], -128)
    best = arith.clamp(view.max(axis=(4, 5)), *layer.params["activation"])
    return best.astype(np.int8).reshape(len(view), *layer.output.shape)


def kernel(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    return calls.pool("nn_max_pool_s8", "nn_max_pool2d.c", layer, specs)
