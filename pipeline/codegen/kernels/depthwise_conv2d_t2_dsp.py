"""Ternary depthwise convolution for cores with the DSP extension: firmware/nn/dsp/nn_depthwise_conv2d_t2_dsp.c.

It is for 3x3 with stride 1; of other shapes it computes those that depthwise_conv2d_s_dsp, asked first, does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.codegen.kernels import _dsp, _fit, _ternary
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls, packing

TAP_COST = 15
"""Instructions, roughly, of expanding a weight where filters are expanded."""
MAX_TAPS = 63
"""Inputs that the field of the first pixel surely sums."""
SHIFTS = (12, 8)
"""Of fits, as there is code for them."""
START = 1 << 12
"""What both sums of a pair start at: NN_DSP_PAIRS_START."""


@dataclass(frozen=True)
class Strip:
    """How a depthwise convolution is cut into strips."""

    rows: int
    """Input rows held at a time."""
    pitch: int
    """Columns of each row."""
    row_words: int
    """32-bit words of an expanded kernel row."""
    fast: bool
    """Whether the kernel that expands no filter computes it."""
    fit: _fit.Fit | None
    """What requantizes its outputs, of a fast one; None where there is none."""


def serves(layer: QLayer, specs: Sequence[TensorSpec]) -> str:
    reason = _dsp.objection(layer, "depthwise_conv2d", specs[0])
    return reason or _ternary.depthwise_objection(layer, specs[0], MAX_TAPS)


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    assert layer.weights is not None
    packing.require_range(layer)
    kh, kw, oc = layer.weights.shape
    s = strip(layer, specs[0])
    scratch = _dsp.strip_bytes(layer, s.pitch) + (0 if s.fast else 4 * _dsp.CHANNELS * kh * s.row_words)
    return KernelCall(
        function="nn_depthwise_conv2d_t2_dsp",
        args=_dsp.args(
            calls.params(
                "nn_dsp_dw_conv_params",
                conv=calls.conv_fields(layer, specs[0], ch_mult=1),
                rows=s.rows,
                pitch=s.pitch,
                row_words=s.row_words,
                **_code(layer, s),
            ),
            layer,
            specs[0],
            calls.dims(1, kh, kw, oc),
        ),
        tables={
            "filter": packing.pack(_ternary.rows(layer), 2),
            "requant": s.fit.table.astype(np.int32) if s.fit else _dsp.quant(layer, specs[0], (0, 1, 2, 3)),
        },
        scratch_bytes=scratch,
        in_place=0 if layer.output.shape == specs[0].shape else None,
        start_cost=_dsp.rows_cost(layer, specs[0])
        + (0 if s.fit else _dsp.CHANNEL_COST * oc)
        + (0 if s.fast else TAP_COST * layer.weights.size),
    )


def strip(layer: QLayer, spec: TensorSpec) -> Strip:
    """The strips that the layer is cut into."""
    assert layer.weights is not None
    kw, sw, ow = layer.weights.shape[1], layer.params["stride"][1], layer.output.shape[1]
    row_words = -(-(kw + sw) // 2)
    fast = _ternary.in_pairs(layer)
    fit = _fit.find_half(layer, spec, SHIFTS, START) if fast else None
    block = _dsp.ROW_OUTPUTS if fast and not fit else 2
    pitch = 2 * ((block // 2 * -(-ow // block) - 1) * sw + row_words)
    return Strip(_dsp.held_rows(layer, pitch), pitch, row_words, fast, fit)


def _code(layer: QLayer, s: Strip) -> dict[str, str]:
    """The functions that compute the channels of a layer."""
    if s.fit:
        shift = s.fit.shift
        return _dsp.row_codes(layer.output.shape[1], lambda count, place: f"nn_dsp_rows{count}{place}_{shift}")
    return _pairs(layer, s) if s.fast else {}


def _pairs(layer: QLayer, s: Strip) -> dict[str, str]:
    """The functions that compute the channels of a layer without a fit, by the direction of their shifts."""
    assert layer.shift is not None
    name = "nn_dsp_pairs8" if s.pitch == _dsp.ROW_OUTPUTS + 2 else "nn_dsp_pairs"
    directions = {
        "left": (layer.shift > 0, "_left"),
        "zero": (layer.shift == 0, "_zero"),
        "right": (layer.shift < 0, ""),
    }
    return {field: name + suffix for field, (channels, suffix) in directions.items() if channels.any()}
