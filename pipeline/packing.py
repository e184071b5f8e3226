"""Weights as bytes: how {-1, 0, 1} becomes 2 bits. The C side is firmware/nn/nn_decode.c."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UnsupportedError
from pipeline.types import Int8Array, QLayer


def require_ternary(weights: Int8Array, layer: str) -> None:
    """UnsupportedError naming the layer and the first value outside {-1, 0, 1}: such a tensor never gets packed."""
    wrong = np.flatnonzero(np.abs(weights.astype(np.int16)) > 1)
    if wrong.size:
        at = int(wrong[0])
        raise UnsupportedError(
            f"layer {layer!r}: weight {at} is {int(weights.flat[at])}, a ternary weight is -1, 0 or 1",
            "set the layer's weight bits to 8, or train it with the ternary quantizer",
        )


def require_bits(layer: QLayer, served: Sequence[int] = (2, 8)) -> None:
    """UnsupportedError when no kernel reads weights of the layer's bit width."""
    if layer.weight_bits not in served:
        near = min(served, key=lambda bits: abs(bits - layer.weight_bits))
        what = f"layer {layer.name!r}: no {layer.kind} kernel for {layer.weight_bits}-bit weights"
        raise UnsupportedError(what, f"nearest that works: {near} bits (known: {', '.join(map(str, served))})")


def pack_t2(rows: NDArray[Any]) -> NDArray[np.uint8]:
    """uint8 (rows, ceil(count / 4)): trits (rows, count) as two's complement pairs of bits, four a byte, the first in
    the low bits; every row starts on a byte, its tail is zero."""
    codes = (rows.astype(np.int8) & 3).astype(np.uint8)
    padded = np.pad(codes, ((0, 0), (0, -codes.shape[1] % 4))).reshape(len(codes), -1, 4)
    shifted = padded << np.arange(0, 8, 2, dtype=np.uint8)
    return np.asarray(np.bitwise_or.reduce(shifted, axis=2), dtype=np.uint8)


def unpack_t2(packed: NDArray[np.uint8], count: int) -> Int8Array:
    """int8 (rows, count): the inverse of pack_t2."""
    codes = (packed[..., None] >> np.arange(0, 8, 2, dtype=np.uint8)) & 3
    flat = codes.reshape(len(packed), -1)[:, :count].astype(np.int8)
    return np.asarray(flat - ((flat & 2) << 1), dtype=np.int8)
