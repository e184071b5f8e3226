"""Signed integers of a few bits as bytes: weights, 2 bits for -1, 0 and 1, or 1.6, and the differences of a DELTA. The
C sides are firmware/nn/reference/nn_decode.c, nn_expand_trits.c and firmware/app/app.c."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import UnsupportedError
from pipeline.core.nouns import QLayer

WIDTHS = (2, 3, 4, 8)
"""Weight bits that kernels read; 2 means ternary."""
SUFFIX = {2: "t2", 3: "s3", 4: "s4", 8: "s8"}
"""Ending of a kernel's name per weight width."""


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


DECODE_COST = 12
"""Instructions, roughly, of decoding a weight."""


def start_cost(layer: QLayer) -> int:
    """Instructions, roughly, of decoding all weights of a layer, as reference kernels do in every call."""
    assert layer.weights is not None
    return 0 if layer.weight_bits == 8 else DECODE_COST * layer.weights.size


def pack(rows: NDArray[Any], bits: int) -> NDArray[Any]:
    """Rows (rows, count) of signed integers as the kernels read them: int8 as it is for 8 bits, else uint8 (rows,
    ceil(count * bits / 8)), two's complement fields from the low bits of the first byte on, tail zero."""
    if bits == 8:
        return rows.astype(np.int8)
    fields = (rows.astype(np.int64)[..., None] >> np.arange(bits)) & 1
    return np.packbits(fields.reshape(len(rows), -1).astype(np.uint8), axis=1, bitorder="little")
