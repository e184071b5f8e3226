"""Activation memory: the place of every tensor and every scratch buffer of a network in one arena."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.codegen import cascade
from pipeline.codegen.cascade import Cascade
from pipeline.core.nouns import KernelCall, QModel

MOVED = 40
"""Buffers, the largest, whose place in an order is tried again."""
ALIGNMENT = 8
"""Bytes; every tensor, every scratch buffer and the arena itself start on a multiple."""


@dataclass(frozen=True)
class MemoryPlan:
    """Where everything is in the arena."""

    tensor_offsets: tuple[int, ...]
    """First byte of every tensor, by its number; of one inside a cascade, of its window."""
    scratch_offsets: tuple[int | None, ...]
    """First byte of every layer's scratch, by its number; None without one."""
    arena_bytes: int
    """Size of the arena."""
    cascades: tuple[Cascade, ...] = ()
    """Layers that are computed together, in order."""


@dataclass(frozen=True)
class Buffer:
    """Bytes that are in use from step `first` to step `last`, both included. Step i executes layer i; the input is
    written before step 0 and the output is read after the last one. A cascade repeats its steps stripe by stripe."""

    size: int
    """Bytes."""
    first: int
    """Step that writes it first."""
    last: int
    """Step that reads it last."""

    def overlaps(self, other: Buffer) -> bool:
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Overlap:
    """How a cascade's output may lie over an input that it reads for the last time."""

    lead: int
    """The output begins so many bytes before the input, or more."""
    in_place: bool
    """Whether it may also begin exactly where the input does."""

    def allows(self, before: int) -> bool:
        """Whether the output may begin so many bytes before the input."""
        return before >= self.lead or (self.in_place and before == 0)


@dataclass(frozen=True)
class Buffers:
    """All that has to find a place in the arena."""

    tensors: Mapping[int, Buffer]
    """By the number of the tensor that owns the bytes."""
    scratch: Mapping[int, Buffer]
    """By the number of the layer."""
    overlaps: Mapping[tuple[int, int], Overlap] = field(default_factory=dict)
    """By the owners of a cascade's input and output."""


def plan(model: QModel, calls: Sequence[KernelCall | None], cascades: Sequence[Cascade] = ()) -> MemoryPlan:
    """The smallest arena that a few greedy orders find; `calls` holds each layer's kernel (None: a renamed input).

    A layer's output shares its input's bytes when the kernel allows it and nothing reads that input later.
    """
    owner = _owners(model, calls, cascades)
    found = _buffers(model, calls, cascades, owner)
    buffers = [*found.tensors.values(), *found.scratch.values()]
    place = {t: i for i, t in enumerate(found.tensors)}
    pairs = {(place[t], place[u]): overlap for (t, u), overlap in found.overlaps.items()}
    placed = _best_placement(buffers, pairs)
    scratch_at = dict(zip(found.scratch, placed[len(place) :], strict=True))
    return MemoryPlan(
        tuple(placed[place[owner[t]]] for t in range(len(owner))),
        tuple(scratch_at.get(i) for i in range(len(calls))),
        _end(buffers, placed),
        tuple(cascades),
    )


def activation_bytes(model: QModel, memory: MemoryPlan, calls: Sequence[KernelCall | None]) -> int:
    """The arena if no kernel needed scratch, computed as planned."""
    bare = [call and replace(call, scratch_bytes=0, trits=None) for call in calls]
    return plan(model, bare, [_without_scratch(c) for c in memory.cascades]).arena_bytes


def contents(model: QModel, calls: Sequence[KernelCall | None], memory: MemoryPlan) -> dict[str, int]:
    """Bytes of the arena by what is in it when it is fullest; they add up to its size."""
    owner = _owners(model, calls, memory.cascades)
    found = _buffers(model, calls, memory.cascades, owner)
    placed: list[tuple[int, Buffer, int | None]] = [(memory.tensor_offsets[t], b, t) for t, b in found.tensors.items()]
    placed += [(memory.scratch_offsets[i] or 0, b, None) for i, b in found.scratch.items()]

    def in_use(step: int) -> list[tuple[int, Buffer, int | None]]:
        return sorted(
            (place for place in placed if place[1].first <= step <= place[1].last), key=lambda place: place[0]
        )

    fullest = max(range(len(model.layers)), key=lambda step: sum(b.size for _, b, _ in in_use(step)))
    parts, at = {"unused": 0}, 0
    for offset, buffer, tensor in in_use(fullest):
        end = offset + buffer.size
        parts["unused"] += max(0, offset - at)
        if end > at:
            parts[_name(model, owner, memory, tensor, fullest)] = end - max(at, offset)
        at = max(at, end)
    parts["unused"] += memory.arena_bytes - at
    return {name: size for name, size in parts.items() if size}


