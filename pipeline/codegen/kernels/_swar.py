"""What the kernels for cores without SIMD instructions share that read weights of 8, 4 or 3 bits: which layers they
compute, the packing of their weights and the memory of their windows. C side: firmware/nn/swar/nn_swar_signed.h."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.codegen.kernels import _signed, _ternary
from pipeline.core.nouns import QLayer, TensorSpec

BYTE_OFFSET, WORD_BYTES = 128, 4
"""Of the codes of inputs and of weights of 8 bits; bytes of where a sum starts."""
SLOTS = {8: 8, 4: 8, 3: 16}
"""Weights of a step, or pairs of weights of less than 8 bits, by weight bits: as in nn_swar.h."""
MOST_SUM = ((1 << 15) - 1) // 255
"""Of the positive weights of a chunk, or of the negative ones, so that products with codes up to 255 fit 16 bits."""

Integers = NDArray[np.int64]


def objection(layer: QLayer, kind: str, spec: TensorSpec) -> str:
    """Why the kernel of `kind` does not compute the layer, "" when it does."""
    return _signed.width_objection(layer, kind) or _ternary.sum_objection(layer, spec)


def requant_tables(layer: QLayer, spec: TensorSpec) -> Mapping[str, NDArray[Any]]:
    """As `_ternary.requant_tables`, the bias for sums of inputs that are codes x + 128."""
    tables = _ternary.requant_tables(layer, spec)
    sums = _ternary.rows(layer).sum(axis=1)
    return {**tables, "bias": (tables["bias"] - BYTE_OFFSET * sums).astype(np.int32)}


@dataclass(frozen=True)
class Windows:
    """How the weights of a layer are multiplied with its windows."""

    filter: NDArray[Any]
    """The filter."""
    depth: int
    """Inputs of a window, filled up to whole steps."""
    chunk: int
    """Inputs whose sums surely fit their fields."""

    @property
    def params(self) -> dict[str, int]:
        """The fields of the C structs."""
        return {"depth": self.depth, "chunk": self.chunk}

    def scratch_bytes(self, pixels: int) -> int:
        """Bytes of so many windows and of where the sums of their chunks start."""
        return pixels * (self.depth + WORD_BYTES * -(-self.depth // self.chunk))


def windows(layer: QLayer, channels: int) -> Windows:
    """The layer's weights, so many channels a block."""
    bits, rows = layer.weight_bits, _ternary.rows(layer)
    step = SLOTS[bits] // (channels if bits == 8 else channels // 2)
    filters = np.pad(rows, ((0, -len(rows) % channels), (0, -rows.shape[1] % step)))
    depth = filters.shape[1]
    return Windows(_pack(filters, bits, channels), depth, depth if bits == 8 else chunk(filters, step))


def chunk(filters: Integers, step: int) -> int:
    """Inputs of a chunk: the most whole steps after which no field of 16 bits can overflow, whatever the inputs, codes
    of 0 to 255, by the weights (channels, depth)."""
    depth = filters.shape[1]
    whole = int(np.abs(filters).sum(axis=1).max()) // (2 * MOST_SUM)  # so many chunks are full, and there is one more
    most = depth // whole if whole else depth
    return next(n for n in range(most // step * step, 0, -step) if n == step or _fits(filters, n))


def _fits(filters: Integers, count: int) -> bool:
    chunks = np.pad(filters, ((0, 0), (0, -filters.shape[1] % count))).reshape(-1, count)
    return all(np.maximum(part, 0).sum(axis=1).max() <= MOST_SUM for part in (chunks, -chunks))


def _pack(filters: Integers, bits: int, channels: int) -> NDArray[Any]:
    """For every block of channels, for every input, a code of each channel, or those of each pair of channels."""
    blocks = filters.reshape(-1, channels, filters.shape[1]).transpose(0, 2, 1)
    if bits == 8:
        return np.asarray(blocks + BYTE_OFFSET, np.uint8).ravel().view("<u4").astype(np.uint32)
    return _signed.pack(blocks.reshape(-1, 2), bits)
