"""What the kernels for cores with the DSP extension share: the layers they compute, the packing of their weights and
the proof that no packed field overflows. C side: firmware/nn/dsp/nn_dsp.h, nn_conv2d_t2_dsp_core.S."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipeline.codegen.kernels import _fit, _ternary
from pipeline.core import registry
from pipeline.core.nouns import Arg, QLayer, TensorSpec
from pipeline.network import calls
from pipeline.network.geometry import RowWindow

CHANNELS = 4
"""Output channels a block."""
CHANNEL_COST, INPUT_COST = 25, 3
"""Instructions, roughly, of unpacking a channel's requantization and of expanding an input."""
IN_ORDER = (0, 1, 2, 3)
ORDER = (1, 3, 0, 2)
HALF_ORDER = (1, 0, 3, 2)
"""In which a block's channels are written: by fits, by any requantization, by halves in windows without flushes."""
WORD = 4
"""Inputs a word of filter, of CHANNELS channels each."""
FIRST_LIMITS = (-(1 << 13), (1 << 13) - 1)
"""What the field of the first channel of a pair holds: 14 bits."""
SECOND_LIMITS = (-(1 << 17), (1 << 17) - 1)
"""What is left of 32 bits for the second channel."""
MAX_INPUTS = 255
"""Inputs whose sum surely fits 16 bits: of a piece."""
PIXEL_BYTES = 8
"""Of four channels of 16 bits."""
STRIP_BYTES = 4096
"""As many input rows of four channels of a depthwise convolution as fit are expanded at a time, at least those of one
row of outputs."""
ROW_OUTPUTS = 6
"""Neighbouring outputs of a row of a depthwise convolution that are computed at a time: NN_DSP_PAIRS."""
LOWEST_SHIFT = -22
"""Rounding and output offset fit next to the product: (2 * 127 + 1) * 2^21 < 2^30."""

Integers = NDArray[np.int64]


def objection(layer: QLayer, kind: str, spec: TensorSpec) -> str:
    """Why the kernel of `kind` does not compute the layer, "" when it does."""
    return _ternary.objection(layer, kind, spec) or shift_objection(layer)


def shift_objection(layer: QLayer) -> str:
    """Why the outputs are not written by SMMLAR, "" when they are."""
    assert layer.shift is not None
    if layer.shift.min() < LOWEST_SHIFT:
        return f"it shifts results to the right by at most {-LOWEST_SHIFT}, not {-layer.shift.min()}"
    return ""


def behind_relu(layer: QLayer) -> bool:
    """Whether a negative sum gives the smallest output however it is rounded, as the zero point is that output."""
    return layer.output.quantization.zero_point == -128


def requantization(layer: QLayer) -> str:
    """The suffix of the code that writes the layer's outputs: see nn_dsp_write... in nn_dsp.h."""
    assert layer.shift is not None
    if behind_relu(layer) and layer.shift.max() <= 0:
        return "_relu"
    return "" if layer.shift.max() < 0 else "_any"


def fits(weights: Integers) -> bool:
    """Whether no input of int8 makes a sum of these weights overflow its field: weights (channels, inputs), the
    channels in pairs of neighbours. An odd last channel has the next one's part unused."""
    lowest, highest = _ternary.extremes(weights)
    limits = np.array([FIRST_LIMITS, SECOND_LIMITS])[np.arange(len(weights)) % 2]
    return bool((lowest >= limits[:, 0]).all() and (highest <= limits[:, 1]).all())


def second_channels_fit(weights: Integers) -> bool:
    """The same of the second channels alone, which no flush moves to a total: weights of whole windows."""
    lowest, highest = _ternary.extremes(weights[1::2])
    return bool((lowest >= SECOND_LIMITS[0]).all() and (highest <= SECOND_LIMITS[1]).all())


def expanded(weights: Integers) -> Integers:
    """weights (channels, inputs), the inputs in the order that nn_dsp_expand leaves them in: of every four 0, 2, 1, 3;
    the last, incomplete four as they are."""
    whole = weights.shape[1] - weights.shape[1] % WORD
    fours = weights[:, :whole].reshape(len(weights), -1, WORD)[:, :, [0, 2, 1, 3]]
    return np.concatenate([fours.reshape(len(weights), whole), weights[:, whole:]], axis=1)


