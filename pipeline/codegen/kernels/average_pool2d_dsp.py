"""Average pooling for cores with the DSP extension: firmware/nn/nn_average_pool2d_dsp.c."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.codegen.kernels import _dsp
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls


def serves(layer: QLayer, specs: Sequence[TensorSpec], core: str) -> str:
    return _dsp.core_objection(core) or ("" if layer.kind == "average_pool2d" else "it computes average_pool2d layers")


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    return calls.pool("nn_avgpool_s8_dsp", "nn_average_pool2d_dsp.c", layer, specs)
