"""Ternary dense layer for the M-profile vector extension: firmware/nn/nn_dense_mve.c."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline import calls, packing
from pipeline.kernels import _mve, _ternary
from pipeline.types import KernelCall, QLayer, TensorSpec


def serves(layer: QLayer, specs: Sequence[TensorSpec], core: str) -> str:
    return _mve.objection(layer, "dense", specs[0], core)


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    assert layer.weights is not None
    packing.require_range(layer)
    outputs, features = layer.weights.shape
    return KernelCall(
        function="nn_fully_connected_t2_mve",
        source="nn_dense_mve.c",
        args=calls.weighted_args(
            calls.params(
                "nn_fc_params",
                **calls.fc_fields(layer, specs[0]),
            ),
            layer,
            specs[0],
            calls.dims(outputs, 1, 1, features),
        ),
        tables={
            "filter": _mve.pack(_ternary.rows(layer)),
            **_mve.filled(_ternary.requant_tables(layer, specs[0])),
        },
    )
