"""Dense layer with weights of 8, 4 or 3 bits for cores with the DSP extension: firmware/nn/dsp/nn_dense_s_dsp.c."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.codegen.kernels import _dsp, _signed, _ternary
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls, packing

MACS_PER_INSTRUCTION = 2
STEP = 8
"""Inputs a turn of the loop, as in the C file."""


def serves(layer: QLayer, specs: Sequence[TensorSpec]) -> str:
    return _signed.objection(layer, "dense", specs[0])


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    packing.require_range(layer)
    assert layer.weights is not None
    outputs, features = layer.weights.shape
    return KernelCall(
        function="nn_dense_s_dsp",
        args=_dsp.args(
            calls.params(
                "nn_dsp_signed_fc_params",
                fc=calls.fc_fields(layer, specs[0]),
                zero=_signed.zero(layer.weight_bits),
                dot=f"nn_dsp_dot_s{layer.weight_bits}",
            ),
            layer,
            specs[0],
            calls.dims(outputs, 1, 1, features),
        ),
        tables={"filter": pack(layer), "requant": _dsp.quant(layer, specs[0], (0, 1, 2, 3))},
        scratch_bytes=2 * (features + -features % STEP),
    )


def pack(layer: QLayer) -> NDArray[np.uint32]:
    """uint32 words of the filter; layout: the C file."""
    rows = _ternary.rows(layer)
    filters = _signed.expanded(np.pad(rows, ((0, 0), (0, -rows.shape[1] % STEP))))
    return _signed.pack(_signed.interleaved(filters, _dsp.CHANNELS), layer.weight_bits)
