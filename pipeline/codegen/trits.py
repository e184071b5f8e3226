"""Ternary tables at five trits a byte, 1.6 bits a weight. The C side is nn_expand_trits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BYTE_TRITS = 5
"""Base-3 digits a byte: 3^5 = 243."""


GROUP_BYTES, GROUP_WORDS = 16, 5
"""80 digits are 80 fields of 2 bits: what is expanded at a time."""


WORD_FIELDS = 16


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
