"""The one place that chooses the C kernel of a layer."""

from __future__ import annotations

from collections.abc import Sequence
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
    return call
