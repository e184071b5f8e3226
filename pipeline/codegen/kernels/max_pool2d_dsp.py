"""Maximum over a window for cores with the DSP extension: firmware/nn/dsp/nn_max_pool2d_dsp.c."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls


def serves(layer: QLayer, specs: Sequence[TensorSpec]) -> str:
    return "" if layer.kind == "max_pool2d" else "it computes max_pool2d layers"


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    return calls.pool("nn_max_pool2d_dsp", layer, specs)
