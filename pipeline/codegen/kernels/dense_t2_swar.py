"""Ternary dense layer for 32-bit cores without SIMD instructions: firmware/nn/swar/nn_dense_t2_swar.c."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.codegen.kernels import _ternary
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls, packing

MACS_PER_INSTRUCTION = 2
PAIRS, STEP, SLOTS = 3, 8, 8
"""As in the C file: output pairs a block, inputs a step, slots a word."""
CHUNK = 255 // STEP * STEP


def serves(layer: QLayer, specs: Sequence[TensorSpec]) -> str:
    return _ternary.objection(layer, "dense", specs[0])


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    assert layer.weights is not None
    packing.require_range(layer)
    features = layer.weights.shape[1]
    return KernelCall(
        function="nn_dense_t2_swar",
        args=calls.fc_args(layer, specs[0]),
        tables={"filter": pack(_ternary.rows(layer)), **_ternary.requant_tables(layer, specs[0])},
        scratch_bytes=4 * -(-features // CHUNK),
    )


def pack(rows: NDArray[np.int64]) -> NDArray[np.uint32]:
    """uint32 words of ternary rows (outputs, features); layout: the C file."""
    outputs, features = rows.shape
    # chunks start on a step of their own, so the steps of all chunks are those of the whole row
    codes = np.pad(rows + 1, ((0, -outputs % (2 * PAIRS)), (0, -features % STEP)))
    blocks = codes.reshape(-1, PAIRS, 2, codes.shape[1] // STEP, STEP)
    slots = blocks.transpose(0, 3, 4, 1, 2).reshape(-1, SLOTS, 2)
    shifts = 2 * np.arange(SLOTS)[:, None] + np.array([0, 16])
    return np.asarray((slots << shifts).sum(axis=(1, 2)), np.uint32)
