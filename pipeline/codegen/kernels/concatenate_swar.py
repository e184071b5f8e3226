"""Concatenation by tables, for 32-bit cores: firmware/nn/swar/nn_concatenate_swar.c."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeline.core import registry
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls

TABLE_BYTES = 256
"""Of each input."""
ENTRY_COST = 20
"""Instructions, roughly, of an entry of a table."""
FEWEST = 4 * TABLE_BYTES
"""Elements that are worth two tables."""


def serves(layer: QLayer, specs: Sequence[TensorSpec]) -> str:
    if layer.kind != "concatenate":
        return "it computes concatenate layers"
    size = layer.output.size_bytes
    return "" if size >= FEWEST else f"its tables pay from {FEWEST} elements on, not at {size}"


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    reference: KernelCall = registry.load("layers", layer.kind).kernel(layer, specs)
    return replace(
        reference,
        function="nn_concatenate_swar",
        args=(calls.CTX, *reference.args),
        scratch_bytes=2 * TABLE_BYTES,
        start_cost=2 * TABLE_BYTES * ENTRY_COST,
    )
