"""Depthwise convolution with weights of 8, 4 or 3 bits for cores with the DSP extension:
firmware/nn/dsp/nn_depthwise_conv2d_s_dsp.c."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.codegen.kernels import _dsp, _signed, _ternary
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls, packing

TAP_COST = 15
"""Instructions, roughly, of decoding and expanding a weight."""
MOST_COLUMNS = 8
"""Of a filter."""
MOST_STRIDE = 3
"""Between neighbouring columns of outputs."""
PIXEL_BYTES = 8
"""Of four channels in a plane."""
PLANE_BYTES = 4096
"""As many input rows of four channels as fit are expanded at a time, at least those of one output row."""


def serves(layer: QLayer, specs: Sequence[TensorSpec]) -> str:
    reason = _signed.objection(layer, "depthwise_conv2d", specs[0]) or _ternary.multiplier_objection(layer, specs[0])
    if reason:
        return reason
    assert layer.weights is not None
    columns, stride = layer.weights.shape[1], layer.params["stride"][1]
    if columns > MOST_COLUMNS:
        return f"its filters have at most {MOST_COLUMNS} columns, not {columns}"
    return "" if stride <= MOST_STRIDE else f"its horizontal stride is at most {MOST_STRIDE}, not {stride}"


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    packing.require_range(layer)
    assert layer.weights is not None
    kh, kw, oc = layer.weights.shape
    rows = strip_rows(layer)
    same = layer.output.shape == specs[0].shape
    return KernelCall(
        function="nn_depthwise_conv2d_s_dsp",
        args=_dsp.args(
            calls.params(
                "nn_dsp_signed_dw_conv_params",
                conv=calls.conv_fields(layer, specs[0], ch_mult=1),
                bits=layer.weight_bits,
                rows=rows,
                pitch=pitch(layer),
                code=f"nn_dsp_taps{layer.params['stride'][1]}{_dsp.requantization(layer)}",
            ),
            layer,
            specs[0],
            calls.dims(1, kh, kw, oc),
        ),
        tables={"filter": pack(layer), "requant": _dsp.quant(layer, specs[0], (0, 1, 2, 3))},
        scratch_bytes=scratch_bytes(layer, rows),
        in_place=0 if same and rows == layer.output.shape[0] else None,
        start_cost=_dsp.start_cost(layer, specs[0]) + TAP_COST * layer.weights.size,
    )


def pitch(layer: QLayer) -> int:
    """Columns of a plane: what the last pair of outputs reads."""
    assert layer.weights is not None
    width = layer.output.shape[1]
    return int((width + width % 2 - 1) * layer.params["stride"][1] + layer.weights.shape[1])


def strip_rows(layer: QLayer) -> int:
    """Rows of outputs of a strip."""
    assert layer.weights is not None
    held = PLANE_BYTES // (PIXEL_BYTES * pitch(layer))
    rows = (held - layer.weights.shape[0]) // layer.params["stride"][0] + 1
    return int(min(max(rows, 1), layer.output.shape[0]))


def pack(layer: QLayer) -> NDArray[np.uint8]:
    """uint8 (groups of four channels, bytes): the filter; layout: the C file."""
    assert layer.weights is not None
    kh, kw, oc = layer.weights.shape
    padded = np.pad(layer.weights, ((0, 0), (0, 0), (0, -oc % _dsp.CHANNELS)))
    groups = padded.reshape(kh * kw, -1, _dsp.CHANNELS).transpose(1, 0, 2)
    rows = np.ascontiguousarray(groups.reshape(len(groups), -1))
    return np.asarray(packing.pack(rows, layer.weight_bits).view(np.uint8))


def scratch_bytes(layer: QLayer, rows: int) -> int:
    """Bytes of the C file's workspace: expanded filters, a plane, then weights that are decoded or a row of outputs of
    fewer than four channels."""
    assert layer.weights is not None
    kh, kw, oc = layer.weights.shape
    plane = PIXEL_BYTES * pitch(layer) * ((rows - 1) * layer.params["stride"][0] + kh)
    decoded = _dsp.CHANNELS * kh * kw if layer.weight_bits < 8 else 0
    last = _dsp.CHANNELS * layer.output.shape[1] if oc % _dsp.CHANNELS else 0
    return int(PIXEL_BYTES * kh * kw + plane + max(decoded, last))
