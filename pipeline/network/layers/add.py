"""Element-wise sum of two tensors. params: input1_mult, input1_shift, input2_mult, input2_shift, output_mult,
output_shift, activation (min, max); rescaling as TensorFlow Lite's int8 reference (docs/ARITHMETIC.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from pipeline.core.nouns import Int8Array, KernelCall, QLayer, TensorSpec
from pipeline.network import arith, calls, geometry, rescale


def macs(layer: QLayer, specs: Sequence[TensorSpec]) -> int:
    return 0


def row_window(layer: QLayer) -> geometry.RowWindow:
    return geometry.POINTWISE


def reference(layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[Int8Array]) -> Int8Array:
    return rescale.clamped(layer, values(layer, specs, inputs, True))


def values(layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[NDArray[Any]], rounded: bool) -> NDArray[Any]:
    first, second = (
        rescale.rescaled(rescale.widened(x, spec), layer, f"input{i}", rounded)
        for i, (x, spec) in enumerate(zip(inputs, specs, strict=True), 1)
    )
    return rescale.rescaled(first + second, layer, "output", rounded) + layer.output.quantization.zero_point


def gradient(
    layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[NDArray[Any]], upstream: NDArray[Any]
) -> list[NDArray[Any]]:
    wide = upstream * (rescale.factor(layer, "output") * (1 << arith.ADD_LEFT_SHIFT))
    return [wide * rescale.factor(layer, name) for name in ("input1", "input2")]


def kernel(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    return KernelCall("nn_add", calls.add_args(layer, specs), tables={}, in_place=0)
