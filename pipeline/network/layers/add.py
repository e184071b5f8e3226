"""Element-wise sum of two tensors. params: input1_mult, input1_shift, input2_mult, input2_shift, output_mult,
output_shift, activation (min, max); rescaling as TensorFlow Lite's int8 reference (docs/ARITHMETIC.md)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.core.nouns import Int8Array, KernelCall, QLayer, TensorSpec
from pipeline.network import arith, calls, rescale


def macs(layer: QLayer, specs: Sequence[TensorSpec]) -> int:
    return 0


def reference(layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[Int8Array]) -> Int8Array:
    p = layer.params
    first, second = (
        arith.requantize(rescale.centred(x, spec) << arith.ADD_LEFT_SHIFT, p[f"input{i}_mult"], p[f"input{i}_shift"])
        for i, (x, spec) in enumerate(zip(inputs, specs, strict=True), 1)
    )
    q = arith.requantize(first + second, p["output_mult"], p["output_shift"]) + layer.output.quantization.zero_point
    return arith.clamp(q, *p["activation"]).astype(np.int8)


def kernel(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    return KernelCall("nn_elementwise_add_s8", "nn_add.c", calls.add_args(layer, specs), tables={}, in_place=0)
