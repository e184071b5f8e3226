"""Activation memory: where every tensor and every scratch buffer of a network lies in one arena."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pipeline.core.nouns import KernelCall, QModel

ALIGNMENT = 8
"""Bytes; every tensor, every scratch buffer and the arena itself start on a multiple."""


@dataclass(frozen=True)
class MemoryPlan:
    """Where everything lies in the arena."""

    tensor_offsets: tuple[int, ...]
    """First byte of every tensor, by its number."""
    scratch_offsets: tuple[int | None, ...]
    """First byte of every layer's scratch, by its number; None without one."""
    arena_bytes: int
    """Size of the arena."""


@dataclass(frozen=True)
class Buffer:
    """Bytes that are in use from step `first` to step `last`, both included. Step i executes layer i; the input is
    written before step 0 and the output is read after the last one."""

    size: int
    """Bytes."""
    first: int
    """Step that writes it first."""
    last: int
    """Step that reads it last."""

    def overlaps(self, other: Buffer) -> bool:
        return self.first <= other.last and other.first <= self.last


def plan(model: QModel, calls: Sequence[KernelCall | None]) -> MemoryPlan:
    """The smallest arena that a few greedy orders find; `calls` holds each layer's kernel (None: a renamed input).

    A layer's output shares its input's bytes when the kernel allows it and nothing reads that input later.
    """
    owner = _owners(model, calls)
    last_use = _last_uses(model)
    tensors = {t: _lifetime(model, t, owner, last_use) for t in sorted(set(owner))}
    scratch = {i: Buffer(c.scratch_bytes, i, i) for i, c in enumerate(calls) if c is not None and c.scratch_bytes}
    buffers = [*tensors.values(), *scratch.values()]
    placed = _best_placement(buffers)
    tensor_at = dict(zip(tensors, placed, strict=False))
    scratch_at = dict(zip(scratch, placed[len(tensors) :], strict=True))
    end = max(at + _aligned(b.size) for at, b in zip(placed, buffers, strict=True))
    return MemoryPlan(
        tuple(tensor_at[owner[t]] for t in range(len(owner))),
        tuple(scratch_at.get(i) for i in range(len(calls))),
        end,
    )


def activation_bytes(model: QModel, calls: Sequence[KernelCall | None]) -> int:
    """The arena if no kernel needed scratch."""
    return plan(model, [call and replace(call, scratch_bytes=0, trits=None) for call in calls]).arena_bytes


def _last_uses(model: QModel) -> list[int]:
    """Last step that reads tensor t; the model's output is read after the last layer."""
    uses = list(range(-1, len(model.layers)))
    for i, layer in enumerate(model.layers):
        for t in layer.inputs:
            uses[t] = i
    uses[-1] = len(model.layers)
    return uses


def _count(model: QModel) -> int:
    return len(model.layers) + 1


def _owners(model: QModel, calls: Sequence[KernelCall | None]) -> list[int]:
    """Tensor whose bytes tensor t lives in: itself, or the one it renames or overwrites."""
    last_use = _last_uses(model)
    owner = list(range(_count(model)))
    for i, (layer, call) in enumerate(zip(model.layers, calls, strict=True)):
        if call is None:
            owner[i + 1] = owner[layer.inputs[0]]
        elif call.in_place is not None:
            source = layer.inputs[call.in_place]
            sharers = [t for t in range(i + 1) if owner[t] == owner[source]]
            fits = layer.output.size_bytes <= model.tensor(owner[source]).size_bytes
            if fits and all(last_use[t] <= i for t in sharers):
                owner[i + 1] = owner[source]
    return owner


def _lifetime(model: QModel, tensor: int, owner: Sequence[int], last_use: Sequence[int]) -> Buffer:
    sharers = [t for t in range(len(owner)) if owner[t] == tensor]
    size = max(model.tensor(t).size_bytes for t in sharers)
    return Buffer(size, tensor - 1, max(last_use[t] for t in sharers))


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _best_placement(buffers: Sequence[Buffer]) -> list[int]:
    """Offsets of the order of placement that ends lowest."""
    orders: tuple[Callable[[Buffer], tuple[int, ...]], ...] = (
        lambda b: (-b.size, b.first),
        lambda b: (b.first, -b.size),
        lambda b: (-b.last, -b.size),
        lambda b: (-(b.last - b.first), -b.size),
        lambda b: (-b.size * (b.last - b.first + 1),),
    )
    placements = [_place(buffers, _ranked(buffers, order)) for order in orders]
    return min(placements, key=lambda at: max(o + _aligned(b.size) for o, b in zip(at, buffers, strict=True)))


def _ranked(buffers: Sequence[Buffer], order: Callable[[Buffer], tuple[int, ...]]) -> list[int]:
    return sorted(range(len(buffers)), key=lambda i: order(buffers[i]))


def _place(buffers: Sequence[Buffer], order: Sequence[int]) -> list[int]:
    """First-fit offsets, buffers taken in `order`."""
    offsets: dict[int, int] = {}
    for i in order:
        at = 0
        taken = sorted((offsets[j], _aligned(buffers[j].size)) for j in offsets if buffers[i].overlaps(buffers[j]))
        for start, size in taken:
            if at + buffers[i].size <= start:
                break
            at = max(at, start + size)
        offsets[i] = at
    return [offsets[i] for i in range(len(buffers))]
