"""The one place that chooses the C kernel of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from pipeline import registry
from pipeline.board import Board
from pipeline.types import KernelCall, QLayer, TensorSpec

Kernels = Literal["auto", "reference"]


def kernel(layer: QLayer, specs: Sequence[TensorSpec], board: Board, kernels: Kernels = "auto") -> KernelCall | None:
    """The kernel call of a layer on a board: "auto" the fastest family that serves it, "reference" the portable one.

    None when the layer only renames its input. UnsupportedError when no kernel computes it.
    """
    call: KernelCall | None = registry.load("layers", layer.kind).kernel(layer, specs)
    return _with_weight_buffer(call) if call and board.is_avr else call


def _with_weight_buffer(call: KernelCall) -> KernelCall:
    """The call with scratch for what nn_loadable (nn_flash.h) copies on AVR: one filter, h * w * c bytes."""
    if call.scratch_bytes or "filter" not in call.tables:
        return call
    _, filter_dims, *_ = (arg.fields for arg in call.args if arg.kind == "dims")
    return replace(call, scratch_bytes=filter_dims["h"] * filter_dims["w"] * filter_dims["c"])
