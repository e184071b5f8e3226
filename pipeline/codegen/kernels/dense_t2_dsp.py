"""Ternary dense layer for cores with the DSP extension: firmware/nn/dsp/nn_dense_t2_dsp.c."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.codegen.kernels import _dsp, _ternary
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls, packing

MACS_PER_INSTRUCTION = 4
STEP, BLOCK = 8, 8
"""As in the C file: inputs a turn of the loop, outputs a block."""
LONGEST = _dsp.MAX_INPUTS // STEP * STEP


def serves(layer: QLayer, specs: Sequence[TensorSpec]) -> str:
    return _dsp.objection(layer, "dense", specs[0])


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    assert layer.weights is not None and layer.shift is not None
    packing.require_range(layer)
    outputs, features = layer.weights.shape
    rows = _ternary.rows(layer)
    length = interval(rows)
    filled = features + -features % STEP
    return KernelCall(
        function="nn_dense_t2_dsp",
        args=_dsp.args(
            calls.params(
                "nn_dsp_fc_params",
                fc=calls.fc_fields(layer, specs[0]),
                interval=length,
                write="nn_dsp_dense_right" if layer.shift.max() < 0 else "nn_dsp_dense_any",
            ),
            layer,
            specs[0],
            calls.dims(outputs, 1, 1, features),
        ),
        tables={"filter": pack(rows), "requant": _dsp.quant(layer, specs[0], (0, 1, 2, 3))},
        scratch_bytes=2 * filled + 2 * (-(-features // length) + 1),
    )


def interval(rows: NDArray[np.int64]) -> int:
    """Inputs of the longest intervals, a multiple of STEP, after which no field of rows (outputs, features) has
    overflown; some always is: a field holds 63 inputs."""
    features = rows.shape[1]
    lengths = range(min(LONGEST, features + -features % STEP), 0, -STEP)
    return next(n for n in lengths if all(_dsp.fits(rows[:, i : i + n]) for i in range(0, features, n)))


def pack(rows: NDArray[np.int64]) -> NDArray[np.uint32]:
    """uint32 words of ternary rows (outputs, features); layout: the C file."""
    blocks = _dsp.pack(_dsp.expanded(rows))
    blocks = np.pad(blocks, ((0, 0), (0, blocks.shape[1] % 2)))
    pairs = [blocks[i : i + BLOCK // _dsp.CHANNELS] for i in range(0, len(blocks), BLOCK // _dsp.CHANNELS)]
    return np.concatenate([pair.T.ravel() for pair in pairs])
