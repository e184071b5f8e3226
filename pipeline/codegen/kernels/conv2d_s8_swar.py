"""Convolution with weights of 8 bits for 32-bit cores without SIMD instructions: nn_conv2d_s8_swar.c."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.codegen.kernels import _ternary
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls, packing

PIXELS, CHANNELS, UNROLL, OFFSET = 2, 2, 4, 128
"""As in the C file."""


def serves(layer: QLayer, specs: Sequence[TensorSpec]) -> str:
    if layer.kind != "conv2d":
        return "it computes conv2d layers"
    if layer.weight_bits != 8:
        return f"it reads weights of 8 bits, not {layer.weight_bits}"
    return _ternary.sum_objection(layer, specs[0])


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    packing.require_range(layer)
    assert layer.weights is not None
    rows = _ternary.rows(layer)
    tables = _ternary.requant_tables(layer, specs[0])
    bias = (tables["bias"] - OFFSET * rows.sum(axis=1)).astype(np.int32)
    filters = pack(rows)
    return KernelCall(
        function="nn_conv2d_s8_swar",
        args=calls.weighted_args(
            calls.params("nn_conv_params", **calls.conv_fields(layer, specs[0])),
            layer,
            specs[0],
            calls.dims(*layer.weights.shape),
        ),
        tables={"filter": filters, **tables, "bias": bias},
        scratch_bytes=PIXELS * filters.shape[1],
        start_cost=PIXELS * layer.weights.size,  # of a block that is not whole
    )


def pack(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """uint8 (channels / 2, inputs, 2): codes of int8 weights (channels, inputs); layout: the C file."""
    codes = np.pad(rows + OFFSET, ((0, -len(rows) % CHANNELS), (0, -rows.shape[1] % UNROLL)))
    return np.asarray(codes.reshape(-1, CHANNELS, codes.shape[1]).transpose(0, 2, 1), np.uint8)
