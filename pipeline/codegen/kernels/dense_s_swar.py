"""Dense layer with weights of 8, 4 or 3 bits for 32-bit cores without SIMD instructions: nn_dense_s_swar.c."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.codegen.kernels import _swar, _ternary
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls, packing

MACS_PER_INSTRUCTION = 2
CHANNELS = 4
"""Outputs at a time, as in the C file."""


def serves(layer: QLayer, specs: Sequence[TensorSpec]) -> str:
    return _swar.objection(layer, "dense", specs[0])


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    packing.require_range(layer)
    assert layer.weights is not None
    outputs, features = layer.weights.shape
    wide = layer.weight_bits == 8
    rows = _swar.Windows(packing.pack(_ternary.rows(layer), 8), features, features)
    windows = rows if wide else _swar.windows(layer, CHANNELS)
    return KernelCall(
        function="nn_dense_s_swar",
        args=calls.weighted_args(
            calls.params(
                "nn_swar_signed_fc_params",
                fc=calls.fc_fields(layer, specs[0]),
                bits=layer.weight_bits,
                **windows.params,
            ),
            layer,
            specs[0],
            calls.dims(outputs, 1, 1, features),
        ),
        tables={"filter": windows.filter, **(_ternary if wide else _swar).requant_tables(layer, specs[0])},
        scratch_bytes=0 if wide else windows.scratch_bytes(1),
    )