def windows(rows: Integers) -> Integers:
    """(channels, inputs): weights (channels, kh, inputs of a kernel row) in the order in which windows are laid out:
    the whole fours of every row, each 0, 2, 1, 3, then the rest of each row."""
    channels, _, count = rows.shape
    whole = count - count % WORD
    fours = expanded(rows[:, :, :whole].reshape(channels, -1))
    return np.concatenate([fours, rows[:, :, whole:].reshape(channels, -1)], axis=1)


def pitch(layer: QLayer, spec: TensorSpec) -> int:
    """Inputs of a padded row, 0 when no window reaches beyond the input."""
    assert layer.weights is not None
    (ih, iw, ic), (oh, _, _) = spec.shape, layer.output.shape
    row, rows = padded_row(layer, ic), (oh - 1) * layer.params["stride"][0] + layer.weights.shape[1]
    return row if any(layer.params["padding"]) or row > iw * ic or rows > ih else 0


def padded_row(layer: QLayer, channels: int) -> int:
    """Inputs, of so many channels, from the first to the last one that the windows of a row of outputs read."""
    assert layer.weights is not None
    stride: int = layer.params["stride"][1]
    return ((layer.output.shape[1] - 1) * stride + layer.weights.shape[2]) * channels


def pack(weights: Integers) -> NDArray[np.uint32]:
    """uint32 (blocks, words): weights (channels, inputs) of one piece, CHANNELS channels a block, WORD inputs a word;
    layout: firmware/nn/dsp/nn_conv2d_t2_dsp.c. Missing channels are 0; behind the last input all slots are 0."""
    channels, count = weights.shape
    padded = np.pad(weights, ((0, -channels % CHANNELS), (0, 0)))
    fields = np.stack([padded[0::2] + 1, padded[1::2] & 3], axis=1)  # pair, first or second, input
    fields = np.pad(fields, ((0, 0), (0, 0), (0, -count % WORD)))
    # block, pair, first or second, word, pair of inputs, input
    parts = fields.reshape(-1, CHANNELS // 2, 2, fields.shape[2] // WORD, WORD // 2, 2)
    turn = 2 * np.arange(WORD // 2)[None, None, :, None] + np.arange(CHANNELS // 2)[:, None, None, None]
    place = 7 * np.arange(2)[None, :, None, None] + 8 * np.arange(2)[None, None, None, :]
    shifts = 2 * ((2 * turn + place) % 16)  # pair, first or second, pair of inputs, input
    words = (parts << shifts[None, :, :, None]).sum(axis=(1, 2, 4, 5))
    return np.asarray(words, np.uint32)


def args(params: Arg, layer: QLayer, spec: TensorSpec, filter_dims: Arg) -> tuple[Arg, ...]:
    """Arguments of a kernel that reads the tables "filter" and "requant"."""
    return (
        calls.CTX,
        params,
        calls.map_dims(spec.shape),
        calls.input_arg(),
        filter_dims,
        calls.table("filter"),
        calls.table("requant"),
        calls.map_dims(layer.output.shape),
        calls.OUTPUT,
    )


def fitted(fit: _fit.Fit) -> NDArray[np.int32]:
    """int32 (channels, 2 or 3), filled up to blocks of CHANNELS: nn_dsp_fit."""
    return _in_blocks(fit.table, IN_ORDER)


def half_fitted(fit: _fit.Fit, flushed: bool) -> NDArray[np.int32]:
    """int32 (channels, 2), filled up to blocks of CHANNELS: nn_dsp_half_fit, where windows have no flushes in the
    order HALF_ORDER; there the first channel of a pair is multiplied as 4 times its sum."""
    whole = flushed | (np.arange(len(fit.starts)) % 2 == 1)
    table = np.stack([fit.starts, np.where(whole, 4, 1) * fit.factors], axis=1)
    return _in_blocks(table, IN_ORDER if flushed else HALF_ORDER)


def unpacked(layer: QLayer, spec: TensorSpec) -> NDArray[np.int32]:
    """int32 (channels, 4), filled up to blocks of CHANNELS in the order ORDER: nn_dsp_quant."""
    assert layer.multiplier is not None and layer.shift is not None
    right = -layer.shift.astype(np.int64)
    offset = layer.output.quantization.zero_point
    rounding = np.where(right < 0, offset, ((2 * offset + 1) << np.maximum(right, 0)) >> 1)
    return _in_blocks(np.stack([2 * _ternary.folded_bias(layer, spec), layer.multiplier, rounding, right], axis=1))


def _in_blocks(table: Integers, order: tuple[int, ...] = ORDER) -> NDArray[np.int32]:
    """Rows of channels in the order in which their outputs are written."""
    padded = np.pad(table, ((0, -len(table) % CHANNELS), (0, 0)))
    return padded.reshape(-1, CHANNELS, table.shape[1])[:, order].reshape(padded.shape).astype(np.int32)


def quant(layer: QLayer, spec: TensorSpec, order: tuple[int, ...] = ORDER) -> NDArray[np.int32]:
    """int32 (blocks, 9): per block of CHANNELS channels, in that order, their doubled folded biases, multipliers
    and right shifts (a byte each)."""
    assert layer.multiplier is not None and layer.shift is not None
    columns = (2 * _ternary.folded_bias(layer, spec).astype(np.int64), layer.multiplier, -layer.shift)
    bias, multiplier, right = (np.pad(c, (0, -len(c) % CHANNELS)).reshape(-1, CHANNELS)[:, order] for c in columns)
    shifts = np.ascontiguousarray(right, np.int8).view("<u4")
    return np.hstack([bias, multiplier, shifts]).astype(np.uint32).view(np.int32)


def start_cost(layer: QLayer, spec: TensorSpec) -> int:
    """Instructions, roughly, that a convolution spends in every call: on unpacking its requantization, and on rows
    that the call before has expanded too."""
    return CHANNEL_COST * layer.output.shape[2] + rows_cost(layer, spec)


def rows_cost(layer: QLayer, spec: TensorSpec) -> int:
    """Instructions, roughly, that a convolution spends in every call on rows that the call before has expanded too."""
    window: RowWindow = registry.load("layers", layer.kind).row_window(layer)
    return INPUT_COST * max(0, window.size - window.stride) * int(np.prod(spec.shape[1:]))


def strip_rows(layer: QLayer, columns: int) -> int:
    """Rows of outputs that a depthwise convolution computes from what it has expanded at a time, of so many columns."""
    assert layer.weights is not None
    held = STRIP_BYTES // (PIXEL_BYTES * columns)
    rows = (held - layer.weights.shape[0]) // layer.params["stride"][0] + 1
    return int(min(max(rows, 1), layer.output.shape[0]))


def held_rows(layer: QLayer, columns: int) -> int:
    """Input rows of a strip: those of nn_dsp_strip."""
    assert layer.weights is not None
    return int((strip_rows(layer, columns) - 1) * layer.params["stride"][0] + layer.weights.shape[0])


def strip_bytes(layer: QLayer, columns: int) -> int:
    """Bytes of the planes of nn_dsp_strip."""
    return PIXEL_BYTES * columns * held_rows(layer, columns)


def row_codes(width: int, code: Callable[[int, str], str]) -> dict[str, str]:
    """The functions that nn_dsp_compute_rows calls for a row of so many outputs, by the parameter that names them.
    code: their names, of so many outputs, with the suffix "_adjacent" where the row is one of them alone."""
    place = "_adjacent" if width <= ROW_OUTPUTS else ""
    counts = {"six": ROW_OUTPUTS * (width >= ROW_OUTPUTS), "last": width % ROW_OUTPUTS}
    return {field: code(count, place) for field, count in counts.items() if count}


def blocks(count: int, three: bool) -> list[int]:
    """Pixels of the blocks of a row of `count` pixels, as the C file cuts it."""
    result = []
    while count > 0:
        result.append(3 if three and count >= 3 and count != 4 else min(count, 2))
        count -= result[-1]
    return result
