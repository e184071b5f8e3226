"""Element-wise sum of two tensors. params: input1_mult, input1_shift, input2_mult, input2_shift, output_mult,
output_shift, activation (min, max); rescaling as TensorFlow Lite's int8 reference (docs/ARITHMETIC.md)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline import arith, calls
from pipeline.types import Int8Array, KernelCall, QLayer, TensorSpec


def macs(layer: QLayer, specs: Sequence[TensorSpec]) -> int:
    return 0


def reference(layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[Int8Array]) -> Int8Array:
    p = layer.params
    first, second = (
        arith.requantize(calls.centred(x, spec) << arith.ADD_LEFT_SHIFT, p[f"input{i}_mult"], p[f"input{i}_shift"])
        for i, (x, spec) in enumerate(zip(inputs, specs, strict=True), 1)
    )
    q = arith.requantize(first + second, p["output_mult"], p["output_shift"]) + layer.output.quantization.zero_point
    return arith.clamp(q, *p["activation"]).astype(np.int8)


def kernel(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    p = layer.params
    return KernelCall(
        function="nn_elementwise_add_s8",
        source="nn_add.c",
        args=(
            calls.params(
                "nn_add_params",
                input1_offset=-specs[0].quantization.zero_point,
                input1_mult=p["input1_mult"],
                input1_shift=p["input1_shift"],
                input2_offset=-specs[1].quantization.zero_point,
                input2_mult=p["input2_mult"],
                input2_shift=p["input2_shift"],
                output_offset=layer.output.quantization.zero_point,
                output_mult=p["output_mult"],
                output_shift=p["output_shift"],
                activation=calls.activation(layer),
            ),
            calls.map_dims(layer.output.shape),
            calls.input_arg(0),
            calls.input_arg(1),
            calls.OUTPUT,
        ),
        tables={},
        in_place=0,
    )
