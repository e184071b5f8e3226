"""Ternary depthwise convolution for 32-bit cores without SIMD instructions: nn_depthwise_conv2d_t2_swar.c."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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
    packing.require_range(layer)
    layer, spec = _upright(layer, specs[0])
    assert layer.weights is not None
    kh, kw, oc = layer.weights.shape
    multiplier = oc // spec.shape[2]
    same = multiplier == 1 and layer.output.shape == spec.shape
    return KernelCall(
        function="nn_depthwise_conv2d_t2_swar",
        args=calls.weighted_args(
            calls.params("nn_dw_conv_params", **calls.conv_fields(layer, spec, ch_mult=multiplier)),
            layer,
            spec,
            calls.dims(1, kh, kw, oc),
        ),
        tables={"filter": packing.pack(_ternary.rows(layer), 2), **_ternary.requant_tables(layer, spec)},
        scratch_bytes=scratch_bytes(layer, spec),
        in_place=0 if same else None,
        start_cost=STRIPES * int(np.prod(layer.output.shape[1:])) * kh * kw,  # of stripes that are not equal
    )


def _upright(layer: QLayer, spec: TensorSpec) -> tuple[QLayer, TensorSpec]:
    """The layer and the spec of its input; those of one row as of one column, which has the same bytes and fills all
    stripes."""
    assert layer.weights is not None
    (kh, kw, oc), (h, w, c) = layer.weights.shape, spec.shape
    if (kh, h, layer.output.shape[0]) != (1, 1, 1):
        return layer, spec
    turned = {name: tuple(reversed(layer.params[name])) for name in ("stride", "padding")}
    output = TensorSpec((layer.output.shape[1], 1, oc), layer.output.quantization)
    weights = layer.weights.reshape(kw, 1, oc)
    layer = replace(layer, params={**layer.params, **turned}, output=output, weights=weights)
    return layer, TensorSpec((w, 1, c), spec.quantization)


def scratch_bytes(layer: QLayer, spec: TensorSpec) -> int:
    """Bytes of the C file's workspace."""
    assert layer.weights is not None
    (kh, kw, _), (oh, ow, _), (_, iw, ic) = layer.weights.shape, layer.output.shape, spec.shape
    sh, sw = layer.params["stride"]
    height = -(-oh // STRIPES)
    pitch = -(-((ow - 1) * sw + kw) // sw) * sw
    words = ((height - 1) * sh + kh) * pitch + 1 + height * ow + 1
    return int(WORD_BYTES * words + 4 * kh * kw + iw * ic)
