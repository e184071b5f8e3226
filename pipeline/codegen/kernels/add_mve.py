"""Element-wise sum for the M-profile vector extension: firmware/nn/mve/nn_add_mve.c."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.codegen.kernels import _add
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls

SUMS = {
    "nn_mve_add16": _add.Sums(bits=16, fraction=6, places=0, rounding=1 << 5),
    "nn_mve_add32": _add.Sums(bits=32, fraction=18, places=8, rounding=1 << 9),
}
"""By the C function that adds so, the fastest first; fractions are NN_MVE_ADD16_FRACTION and NN_MVE_ADD32_FRACTION of
nn_mve.h."""
ANY = "nn_mve_add_any"
"""Adds where there are no factors."""


def serves(layer: QLayer, specs: Sequence[TensorSpec]) -> str:
    return "" if layer.kind == "add" else "it computes add layers"


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    add, *others = calls.add_args(layer, specs)
    code, found = fitted(layer, specs)
    fields = dict(zip(("factor1", "factor2", "start"), found, strict=True))
    params = calls.params("nn_mve_add_params", add=add.fields, **fields, code=code)
    return KernelCall("nn_add_mve", (params, *others), tables={}, in_place=0)


def fitted(layer: QLayer, specs: Sequence[TensorSpec]) -> tuple[str, _add.Factors]:
    """The fastest C function that gives the specification's output for every pair of inputs, and its factors."""
    for code, sums in SUMS.items():
        if factors := sums.factors(layer, specs):
            return code, factors
    return ANY, (0, 0, 0)
