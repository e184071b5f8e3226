"""Average pooling for cores with the DSP extension: firmware/nn/dsp/nn_average_pool2d_dsp.c."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls


def serves(layer: QLayer, specs: Sequence[TensorSpec]) -> str:
    return "" if layer.kind == "average_pool2d" else "it computes average_pool2d layers"


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    return calls.pool("nn_average_pool2d_dsp", layer, specs)
