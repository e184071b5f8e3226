"""Ternary convolution for 32-bit cores without SIMD instructions: firmware/nn/swar/nn_conv2d_t2_swar.c."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.codegen.kernels import _ternary
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls, packing

MACS_PER_INSTRUCTION = 4
PIXELS, GROUP, GROUPS, BLOCK = 8, 3, 6, 64
"""As in the C file: pixels at a time, weights an index, indices a word, channels at a time."""
CHUNK = GROUP * GROUPS
FLUSH = 255 // CHUNK
SUMS_BYTES = 2 * PIXELS
INPUT_BYTES = 2560
"""All kernel rows are gathered at once when their inputs for PIXELS pixels take no more: fewer half-empty words."""


def serves(layer: QLayer, specs: Sequence[TensorSpec]) -> str:
    return _ternary.objection(layer, "conv2d", specs[0])


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    assert layer.weights is not None
    packing.require_range(layer)
    oc, kh, kw, ic = layer.weights.shape
    together = rows_together(kh, kw, ic)
    return KernelCall(
        function="nn_conv2d_t2_swar",
        args=calls.weighted_args(
            calls.params(
                "nn_swar_conv_params",
                conv=calls.conv_fields(layer, specs[0]),
                rows=together,
            ),
            layer,
            specs[0],
            calls.dims(oc, kh, kw, ic),
        ),
        tables={"filter": pack(_ternary.rows(layer), kh // together), **_ternary.requant_tables(layer, specs[0])},
        scratch_bytes=scratch_bytes(oc, kh, kw, ic),
        start_cost=PIXELS * layer.weights.size,  # of a block that is not whole
    )


def rows_together(kh: int, kw: int, ic: int) -> int:
    """Kernel rows gathered at once: all or one."""
    return kh if PIXELS * kh * kw * ic <= INPUT_BYTES else 1


def pack(rows: NDArray[np.int64], passes: int) -> NDArray[np.uint32]:
    """uint32 words of ternary rows (channels, weights), gathered in `passes` equal parts; layout: the C file."""
    channels, count = rows.shape
    parts = rows.reshape(channels, passes, count // passes)
    padded = np.pad(parts, ((0, 0), (0, 0), (0, -parts.shape[2] % CHUNK)))
    triples = padded.reshape(channels, -1, GROUPS, GROUP) + 1
    indices = triples @ (3 ** np.arange(GROUP))
    words = (indices << (5 * np.arange(GROUPS))).sum(axis=2).astype(np.uint32)
    return np.concatenate([words[first : first + BLOCK].T.ravel() for first in range(0, channels, BLOCK)])


def scratch_bytes(oc: int, kh: int, kw: int, ic: int) -> int:
    """Bytes of the C file's workspace."""
    together, channels = rows_together(kh, kw, ic), min(oc, BLOCK)
    terms = together * kw * ic
    chunks = kh // together * -(-terms // CHUNK)
    wide = 4 * PIXELS * channels if chunks > FLUSH else 0
    table = SUMS_BYTES * int(3**GROUP) * GROUPS
    return table + SUMS_BYTES * channels + wide + PIXELS * -(-terms // GROUP) * GROUP
