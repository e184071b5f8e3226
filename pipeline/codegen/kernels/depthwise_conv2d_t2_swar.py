"""Ternary depthwise convolution for 32-bit cores without SIMD instructions: nn_depthwise_conv2d_t2_swar.c."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.codegen.kernels import _ternary
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls, packing

STRIPES = 4
WORD_BYTES = 8
MAX_TAPS = 255
"""Inputs that a field of 16 bits surely sums."""


def serves(layer: QLayer, specs: Sequence[TensorSpec]) -> str:
    reason = _ternary.objection(layer, "depthwise_conv2d", specs[0])
    if reason:
        return reason
    taps = _ternary.rows(layer).shape[1]
    return "" if taps <= MAX_TAPS else f"it sums at most {MAX_TAPS} taps, not {taps}"


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    assert layer.weights is not None
    packing.require_range(layer)
    kh, kw, oc = layer.weights.shape
    multiplier = oc // specs[0].shape[2]
    same = multiplier == 1 and layer.output.shape == specs[0].shape
    return KernelCall(
        function="nn_depthwise_conv2d_t2_swar",
        args=calls.weighted_args(
            calls.params("nn_dw_conv_params", **calls.conv_fields(layer, specs[0], ch_mult=multiplier)),
            layer,
            specs[0],
            calls.dims(1, kh, kw, oc),
        ),
        tables={"filter": packing.pack(_ternary.rows(layer), 2), **_ternary.requant_tables(layer, specs[0])},
        scratch_bytes=scratch_bytes(layer, specs[0]),
        in_place=0 if same else None,
        start_cost=STRIPES * int(np.prod(layer.output.shape[1:])) * kh * kw,  # of stripes that are not equal
    )


def scratch_bytes(layer: QLayer, spec: TensorSpec) -> int:
    """Bytes of the C file's workspace."""
    assert layer.weights is not None
    (kh, kw, _), (oh, ow, _), (_, iw, ic) = layer.weights.shape, layer.output.shape, spec.shape
    sh, sw = layer.params["stride"]
    height = -(-oh // STRIPES)
    pitch = -(-((ow - 1) * sw + kw) // sw) * sw
    words = ((height - 1) * sh + kh) * pitch + 1 + height * ow + 1
    return int(WORD_BYTES * words + 4 * kh * kw + iw * ic)
