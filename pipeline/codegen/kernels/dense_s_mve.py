"""Dense layer for the M-profile vector extension: firmware/nn/mve/nn_dense_s_mve.c."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.codegen.kernels import _mve, _ternary
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls, packing

MACS_PER_INSTRUCTION = 16


def serves(layer: QLayer, specs: Sequence[TensorSpec]) -> str:
    return _mve.objection(layer, "dense", specs[0])


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    assert layer.weights is not None
    packing.require_range(layer)
    outputs, features = layer.weights.shape
    bits = layer.weight_bits
    rows = _mve.filters(_ternary.rows(layer), _mve.UNIT_ROWS[bits] // _mve.ROWS)
    return KernelCall(
        function="nn_dense_s_mve",
        args=calls.weighted_args(
            calls.params(
                "nn_mve_fc_params",
                fc=calls.fc_fields(layer, specs[0]),
                dot=f"nn_mve_dot_{packing.SUFFIX[bits]}",
            ),
            layer,
            specs[0],
            calls.dims(outputs, 1, 1, features),
        ),
        tables={"filter": _mve.pack(rows, bits), **_mve.filled(_ternary.requant_tables(layer, specs[0]))},
    )
