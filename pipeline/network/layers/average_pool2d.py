"""Mean over the part of each window that lies inside the input; the output has the input's quantization.

params: pool (h, w), stride, padding (top, left), activation (min, max). Global pooling is a window of the whole map.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.core.nouns import Int8Array, KernelCall, QLayer, TensorSpec
from pipeline.network import arith, calls, geometry


def macs(layer: QLayer, specs: Sequence[TensorSpec]) -> int:
    return 0


def reference(layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[Int8Array]) -> Int8Array:
    pool = layer.params["pool"]
    x = inputs[0].astype(np.int64)
    total = geometry.windows(layer, x, pool, 0).sum(axis=(4, 5))
    count = geometry.windows(layer, np.ones_like(x[:1, :, :, :1]), pool, 0).sum(axis=(4, 5))
    mean = arith.clamp(arith.rounded_mean(total, count), *layer.params["activation"])
    return mean.astype(np.int8).reshape(len(x), *layer.output.shape)


def kernel(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    return calls.pool("nn_avgpool_s8", "nn_average_pool2d.c", layer, specs)
