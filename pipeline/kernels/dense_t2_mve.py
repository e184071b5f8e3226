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
        args=(
            calls.CTX,
            calls.params(
                "nn_fc_params",
                input_offset=-specs[0].quantization.zero_point,
                output_offset=layer.output.quantization.zero_point,
                activation=calls.activation(layer),
            ),
            calls.QUANT,
            calls.map_dims(specs[0].shape),
            calls.input_arg(),
            calls.dims(outputs, 1, 1, features),
            calls.table("filter"),
            calls.table("bias"),
            calls.map_dims(layer.output.shape),
            calls.OUTPUT,
        ),
        tables={
            "filter": _mve.pack(_ternary.rows(layer)),
            **_mve.filled(_ternary.requant_tables(layer, specs[0])),
        },
    )
