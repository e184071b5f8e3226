"""Calls of CMSIS-NN, of which each kernel of firmware/nn/cmsis passes one on: its structs, its order of packed weights,
and the most scratch that its published `_get_buffer_size` functions ask for.

Unlike the other families' modules these also take the core: what CMSIS-NN needs depends on it. The family is chosen by
--kernels cmsis-nn alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.cores import has_vectors
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls, packing

WIDTHS = (8, 4)
"""Weight bits that CMSIS-NN reads."""
LANES = 16
"""Bytes of a vector."""
VECTOR_CHANNELS = 124
"""Of a depthwise convolution that are computed at a time where there are vectors; CMSIS-NN's CH_IN_BLOCK_MVE."""


def objection(layer: QLayer, kind: str) -> str:
    """Why the kernel of `kind` does not compute the layer, "" when it does."""
    if layer.kind != kind:
        return f"it computes {kind} layers"
    return "" if layer.weight_bits in WIDTHS else f"it reads weights of 8 or 4 bits, not {layer.weight_bits}"


def convolution(layer: QLayer, spec: TensorSpec, filter_shape: Sequence[int], library: str, scratch: int,
                **ch_mult: int) -> KernelCall:  # fmt: skip
    """The call of either convolution. filter_shape: (n, h, w, c); library: the beginning of its names in CMSIS-NN."""
    function = f"{library}_s{layer.weight_bits}"
    fields = calls.conv_fields(layer, spec, **ch_mult)
    limits = fields.pop("activation")
    ctype = "nn_cmsis_dw_conv_params" if ch_mult else "nn_cmsis_conv_params"
    params = calls.params(
        ctype,
        run=function,
        scratch=f"{function}_get_buffer_size",
        conv={**fields, "dilation": calls.tile((1, 1)), "activation": limits},
        input=dims(spec.shape),
        filter=dict(zip("nhwc", filter_shape, strict=True)),
        bias=dims((layer.output.shape[-1],)),
        output=dims(layer.output.shape),
    )
    return KernelCall(
        function=f"nn_{layer.kind}_s_cmsis",
        args=(calls.CTX, params, calls.input_arg(), *map(calls.table, TABLES), calls.OUTPUT),
        tables=tables(layer),
        scratch_bytes=scratch,
    )


TABLES = ("filter", "bias", "multiplier", "shift")
"""What a weighted layer's kernel reads, in the order of its arguments."""


def tables(layer: QLayer) -> dict[str, NDArray[Any]]:
    """TABLES: weights, and 12 bytes a channel."""
    requant = calls.requant_tables(layer)
    return {"filter": pack(layer), **requant, "shift": requant["shift"].astype(np.int32)}


def pack(layer: QLayer) -> NDArray[Any]:
    """int8 weights in the order of QLayer, one a byte or, of 4 bits, two, the first in the low half."""
    assert layer.weights is not None
    packing.require_range(layer)
    return np.asarray(packing.pack(layer.weights.reshape(1, -1), layer.weight_bits).view(np.int8).ravel())


def dims(shape: Sequence[int]) -> Mapping[str, int]:
    """cmsis_nn_dims of an activation."""
    return calls.map_dims(tuple(shape)).fields


def window_bytes(inputs: int, core: str) -> int:
    """Scratch of a convolution whose windows have so many inputs: two of 16 bits, or four of whole vectors."""
    if has_vectors(core):
        return 4 * LANES * -(-inputs // LANES)
    return 4 * 4 * -(-inputs // 4)
