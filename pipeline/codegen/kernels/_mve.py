"""How the vector kernels want their filters. C side: firmware/nn/mve/nn_mve.h."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import QLayer

LANES, ROWS = 16, 4
"""Weights a row, rows a vector of filter."""


def start_cost(layer: QLayer) -> int:
    """Instructions, roughly, of unpacking all weights, as every call does: a vector of filter in 16."""
    assert layer.weights is not None
    return layer.weights.size // 4


def filled(tables: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Tables with one entry a channel, filled up to a multiple of ROWS channels."""
    return {name: np.pad(table, (0, -len(table) % ROWS)) for name, table in tables.items()}


def pack(rows: NDArray[Any]) -> NDArray[np.uint8]:
    """uint8 (row groups, steps, LANES): ternary rows (n, count) as vectors of filter, ROWS rows and LANES weights each;
    missing rows and weights are 0."""
    n, count = rows.shape
    padded = np.pad(rows, ((0, -n % ROWS), (0, -count % LANES)))
    vectors = padded.reshape(-1, ROWS, padded.shape[1] // LANES, LANES).transpose(0, 2, 1, 3)
    fields = (vectors & 3) << (2 * np.arange(ROWS))[:, None]
    return np.asarray(fields.sum(axis=2), np.uint8)
