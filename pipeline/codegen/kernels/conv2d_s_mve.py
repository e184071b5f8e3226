"""Convolution for the M-profile vector extension: firmware/nn/mve/nn_conv2d_s_mve.c."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.codegen.kernels import _mve, _ternary
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls, packing

MACS_PER_INSTRUCTION = 16
CHANNELS, PIXELS = 16, 2
"""As in the C file: output channels and pixels at a time."""
WEIGHT_BYTES = 9216
"""As many filters are decoded at a time as fit, at least those of CHANNELS: windows are gathered once for each time."""


def serves(layer: QLayer, specs: Sequence[TensorSpec]) -> str:
    return _mve.objection(layer, "conv2d", specs[0])


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    assert layer.weights is not None
    packing.require_range(layer)
    oc, kh, kw, ic = layer.weights.shape
    steps, decode = -(-kh * kw * ic // _mve.LANES), _mve.decode(layer)
    block = CHANNELS * -(-oc // CHANNELS)
    if decode:
        block = min(block, CHANNELS * max(1, WEIGHT_BYTES // (CHANNELS * steps * _mve.LANES)))
    return KernelCall(
        function="nn_conv2d_s_mve",
        args=calls.weighted_args(
            calls.params(
                "nn_mve_conv_params",
                conv=calls.conv_fields(layer, specs[0]),
                block=block,
                **decode,
                write=f"nn_mve_write{_mve.requantization(layer)}",
            ),
            layer,
            specs[0],
            calls.dims(oc, kh, kw, ic),
        ),
        tables={
            "filter": _mve.pack(_mve.filters(_ternary.rows(layer)), layer.weight_bits),
            **_mve.filled(_ternary.requant_tables(layer, specs[0])),
        },
        scratch_bytes=_mve.LANES * (steps * (PIXELS + (block if decode else 0))),
        start_cost=_mve.start_cost(layer),
    )
