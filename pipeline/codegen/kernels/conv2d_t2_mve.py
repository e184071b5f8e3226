"""Ternary convolution for the M-profile vector extension: firmware/nn/mve/nn_conv2d_t2_mve.c."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.codegen.kernels import _mve, _ternary
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls, packing

CHANNELS, PIXELS = 16, 2
"""As in the C file: output channels and pixels at a time."""
WEIGHT_BYTES = 9216
"""As many filters are decoded at a time as fit, at least those of CHANNELS: windows are gathered once for each time."""


def serves(layer: QLayer, specs: Sequence[TensorSpec]) -> str:
    return _ternary.objection(layer, "conv2d", specs[0])


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    assert layer.weights is not None
    packing.require_range(layer)
    oc, kh, kw, ic = layer.weights.shape
    steps = -(-kh * kw * ic // _mve.LANES)
    block = CHANNELS * min(-(-oc // CHANNELS), max(1, WEIGHT_BYTES // (CHANNELS * steps * _mve.LANES)))
    return KernelCall(
        function="nn_conv2d_t2_mve",
        args=calls.weighted_args(
            calls.params(
                "nn_mve_conv_params",
                conv=calls.conv_fields(layer, specs[0]),
                block=block,
            ),
            layer,
            specs[0],
            calls.dims(oc, kh, kw, ic),
        ),
        tables={
            "filter": _mve.pack(_ternary.rows(layer)),
            **_mve.filled(_ternary.requant_tables(layer, specs[0])),
        },
        scratch_bytes=_mve.LANES * (block * steps + PIXELS * (steps + 1)),
        start_cost=_mve.start_cost(layer),
    )
