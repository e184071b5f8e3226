"""What the kernels share that read weights of 8, 4 or 3 bits: the layers they compute and the packing of their weights.
C side: firmware/nn/dsp/nn_conv2d_s_dsp.c; firmware/nn/swar/nn_swar_signed.h reads the same words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.codegen.kernels import _dsp, _ternary
from pipeline.core.nouns import QLayer, TensorSpec

WIDTHS = (8, 4, 3)
"""Weight bits, the C files' nn_dsp_width objects."""

Integers = NDArray[np.int64]


def objection(layer: QLayer, kind: str, spec: TensorSpec) -> str:
    """Why the kernel of `kind` for cores with the DSP extension does not compute the layer, "" when it does."""
    return width_objection(layer, kind) or _ternary.sum_objection(layer, spec) or _dsp.shift_objection(layer)


def width_objection(layer: QLayer, kind: str) -> str:
    """Why no kernel of `kind` for these widths computes the layer, "" when one may."""
    if layer.kind != kind:
        return f"it computes {kind} layers"
    if layer.weight_bits not in WIDTHS:
        return f"it reads weights of 8, 4 or 3 bits, not {layer.weight_bits}"
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
