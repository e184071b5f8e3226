"""The inverses of packing: what the packed tables hold, for tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.codegen.trits import BYTE_TRITS, WORD_FIELDS
from pipeline.core.nouns import Int8Array


def unpack(packed: NDArray[Any], bits: int, count: int) -> Int8Array:
    """int8 (rows, count): the inverse of `pack`."""
    if bits == 8:
        return packed.astype(np.int8)
    stream = np.unpackbits(packed, axis=1, bitorder="little")[:, : count * bits]
    fields = stream.reshape(len(packed), count, bits).astype(np.int64)
    values = (fields << np.arange(bits)).sum(axis=2)
    return np.asarray(values - (fields[..., -1] << bits), dtype=np.int8)


def unpack_trits(trits: NDArray[np.uint8], threes: int) -> NDArray[np.uint32]:
    """uint32 words, GROUP_WORDS for GROUP_BYTES bytes: the inverse of `pack_trits`."""
    digits = trits[:, None] // 3 ** np.arange(BYTE_TRITS) % 3
    fields = digits.reshape(-1, WORD_FIELDS)
    fields = fields + ((fields == 2) & (threes >> (2 * np.arange(WORD_FIELDS)) & 1))
    return np.asarray((fields << (2 * np.arange(WORD_FIELDS))).sum(axis=1), np.uint32)
