"""Convolution with weights of 8, 4 or 3 bits for 32-bit cores without SIMD instructions: nn_conv2d_s_swar.c."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.codegen.kernels import _swar
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls, packing

MACS_PER_INSTRUCTION = 2
PIXELS, CHANNELS = 4, 2
"""Of a block, and channels at a time, as in the C file."""


def serves(layer: QLayer, specs: Sequence[TensorSpec]) -> str:
    return _swar.objection(layer, "conv2d", specs[0])


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    packing.require_range(layer)
    assert layer.weights is not None
    windows = _swar.windows(layer, CHANNELS)
    return KernelCall(
        function="nn_conv2d_s_swar",
        args=calls.weighted_args(
            calls.params(
                "nn_swar_signed_conv_params",
                conv=calls.conv_fields(layer, specs[0]),
                bits=layer.weight_bits,
                **windows.params,
            ),
            layer,
            specs[0],
            calls.dims(*layer.weights.shape),
        ),
        tables={"filter": windows.filter, **_swar.requant_tables(layer, specs[0])},
        scratch_bytes=windows.scratch_bytes(PIXELS),
        start_cost=PIXELS * layer.weights.size,  # of a block that is not whole
    )