def _name(model: QModel, owner: Sequence[int], memory: MemoryPlan, tensor: int | None, step: int) -> str:
    """Name of what is in a buffer at a step: a scratch buffer, or what a tensor owns."""
    if tensor is None:
        return f"scratch of {model.layers[step].name}"
    held = max(t for t, other in enumerate(owner) if other == tensor and (t <= step + 1 or t == tensor))
    if held == 0:
        return "input"
    what = "rows" if any(held in c.inner for c in memory.cascades) else "output"
    return f"{what} of {model.layers[held - 1].name}"


def _without_scratch(c: Cascade) -> Cascade:
    def bare(work: cascade.Work) -> cascade.Work:
        return replace(work, call=work.call and replace(work.call, scratch_bytes=0))

    return replace(c, stripes=tuple(replace(s, works=tuple(map(bare, s.works))) for s in c.stripes))


def last_uses(model: QModel) -> list[int]:
    """Last step that reads tensor t; the model's output is read after the last layer."""
    uses = list(range(-1, len(model.layers)))
    for i, layer in enumerate(model.layers):
        for t in layer.inputs:
            uses[t] = i
    uses[-1] = len(model.layers)
    return uses


def scratch_bytes(call: KernelCall | None, index: int, c: Cascade | None) -> int:
    """Scratch of a layer; inside a cascade, of its largest call."""
    parts = [work.call.scratch_bytes for work in c.works(index) if work.call is not None] if c else []
    return max(parts) if parts else call.scratch_bytes if call else 0


def _owners(model: QModel, calls: Sequence[KernelCall | None], cascades: Sequence[Cascade]) -> list[int]:
    """Tensor whose bytes tensor t lives in: itself, or the one it renames or overwrites."""
    last_use = last_uses(model)
    within = {i: c for c in cascades for i in c.layers}
    owner = list(range(len(model.layers) + 1))
    for i, (layer, call) in enumerate(zip(model.layers, calls, strict=True)):
        if call is None:
            owner[i + 1] = owner[layer.inputs[0]]
        elif i in within:
            if cascade.overwrites_inner(model, within[i], i, call):
                owner[i + 1] = owner[layer.inputs[call.in_place or 0]]
        elif call.in_place is not None:
            source = layer.inputs[call.in_place]
            sharers = [t for t in range(i + 1) if owner[t] == owner[source]]
            fits = layer.output.size_bytes <= model.tensor(owner[source]).size_bytes
            if fits and all(last_use[t] <= i for t in sharers):
                owner[i + 1] = owner[source]
    return owner


def _buffers(
    model: QModel, calls: Sequence[KernelCall | None], cascades: Sequence[Cascade], owner: Sequence[int]
) -> Buffers:
    within = {i: c for c in cascades for i in c.layers}
    parts = [_tensor(model, t, within) for t in range(len(owner))]
    tensors: dict[int, Buffer] = {}
    for t, part in enumerate(parts):
        old = tensors.get(owner[t], part)
        tensors[owner[t]] = Buffer(max(old.size, part.size), min(old.first, part.first), max(old.last, part.last))
    scratch = {i: Buffer(size, i, i) for i, call in enumerate(calls) if (size := scratch_bytes(call, i, within.get(i)))}
    overlaps = {
        (owner[t], owner[c.output]): Overlap(
            max(0, aligned(cascade.lead(model, c, t))), cascade.is_in_place(model, c, t, calls[c.last])
        )
        for c in cascades
        for t in c.inputs
        if tensors[owner[t]].last == c.last and tensors[owner[c.output]].first == c.first
    }
    return Buffers(tensors, scratch, overlaps)


def _tensor(model: QModel, t: int, within: Mapping[int, Cascade]) -> Buffer:
    """The bytes of a tensor by itself; of one inside a cascade, of its window."""
    size, first, last = model.tensor(t).size_bytes, t - 1, last_uses(model)[t]
    writer, reader = within.get(t - 1), within.get(last)
    if writer is not None and t in writer.inner:
        kept = any(writer.kept(t))
        return Buffer(cascade.window_bytes(model, writer, t), *((writer.first, writer.last) if kept else (first, last)))
    return Buffer(size, writer.first if writer else first, reader.last if reader else last)


def aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


Pairs = Mapping[tuple[int, int], Overlap]
"""Buffers, by the number of a cascade's input and of its output, that may overlap."""


def _best_placement(buffers: Sequence[Buffer], pairs: Pairs) -> list[int]:
    """Offsets of the order of placement that ends lowest."""
    orders: tuple[Callable[[Buffer], tuple[int, ...]], ...] = (
        lambda b: (-b.size, b.first),
        lambda b: (b.first, -b.size),
        lambda b: (-b.last, -b.size),
        lambda b: (-(b.last - b.first), -b.size),
        lambda b: (-b.size * (b.last - b.first + 1),),
    )
    ranked = [sorted(range(len(buffers)), key=lambda i, order=order: order(buffers[i])) for order in orders]  # type: ignore[misc]
    ranked.sort(key=lambda order: _end(buffers, _place(buffers, pairs, order)))
    best, least = _place(buffers, pairs, ranked[0]), _least(buffers, pairs)
    for order in ranked if pairs else ():
        if _end(buffers, best) > least:
            best = min(best, _improved(buffers, pairs, order), key=lambda at: _end(buffers, at))
    return best


def _least(buffers: Sequence[Buffer], pairs: Pairs) -> int:
    """Bytes that no arena is smaller than: what is in use at once."""
    steps = range(max(b.last for b in buffers) + 1)
    return max(
        sum(aligned(b.size) for b in buffers if b.first <= step <= b.last)
        - sum(
            _common(buffers[i], buffers[j], overlap)
            for (i, j), overlap in pairs.items()
            if buffers[j].first <= step <= buffers[i].last
        )
        for step in steps
    )


def _common(source: Buffer, output: Buffer, overlap: Overlap) -> int:
    """Bytes, most, that an input and the output over it share."""
    lead = 0 if overlap.in_place else overlap.lead
    taken, written = aligned(source.size), aligned(output.size)
    return taken + written - max(taken + lead, written)


def _improved(buffers: Sequence[Buffer], pairs: Pairs, order: Sequence[int]) -> list[int]:
    """Offsets of an order in which one large buffer after another goes first as long as that helps. First fit alone
    puts a cascade's input where its output cannot begin before it."""
    movable = sorted(order, key=lambda i: -buffers[i].size)[:MOVED]
    at = _place(buffers, pairs, order)
    while True:
        fronts = [[i, *(j for j in order if j != i)] for i in movable]
        moved, order = min(
            ((_place(buffers, pairs, front), front) for front in fronts), key=lambda found: _end(buffers, found[0])
        )
        if _end(buffers, moved) >= _end(buffers, at):
            return at
        at = moved


def _end(buffers: Sequence[Buffer], offsets: Sequence[int]) -> int:
    """Size of an arena with the buffers there."""
    return max(at + aligned(buffer.size) for at, buffer in zip(offsets, buffers, strict=True))


def _place(buffers: Sequence[Buffer], pairs: Pairs, order: Sequence[int]) -> list[int]:
    """First-fit offsets, buffers taken in `order`."""
    offsets: dict[int, int] = {}
    for i in order:
        others = [j for j in offsets if buffers[i].overlaps(buffers[j])]
        offsets[i] = next(
            at
            for at in sorted({0, *_places(i, others, buffers, pairs, offsets)})
            if at >= 0 and all(_fit(i, at, j, offsets[j], buffers, pairs) for j in others)
        )
    return [offsets[i] for i in range(len(buffers))]


def _places(
    i: int, others: Sequence[int], buffers: Sequence[Buffer], pairs: Pairs, offsets: Mapping[int, int]
) -> Iterator[int]:
    """Where buffer i may begin: behind another, or as far before or behind one as it may lie over it."""
    for j in others:
        yield offsets[j] + aligned(buffers[j].size)
        if (i, j) in pairs:
            yield from (offsets[j], offsets[j] + pairs[i, j].lead)
        if (j, i) in pairs:
            yield from (offsets[j], offsets[j] - pairs[j, i].lead)


def _fit(i: int, at_i: int, j: int, at_j: int, buffers: Sequence[Buffer], pairs: Pairs) -> bool:
    """Whether two buffers that are in use at one time may lie there."""
    if at_i + buffers[i].size <= at_j or at_j + buffers[j].size <= at_i:
        return True
    if (i, j) in pairs:
        return pairs[i, j].allows(at_i - at_j)
    return (j, i) in pairs and pairs[j, i].allows(at_j - at_i)
