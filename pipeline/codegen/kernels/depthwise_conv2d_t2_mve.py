"""Ternary depthwise convolution for the M-profile vector extension: nn_depthwise_conv2d_t2_mve.c."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.codegen.kernels import _mve, _ternary
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls, packing

MAX_TAPS = 255
"""Inputs that a lane of 16 bits surely sums."""
POINTER_BYTES = 4


def serves(layer: QLayer, specs: Sequence[TensorSpec]) -> str:
    reason = _ternary.objection(layer, "depthwise_conv2d", specs[0])
    return reason or _ternary.depthwise_objection(layer, specs[0], MAX_TAPS)


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    assert layer.weights is not None
    packing.require_range(layer)
    kh, kw, oc = layer.weights.shape
    filter_ = pack(layer.weights)
    return KernelCall(
        function="nn_depthwise_conv2d_t2_mve",
        args=calls.weighted_args(
            calls.params("nn_dw_conv_params", **calls.conv_fields(layer, specs[0], ch_mult=1)),
            layer,
            specs[0],
            calls.dims(1, kh, kw, oc),
        ),
        tables={"filter": filter_, **_mve.filled(_ternary.requant_tables(layer, specs[0]))},
        scratch_bytes=POINTER_BYTES * kh * kw + 4 * filter_.size + -(-oc // _mve.LANES) * _mve.LANES,
        start_cost=_mve.start_cost(layer),
    )


def pack(weights: NDArray[Any]) -> NDArray[np.uint8]:
    """Vectors of filter of ternary weights (kh, kw, channels)."""
    taps = weights.reshape(-1, weights.shape[2])
    run = np.pad(taps, ((0, 0), (0, -taps.shape[1] % _mve.LANES))).reshape(-1, _mve.LANES)
    return _mve.pack(run)
