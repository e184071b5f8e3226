"""What the vector kernels share: the layers they compute, and how they want their filters. C side:
firmware/nn/mve/nn_mve.h."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.codegen.kernels import _ternary
from pipeline.core.nouns import QLayer, TensorSpec
from pipeline.network import packing

LANES, ROWS = 16, 4
"""Weights a row; rows, or channels, at a time."""
UNIT_ROWS = {2: 4, 3: 8, 4: 4, 8: 4}
"""Rows of a unit of filter, by weight bits."""
DECODE_COST = {2: 4, 3: 4, 4: 4, 8: 0}
"""Instructions, roughly, of unpacking 16 weights, by weight bits."""


def objection(layer: QLayer, kind: str, spec: TensorSpec) -> str:
    """Why the vector kernel of `kind` does not compute the layer, "" when it does."""
    if layer.kind != kind:
        return f"it computes {kind} layers"
    if layer.weight_bits not in UNIT_ROWS:
        return f"it reads weights of {', '.join(map(str, UNIT_ROWS))} bits, not {layer.weight_bits}"
    return _ternary.sum_objection(layer, spec)


def start_cost(layer: QLayer) -> int:
    """Instructions, roughly, of unpacking all weights, as every call does."""
    assert layer.weights is not None
    return DECODE_COST[layer.weight_bits] * layer.weights.size // LANES


def decode(layer: QLayer) -> dict[str, str]:
    """The parameter that names the function which unpacks the weights; none for weights read as they are."""
    return {} if layer.weight_bits == 8 else {"decode": f"nn_mve_decode_{packing.SUFFIX[layer.weight_bits]}"}


def requantization(layer: QLayer) -> str:
    """Ending of the functions that requantize the layer: "_relu" where no output depends on how negative sums are
    rounded and every shift is to the right."""
    assert layer.shift is not None
    behind_relu = layer.params["activation"][0] >= layer.output.quantization.zero_point
    return "_relu" if behind_relu and (layer.shift <= 0).all() else ""


def filled(tables: Mapping[str, NDArray[Any]], multiple: int = ROWS) -> dict[str, NDArray[Any]]:
    """Tables with one entry a channel, filled up to a multiple of so many channels."""
    return {name: np.pad(table, (0, -len(table) % multiple)) for name, table in tables.items()}


def filters(channels: NDArray[Any], multiple: int = 1) -> NDArray[np.int64]:
    """int64 (rows, LANES): of filters (n, count), ROWS at a time, every LANES weights a row of each of them; missing
    filters and weights are 0. multiple: of rows that every ROWS filters have of each."""
    n, count = channels.shape
    padded = np.pad(channels, ((0, -n % ROWS), (0, -count % (multiple * LANES))))
    return padded.reshape(-1, ROWS, padded.shape[1] // LANES, LANES).transpose(0, 2, 1, 3).reshape(-1, LANES)


def unit_rows(count: int, bits: int) -> int:
    """So many rows, filled up to whole units."""
    return count + -count % UNIT_ROWS[bits]


def pack(rows: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """uint8 (vectors, LANES): rows (n, LANES) of weights of so many bits, filled up to whole units."""
    fields = np.pad(rows, ((0, unit_rows(len(rows), bits) - len(rows)), (0, 0))) & ((1 << bits) - 1)
    if bits != 3:
        together = fields.reshape(-1, 8 // bits, LANES)
        return np.asarray((together << bits * np.arange(8 // bits)[:, None]).sum(axis=1), np.uint8)
    units = fields.reshape(-1, 8, LANES)
    vectors = units[:, 0:6:2] | units[:, 1:6:2] << 3
    vectors[:, :2] |= units[:, 6:] >> 1 << 6
    vectors[:, 2] |= (units[:, 6] & 1) << 6 | (units[:, 7] & 1) << 7
    return np.asarray(vectors.reshape(-1, LANES), np.uint8)
