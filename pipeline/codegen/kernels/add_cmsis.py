"""Element-wise sum by CMSIS-NN: firmware/nn/cmsis/nn_add_cmsis.c."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls


def serves(layer: QLayer, specs: Sequence[TensorSpec], core: str) -> str:
    return "" if layer.kind == "add" else "it computes add layers"


def call(layer: QLayer, specs: Sequence[TensorSpec], core: str) -> KernelCall:
    return KernelCall(function="nn_add_cmsis", args=calls.add_args(layer, specs), tables={}, in_place=0)
