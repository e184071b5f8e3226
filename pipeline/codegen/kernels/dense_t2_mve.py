"""Ternary dense layer for the M-profile vector extension: firmware/nn/mve/nn_dense_t2_mve.c."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.codegen.kernels import _mve, _ternary
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls, packing


def serves(layer: QLayer, specs: Sequence[TensorSpec]) -> str:
    return _ternary.objection(layer, "dense", specs[0])


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    packing.require_range(layer)
    return KernelCall(
        function="nn_dense_t2_mve",
        args=calls.fc_args(layer, specs[0]),
        tables={
            "filter": _mve.pack(_ternary.rows(layer)),
            **_mve.filled(_ternary.requant_tables(layer, specs[0])),
        },
    )
