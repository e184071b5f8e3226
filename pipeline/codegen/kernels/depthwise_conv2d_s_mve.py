"""Depthwise convolution for the M-profile vector extension: firmware/nn/mve/nn_depthwise_conv2d_s_mve.c."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.codegen.kernels import _mve, _ternary
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls, packing

MOST_WEIGHT = 255
"""Sum of a channel's |weights| up to which 16 bits surely hold the sums of its inputs."""
POINTER_BYTES = 4
REPEAT_COST = 9
"""Instructions, roughly, of finding a channel's input channel."""


def serves(layer: QLayer, specs: Sequence[TensorSpec]) -> str:
    return _mve.objection(layer, "depthwise_conv2d", specs[0])


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    assert layer.weights is not None
    packing.require_range(layer)
    kh, kw, oc = layer.weights.shape
    rows, decode, repeats = rows_of(layer.weights), _mve.decode(layer), oc // specs[0].shape[2]
    channels = oc + -oc % _mve.LANES
    repeated = channels if repeats > 1 else 0
    decoded = _mve.LANES * _mve.unit_rows(len(rows), layer.weight_bits) if decode else 0
    tables = _mve.filled(_ternary.requant_tables(layer, specs[0]), _mve.LANES)
    return KernelCall(
        function="nn_depthwise_conv2d_s_mve",
        args=calls.weighted_args(
            calls.params(
                "nn_mve_dw_conv_params",
                conv=calls.conv_fields(layer, specs[0], ch_mult=repeats),
                **decode,
                pixel=f"nn_mve_{'repeated' if repeated else 'pixel'}{sum_bits(layer)}{_mve.requantization(layer)}",
            ),
            layer,
            specs[0],
            calls.dims(1, kh, kw, oc),
        ),
        tables={
            "filter": _mve.pack(rows, layer.weight_bits),
            **{name: in_order_of_sums(table) for name, table in tables.items()},
        },
        scratch_bytes=POINTER_BYTES * kh * kw + channels + repeated + decoded,
        start_cost=_mve.start_cost(layer) + REPEAT_COST * repeated,
    )


def sum_bits(layer: QLayer) -> int:
    """Of the sums of all taps: 16 or 32."""
    return 16 if np.abs(_ternary.rows(layer)).sum(axis=1).max() <= MOST_WEIGHT else 32


def rows_of(weights: NDArray[Any]) -> NDArray[np.int64]:
    """int64 (rows, LANES) of weights (kh, kw, channels): of every LANES channels, filled up, a row of each tap."""
    taps = weights.astype(np.int64).reshape(-1, weights.shape[2])
    padded = np.pad(taps, ((0, 0), (0, -taps.shape[1] % _mve.LANES)))
    return padded.reshape(len(taps), -1, _mve.LANES).transpose(1, 0, 2).reshape(-1, _mve.LANES)


def in_order_of_sums(table: NDArray[Any]) -> NDArray[Any]:
    """A table of channels, of every 16 in the order 0, 4, 8, 12, 1, 5 and so on."""
    return table.reshape(-1, _mve.ROWS, _mve.ROWS).transpose(0, 2, 1).ravel()
