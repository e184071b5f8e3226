"""Depthwise convolution with weights of 8, 4 or 3 bits for 32-bit cores without SIMD instructions:
nn_depthwise_conv2d_s_swar.c."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.codegen.kernels import _swar, _ternary
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls, packing

TAP_BYTES = 9
"""Of a weight, decoded and as a tap of the C file."""


def serves(layer: QLayer, specs: Sequence[TensorSpec]) -> str:
    return _swar.objection(layer, "depthwise_conv2d", specs[0])


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    packing.require_range(layer)
    assert layer.weights is not None
    kh, kw, oc = layer.weights.shape
    multiplier = oc // specs[0].shape[2]
    same = multiplier == 1 and layer.output.shape == specs[0].shape
    return KernelCall(
        function="nn_depthwise_conv2d_s_swar",
        args=calls.weighted_args(
            calls.params(
                "nn_swar_signed_dw_conv_params",
                conv=calls.conv_fields(layer, specs[0], ch_mult=multiplier),
                bits=layer.weight_bits,
            ),
            layer,
            specs[0],
            calls.dims(1, kh, kw, oc),
        ),
        tables={
            "filter": packing.pack(_ternary.rows(layer), layer.weight_bits),
            **_swar.requant_tables(layer, specs[0]),
        },
        scratch_bytes=scratch_bytes(layer),
        in_place=0 if same else None,
        start_cost=packing.DECODE_COST * layer.weights.size,
    )


def scratch_bytes(layer: QLayer) -> int:
    """Bytes of the taps of a channel and of its plane."""
    assert layer.weights is not None
    (kh, kw, _), (oh, ow, _), (sh, sw) = layer.weights.shape, layer.output.shape, layer.params["stride"]
    return int(TAP_BYTES * kh * kw + ((oh - 1) * sh + kh) * ((ow - 1) * sw + kw))
