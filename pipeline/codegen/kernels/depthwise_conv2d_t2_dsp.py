"""Ternary depthwise convolution for cores with the DSP extension: firmware/nn/dsp/nn_depthwise_conv2d_t2_dsp.c."""

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
PAIRS = 6
"""Outputs of a row that nn_dsp_rows... and nn_dsp_pairs... compute at a time, from two columns more."""
SHIFTS = (12, 8)
"""Of fits, as there is code for them."""
START = 1 << 12
"""What both sums of a pair start at: NN_DSP_PAIRS_START."""
PLANE_BYTES = 4096
"""As many input rows of four channels as fit are expanded at a time, at least those of one output row."""


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
    scratch = _dsp.CHANNELS * (2 * s.rows * s.pitch + (0 if s.fast else 4 * kh * s.row_words))
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
    kh, kw, _ = layer.weights.shape
    (sh, sw), (oh, ow, _) = layer.params["stride"], layer.output.shape
    row_words = -(-(kw + sw) // 2)
    fast = (kh, kw, sh, sw) == (3, 3, 1, 1)
    fit = _fit.find_half(layer, spec, SHIFTS, START) if fast else None
    block = PAIRS if fast and not fit else 2
    pitch = 2 * ((block // 2 * -(-ow // block) - 1) * sw + row_words)
    outputs = max(1, (PLANE_BYTES // (2 * _dsp.CHANNELS * pitch) - kh) // sh + 1)
    outputs = min(oh, outputs)
    return Strip((outputs - 1) * sh + kh, pitch, row_words, fast, fit)


def _code(layer: QLayer, s: Strip) -> dict[str, str]:
    """The functions that compute the channels of a layer."""
    if s.fit:
        return _rows(layer.output.shape[1], s.fit.shift)
    return _pairs(layer, s) if s.fast else {}


def _rows(width: int, shift: int) -> dict[str, str]:
    """The functions that compute a row of so many outputs, which is adjacent where there is one."""
    adjacent = "_adjacent" if width <= PAIRS else ""
    counts = {"six": PAIRS * (width >= PAIRS), "last": width % PAIRS}
    return {field: f"nn_dsp_rows{count}{adjacent}_{shift}" for field, count in counts.items() if count}


def _pairs(layer: QLayer, s: Strip) -> dict[str, str]:
    """The functions that compute the channels of a layer without a fit, by the direction of their shifts."""
    assert layer.shift is not None
    name = "nn_dsp_pairs8" if s.pitch == PAIRS + 2 else "nn_dsp_pairs"
    directions = {
        "left": (layer.shift > 0, "_left"),
        "zero": (layer.shift == 0, "_zero"),
        "right": (layer.shift < 0, ""),
    }
    return {field: name + suffix for field, (channels, suffix) in directions.items() if channels.any()}
