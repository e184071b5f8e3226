"""A vector of all elements in memory order: renames its input, costs nothing on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from pipeline.core.nouns import Int8Array, KernelCall, QLayer, TensorSpec


def macs(layer: QLayer, specs: Sequence[TensorSpec]) -> int:
    return 0


def reference(layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[Int8Array]) -> Int8Array:
    return values(layer, specs, inputs, True)


def values(layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[NDArray[Any]], rounded: bool) -> NDArray[Any]:
    return inputs[0].reshape(len(inputs[0]), *layer.output.shape)


def gradient(
    layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[NDArray[Any]], upstream: NDArray[Any]
) -> list[NDArray[Any]]:
    return [upstream.reshape(inputs[0].shape)]


def kernel(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall | None:
    return None
