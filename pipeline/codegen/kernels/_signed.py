"""What the kernels share that read weights of 8, 4 or 3 bits: the layers they compute and the packing of their weights.
C side: firmware/nn/dsp/nn_conv2d_s_dsp.c; firmware/nn/swar/nn_swar_signed.h reads the same words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.codegen.kernels import _dsp, _fit, _ternary
from pipeline.core.nouns import QLayer, TensorSpec

WIDTHS = (8, 4, 3)
"""Weight bits, the C files' nn_dsp_width objects."""
LANE_SUMS = (-(1 << 23), (1 << 23) - 1)
"""What lanes leave of a sum: 24 bits."""
SHIFTS = (15, 12, 9)
"""Of fits, as there is code for them."""

Integers = NDArray[np.int64]


def objection(layer: QLayer, kind: str, spec: TensorSpec, widths: Sequence[int] = WIDTHS) -> str:
    """Why the kernel of `kind` for cores with the DSP extension does not compute the layer, "" when it does."""
    return width_objection(layer, kind, widths) or _ternary.sum_objection(layer, spec) or _dsp.shift_objection(layer)


def width_objection(layer: QLayer, kind: str, widths: Sequence[int] = WIDTHS) -> str:
    """Why no kernel of `kind` for these widths computes the layer, "" when one may."""
    if layer.kind != kind:
        return f"it computes {kind} layers"
    if layer.weight_bits not in widths:
        *most, last = widths
        return f"it reads weights of {', '.join(map(str, most))} or {last} bits, not {layer.weight_bits}"
    return ""


def pack(pairs: Integers, bits: int) -> NDArray[np.uint32]:
    """uint32 words of pairs (n, 2) of weights, n a multiple of 4, for 3 bits of 16; layout: nn_conv2d_s_dsp.c."""
    if bits == 8:
        return _words(pairs & 255, 2, 8)
    codes = pairs + zero(bits)
    if bits == 4:
        return _words(codes, 4, 4)
    groups = codes.reshape(-1, 16, 2)
    words = _words(groups[:, :15].reshape(-1, 2), 5, 3).reshape(-1, 3)
    spare = (groups[:, 15, None, :] >> np.arange(3)[:, None]) & 1  # group, word, half
    return np.asarray(words | (spare << np.array([15, 31])).sum(axis=2), np.uint32).ravel()


def has_lanes(layer: QLayer) -> bool:
    """Whether two channels' weights share a multiplication: those of 8 bits, where no sum of a channel takes more than
    24 bits."""
    lowest, highest = _ternary.extremes(_ternary.rows(layer))
    return layer.weight_bits == 8 and lowest.min() >= LANE_SUMS[0] and highest.max() <= LANE_SUMS[1]


def lanes(pairs: Integers) -> NDArray[np.uint32]:
    """uint32 words of pairs (n, 2) of weights of 8 bits, n even, of the channels a and b in turn: of both inputs
    a + 2^8 b as 16 bits. No weight is -128."""
    both = pairs.reshape(-1, 2, 2)
    halves = (both[:, 0] + (both[:, 1] << 8)) & 0xFFFF
    return np.asarray(halves[:, 0] | halves[:, 1] << 16, np.uint32)


def requantization(layer: QLayer, fit: _fit.Fit | None) -> str:
    """The suffix of the code that writes the layer's outputs: nn_dsp_write_s... in nn_dsp.h."""
    if fit is None:
        return _dsp.requantization(layer)
    return f"{'_ties' if fit.signed else ''}_{fit.shift}"


def requant(layer: QLayer, spec: TensorSpec, fit: _fit.Fit | None) -> NDArray[np.int32]:
    """int32 (pairs of channels, 6) of a fit: nn_dsp_pair_fit; a missing last channel is 0. Without one: packed
    nn_dsp_quant."""
    if fit is None:
        return _dsp.quant(layer, spec, (0, 1, 2, 3))
    assert fit.ties is not None
    table = np.stack([fit.starts, fit.factors, fit.ties], axis=1)
    pairs = np.pad(table, ((0, len(table) % 2), (0, 0))).reshape(-1, 2, 3)
    starts = pairs[:, ::-1, 0]
    return np.asarray(np.concatenate([starts, pairs[:, :, 1:].reshape(-1, 4)], axis=1), np.int32)


def zero(bits: int) -> int:
    """Code of the weight 0."""
    return 0 if bits == 8 else 1 << (bits - 1)


def expanded(inputs: Integers) -> Integers:
    """(..., n) weights of inputs, n a multiple of 4, in the order in which inputs are expanded: of every four 0, 2, 1,
    3."""
    fours = inputs.reshape(*inputs.shape[:-1], -1, 4)[..., [0, 2, 1, 3]]
    return fours.reshape(inputs.shape)


def interleaved(filters: Integers, channels: int) -> Integers:
    """(pairs, 2): of every `channels` filters of (n, inputs), the missing ones 0, a pair of inputs of each in turn."""
    padded = np.pad(filters, ((0, -len(filters) % channels), (0, 0)))
    return padded.reshape(-1, channels, padded.shape[1] // 2, 2).transpose(0, 2, 1, 3).reshape(-1, 2)


def _words(pairs: Integers, each: int, bits: int) -> NDArray[np.uint32]:
    """So many pairs a word, the first of a pair in the low half, the second in the high one."""
    shifts = bits * np.arange(each)[:, None] + 16 * np.arange(2)
    return np.asarray((pairs.reshape(-1, each, 2) << shifts).sum(axis=(1, 2)), np.uint32)
