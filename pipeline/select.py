"""The one place that chooses the C kernel of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from pipeline import registry
from pipeline.board import Board
from pipeline.types import KernelCall, QLayer, TensorSpec

Kernels = Literal["auto", "reference"]
FAMILIES = ("mve", "dsp", "swar")
"""Core families of optimised kernels, the fastest first: the ending of a module's name in pipeline/kernels."""


def kernel(layer: QLayer, specs: Sequence[TensorSpec], board: Board, kernels: Kernels = "auto") -> KernelCall | None:
    """The kernel call of a layer on a board: "auto" the fastest family that serves it, "reference" the portable one.

    None when the layer only renames its input. UnsupportedError when no kernel computes it.
    """
    call: KernelCall | None = registry.load("layers", layer.kind).kernel(layer, specs)
    if call is None or board.is_host:
        return call
    if board.is_avr:
        return _with_weight_buffer(call)
    return (_optimised(layer, specs, board.core) if kernels == "auto" else None) or call


def _optimised(layer: QLayer, specs: Sequence[TensorSpec], core: str) -> KernelCall | None:
    """The call of the fastest family that serves the layer on the core, None when none does."""
    for name in sorted(registry.names("kernels"), key=_rank):
        family = registry.load("kernels", name)
        if not family.serves(layer, specs, core):
            call: KernelCall = family.call(layer, specs)
            return call
    return None


def _rank(module: str) -> int:
    return FAMILIES.index(module.rpartition("_")[2])


def _with_weight_buffer(call: KernelCall) -> KernelCall:
    """The call with scratch for what nn_loadable (nn_flash.h) copies on AVR: one filter, h * w * c bytes."""
    if call.scratch_bytes or "filter" not in call.tables:
        return call
    _, filter_dims, *_ = (arg.fields for arg in call.args if arg.kind == "dims")
    return replace(call, scratch_bytes=filter_dims["h"] * filter_dims["w"] * filter_dims["c"])
