"""Ternary depthwise convolution for cores with the DSP extension: firmware/nn/nn_depthwise_conv2d_dsp.c."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline import calls, packing
from pipeline.kernels import _dsp, _ternary
from pipeline.types import KernelCall, QLayer, TensorSpec

MAX_TAPS = 63
"""Inputs that the field of the first pixel surely sums."""
OVERREAD = 2
"""Columns that the loop for five or six outputs may read beyond those of the last pair."""
PLANE_BYTES = 4096
"""As many input rows of four channels as fit are expanded at a time, at least those of one output row."""


@dataclass(frozen=True)
class Strip:
    """rows: input rows at a time; pitch: columns of each; row_words: of an expanded kernel row."""

    rows: int
    pitch: int
    row_words: int


def serves(layer: QLayer, specs: Sequence[TensorSpec], core: str) -> str:
    reason = _dsp.objection(layer, "depthwise_conv2d", specs[0], core, _dsp.LEFT_SHIFT)
    return reason or _ternary.depthwise_objection(layer, specs[0], MAX_TAPS)


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    assert layer.weights is not None
    packing.require_range(layer)
    kh, kw, oc = layer.weights.shape
    s = strip(layer)
    scratch = _dsp.CHANNELS * (2 * s.rows * s.pitch + 4 * kh * s.row_words)
    return KernelCall(
        function="nn_depthwise_conv_t2_dsp",
        source="nn_depthwise_conv2d_dsp.c",
        args=(
            calls.CTX,
            calls.params(
                "nn_dsp_dw_conv_params",
                conv=calls.conv_fields(layer, specs[0], ch_mult=1),
                rows=s.rows,
                pitch=s.pitch,
                row_words=s.row_words,
            ),
            calls.map_dims(specs[0].shape),
            calls.input_arg(),
            calls.dims(1, kh, kw, oc),
            calls.table("filter"),
            calls.table("requant"),
            calls.map_dims(layer.output.shape),
            calls.OUTPUT,
        ),
        tables={
            "filter": packing.pack(_ternary.rows(layer), 2),
            "requant": _dsp.quant(layer, specs[0], (0, 1, 2, 3)),
        },
        scratch_bytes=scratch,
        in_place=0 if layer.output.shape == specs[0].shape else None,
    )


def strip(layer: QLayer) -> Strip:
    """The strips that the layer is cut into."""
    assert layer.weights is not None
    kh, kw, _ = layer.weights.shape
    (sh, sw), (oh, ow, _) = layer.params["stride"], layer.output.shape
    pairs, row_words = -(-ow // 2), -(-(kw + sw) // 2)
    pitch = 2 * ((pairs - 1) * sw + row_words) + (OVERREAD if sw == 1 else 0)
    outputs = max(1, (PLANE_BYTES // (2 * _dsp.CHANNELS * pitch) - kh) // sh + 1)
    outputs = min(oh, outputs)
    return Strip((outputs - 1) * sh + kh, pitch, row_words)
