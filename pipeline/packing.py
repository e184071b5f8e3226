"""Signed integers of a few bits as bytes: weights, 2 bits for -1, 0 and 1, or 1.6, and the differences of a DELTA. The
C sides are firmware/nn/nn_decode.c, nn_trits.c and firmware/app/app.c."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UnsupportedError
from pipeline.types import Int8Array, QLayer

WIDTHS = (2, 3, 4, 8)
"""Weight bits that kernels read; 2 means ternary."""
SUFFIX = {2: "t2", 3: "s3", 4: "s4", 8: "s8"}
"""Ending of a kernel's name per weight width."""
BYTE_TRITS = 5
"""Base-3 digits a byte: 3^5 = 243."""
GROUP_BYTES, GROUP_WORDS = 16, 5
"""80 digits are 80 fields of 2 bits: what is expanded at a time."""
WORD_FIELDS = 16


def require_range(layer: QLayer) -> None:
    """UnsupportedError naming the layer and its first weight that its bit width does not hold: such a tensor never gets
    packed. The range is symmetric: ternary -1 to 1, else -(2^(bits-1) - 1) to 2^(bits-1) - 1."""
    assert layer.weights is not None
    if layer.weight_bits not in WIDTHS:
        near = min(WIDTHS, key=lambda bits: abs(bits - layer.weight_bits))
        what = f"layer {layer.name!r}: no {layer.kind} kernel for {layer.weight_bits}-bit weights"
        raise UnsupportedError(what, f"nearest that works: {near} bits (known: {', '.join(map(str, WIDTHS))})")
    limit = (1 << (layer.weight_bits - 1)) - 1
    wrong = np.flatnonzero(np.abs(layer.weights.astype(np.int16)) > limit)
    if wrong.size:
        at = int(wrong[0])
        kind = "ternary" if layer.weight_bits == 2 else f"{layer.weight_bits}-bit"
        raise UnsupportedError(
            f"layer {layer.name!r}: weight {at} is {layer.weights.flat[at]}, a {kind} weight is {-limit} to {limit}",
            "set the layer's weight bits to 8, or train it with the quantizer of its width",
        )


def pack(rows: NDArray[Any], bits: int) -> NDArray[Any]:
    """Rows (rows, count) of signed integers as the kernels read them: int8 as it is for 8 bits, else uint8 (rows,
    ceil(count * bits / 8)), two's complement fields from the low bits of the first byte on, tail zero."""
    if bits == 8:
        return rows.astype(np.int8)
    fields = (rows.astype(np.int64)[..., None] >> np.arange(bits)) & 1
    return np.packbits(fields.reshape(len(rows), -1).astype(np.uint8), axis=1, bitorder="little")


def unpack(packed: NDArray[Any], bits: int, count: int) -> Int8Array:
    """int8 (rows, count): the inverse of `pack`."""
    if bits == 8:
        return packed.astype(np.int8)
    stream = np.unpackbits(packed, axis=1, bitorder="little")[:, : count * bits]
    fields = stream.reshape(len(packed), count, bits).astype(np.int64)
    values = (fields << np.arange(bits)).sum(axis=2)
    return np.asarray(values - (fields[..., -1] << bits), dtype=np.int8)


def pack_trits(table: NDArray[Any]) -> tuple[NDArray[np.uint8], int] | None:
    """(trits, threes) of a table of 2-bit fields, uint8 or uint32: uint8 (groups * GROUP_BYTES,), and the low bits of
    those fields of a word in which digit 2 stands for 3. Layout: nn_expand_trits in firmware/nn/nn.h; the tail is zero.
    None where one and the same field of a word is 2 here and 3 there: such a table needs its 2 bits."""
    data = table.astype(table.dtype.newbyteorder("<")).tobytes()
    data += bytes(-len(data) % (4 * GROUP_WORDS))
    fields = (np.frombuffer(data, "<u4")[:, None] >> (2 * np.arange(WORD_FIELDS, dtype=np.uint32))) & 3
    twos, threes = (fields == 2).any(axis=0), (fields == 3).any(axis=0)
    if (twos & threes).any():
        return None
    digits = np.where(fields == 3, 2, fields).reshape(-1, BYTE_TRITS)
    trits = (digits * 3 ** np.arange(BYTE_TRITS)).sum(axis=1).astype(np.uint8)
    return trits, int((threes.astype(np.int64) << (2 * np.arange(WORD_FIELDS))).sum())


def unpack_trits(trits: NDArray[np.uint8], threes: int) -> NDArray[np.uint32]:
    """uint32 words, GROUP_WORDS for GROUP_BYTES bytes: the inverse of `pack_trits`."""
    digits = trits[:, None] // 3 ** np.arange(BYTE_TRITS) % 3
    fields = digits.reshape(-1, WORD_FIELDS)
    fields = fields + ((fields == 2) & (threes >> (2 * np.arange(WORD_FIELDS)) & 1))
    return np.asarray((fields << (2 * np.arange(WORD_FIELDS))).sum(axis=1), np.uint32)
