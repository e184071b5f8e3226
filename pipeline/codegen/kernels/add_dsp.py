"""Element-wise sum for cores with the DSP extension: firmware/nn/dsp/nn_add_dsp.c."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.codegen.kernels import _add
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls

SUMS = _add.Sums(bits=32, fraction=18, places=8)
"""Fraction: NN_DSP_ADD_FRACTION of nn_dsp.h."""


def serves(layer: QLayer, specs: Sequence[TensorSpec]) -> str:
    if layer.kind != "add":
        return "it computes add layers"
    return "" if SUMS.factors(layer, specs) else "no factors of its own round every sum as the layer's do"


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    found = SUMS.factors(layer, specs)
    assert found is not None
    fields = dict(zip(("factor1", "factor2", "start"), found, strict=True))
    params = calls.params("nn_dsp_add_params", **fields, activation=calls.activation(layer))
    return KernelCall("nn_add_dsp", (params, *calls.add_args(layer, specs)[1:]), tables={}, in_place=0)
