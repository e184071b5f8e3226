"""Depthwise convolution with weights of 8, 4, 3 or 2 bits for cores with the DSP extension:
firmware/nn/dsp/nn_depthwise_conv2d_s_dsp.c."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.codegen.kernels import _dsp, _fit, _signed, _ternary
from pipeline.core.nouns import Arg, KernelCall, QLayer, TensorSpec
from pipeline.network import calls, packing

WIDTHS = (*_signed.WIDTHS, 2)
"""Weight bits: they are few, and decoded before they are used."""
TAP_COST = 15
"""Instructions, roughly, of decoding and expanding a weight."""
MOST_COLUMNS = 8
"""Of a filter."""
MOST_STRIDE = 3
"""Between neighbouring columns of outputs."""
MOST_ROW_STRIDE = 2
"""The same of nn_dsp_wide_rows..."""


def serves(layer: QLayer, specs: Sequence[TensorSpec]) -> str:
    reason = _signed.objection(layer, "depthwise_conv2d", specs[0], WIDTHS)
    reason = reason or _ternary.multiplier_objection(layer, specs[0])
    if reason:
        return reason
    assert layer.weights is not None
    if layer.weight_bits == 2 and _ternary.in_pairs(layer):
        return "ternary filters of 3x3 with stride 1 have a faster kernel"
    columns, stride = layer.weights.shape[1], layer.params["stride"][1]
    if columns > MOST_COLUMNS:
        return f"its filters have at most {MOST_COLUMNS} columns, not {columns}"
    return "" if stride <= MOST_STRIDE else f"its horizontal stride is at most {MOST_STRIDE}, not {stride}"


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    packing.require_range(layer)
    assert layer.weights is not None
    fit = row_fit(layer, specs[0])
    same, rows = layer.output.shape == specs[0].shape, _dsp.strip_rows(layer, pitch(layer))
    return KernelCall(
        function="nn_depthwise_conv2d_s_rows_dsp" if fit else "nn_depthwise_conv2d_s_dsp",
        args=_dsp.args(
            _row_params(layer, specs[0], fit) if fit else _params(layer, specs[0], rows),
            layer,
            specs[0],
            calls.dims(1, *layer.weights.shape),
        ),
        tables={
            "filter": pack(layer, by_channel=fit is not None),
            "requant": fit.table.astype(np.int32) if fit else _dsp.quant(layer, specs[0], (0, 1, 2, 3)),
        },
        scratch_bytes=_dsp.strip_bytes(layer, row_pitch(layer)) if fit else scratch_bytes(layer),
        in_place=0 if same and (fit or rows == layer.output.shape[0]) else None,
        start_cost=(_dsp.rows_cost if fit else _dsp.start_cost)(layer, specs[0]) + TAP_COST * layer.weights.size,
    )


def row_fit(layer: QLayer, spec: TensorSpec) -> _fit.Fit | None:
    """What requantizes the outputs of nn_dsp_wide_rows...; None where that does not compute the layer."""
    assert layer.weights is not None
    if layer.weights.shape[:2] != (3, 3) or layer.params["stride"][1] > MOST_ROW_STRIDE:
        return None
    return _fit.find_wide(layer, spec, _signed.SHIFTS)


def _params(layer: QLayer, spec: TensorSpec, rows: int) -> Arg:
    return calls.params(
        "nn_dsp_signed_dw_conv_params",
        conv=calls.conv_fields(layer, spec, ch_mult=1),
        bits=layer.weight_bits,
        rows=rows,
        pitch=pitch(layer),
        code=f"nn_dsp_taps{layer.params['stride'][1]}{_dsp.requantization(layer)}",
    )


def _row_params(layer: QLayer, spec: TensorSpec, fit: _fit.Fit) -> Arg:
    assert layer.weights is not None
    stride, suffix, columns = layer.params["stride"], _signed.requantization(layer, fit), row_pitch(layer)
    return calls.params(
        "nn_dsp_wide_rows_params",
        conv=calls.conv_fields(layer, spec, ch_mult=1),
        bits=layer.weight_bits,
        rows=_dsp.held_rows(layer, columns),
        pitch=columns,
        **_dsp.row_codes(
            layer.output.shape[1], lambda count, place: f"nn_dsp_wide_rows{count}_by{stride[1]}{place}{suffix}"
        ),
    )


def pitch(layer: QLayer) -> int:
    """Columns of the plane of four channels: what the last pair of outputs reads."""
    assert layer.weights is not None
    width = layer.output.shape[1]
    return int((width + width % 2 - 1) * layer.params["stride"][1] + layer.weights.shape[1])


def row_pitch(layer: QLayer) -> int:
    """Columns of a plane of one channel: what the outputs of a row read, in whole words."""
    assert layer.weights is not None
    columns = (layer.output.shape[1] - 1) * layer.params["stride"][1] + layer.weights.shape[1]
    return int(columns + columns % 2)


def pack(layer: QLayer, by_channel: bool) -> NDArray[np.uint8]:
    """uint8 (groups of four channels, bytes): the filter, tap by tap or channel by channel; layout: the C file."""
    assert layer.weights is not None
    kh, kw, oc = layer.weights.shape
    padded = np.pad(layer.weights, ((0, 0), (0, 0), (0, -oc % _dsp.CHANNELS)))
    groups = padded.reshape(kh * kw, -1, _dsp.CHANNELS).transpose((1, 2, 0) if by_channel else (1, 0, 2))
    rows = np.ascontiguousarray(groups.reshape(len(groups), -1))
    return np.asarray(packing.pack(rows, layer.weight_bits).view(np.uint8))


def scratch_bytes(layer: QLayer) -> int:
    """Bytes of the C file's workspace: expanded filters, a plane, then weights that are decoded or a row of outputs of
    fewer than four channels."""
    assert layer.weights is not None
    kh, kw, oc = layer.weights.shape
    decoded = _dsp.CHANNELS * kh * kw if layer.weight_bits < 8 else 0
    last = _dsp.CHANNELS * layer.output.shape[1] if oc % _dsp.CHANNELS else 0
    return int(_dsp.PIXEL_BYTES * kh * kw + _dsp.strip_bytes(layer, pitch(layer)) + max(decoded, last))
