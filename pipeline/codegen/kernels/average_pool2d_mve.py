"""Average pooling for the M-profile vector extension: firmware/nn/mve/nn_average_pool2d_mve.c."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls

MOST_ELEMENTS = 255
"""Of a window: their sum fits 16 bits."""


def serves(layer: QLayer, specs: Sequence[TensorSpec]) -> str:
    if layer.kind != "average_pool2d":
        return "it computes average_pool2d layers"
    elements = prod(layer.params["pool"])
    return "" if elements <= MOST_ELEMENTS else f"its windows have at most {MOST_ELEMENTS} elements, not {elements}"


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    return calls.pool("nn_average_pool2d_mve", layer, specs)
