"""Which layers are computed in cascades: those that make the arena smallest at no more than a small cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.codegen import cascade, planner
from pipeline.codegen.cascade import Cascade
from pipeline.codegen.kernels import module_of
from pipeline.core import registry
from pipeline.core.nouns import KernelCall, QModel
from pipeline.network.geometry import RowWindow

LARGEST_SHARE = 0.02
"""Of a network's instructions that its cascades may take on top."""
FAST_MAC, PORTABLE_MAC = 0.5, 5.0
"""Instructions, roughly and no more, of a multiply-accumulate of optimized and of portable kernels."""
STRIPES = (2, 3, 4, 5, 6, 8, 11, 16, 32)
"""Into how many a cascade may be cut."""
LONGEST = 10
"""Layers of a cascade."""
PLANS = 8
"""Choices whose arena is worked out."""
LEAST_SAVING, LEAST_BYTES = 16, 1024
"""One part in so many of the arena must be saved, and so many bytes: about what more calls take in flash."""


@dataclass(frozen=True)
class Segment:
    """Consecutive layers that are computed together, or a single one as a whole."""

    first: int
    """Number of the first layer."""
    end: int
    """Number of the layer after the last one."""
    bytes_in_use: int
    """Most bytes in use at once while it is computed."""
    cost: int
    """Instructions that it takes more than its layers one after another."""
    cascade: Cascade | None
    """None: a single layer as a whole."""


def choose(model: QModel, calls: Sequence[KernelCall | None], again: cascade.Again) -> tuple[Cascade, ...]:
    """The cascades, in order, with the kernel of every call. calls: of the whole layers; again: see cascade.Again.

    The smallest arena found whose cascades take at most LARGEST_SHARE more instructions than the layers one by one;
    none where they would save less than LEAST_SAVING and LEAST_BYTES say.
    """
    most = int(LARGEST_SHARE * _instructions(model, calls))
    segments = list(_segments(model, calls, most))
    whole = planner.plan(model, calls).arena_bytes
    best: tuple[Cascade, ...] = ()
    smallest = whole - max(whole // LEAST_SAVING, LEAST_BYTES)
    tried = 0
    for bound in sorted({segment.bytes_in_use for segment in segments}):
        path = _cheapest(segments, bound, len(model.layers), most)
        if path is None:
            continue
        tried += 1
        if tried > PLANS or bound >= smallest:
            break
        arena = planner.plan(model, calls, path).arena_bytes
        if arena < smallest:
            best, smallest = path, arena
    best = tuple(cascade.with_calls(model, c, calls, again) for c in best)
    return best if planner.plan(model, calls, best).arena_bytes < whole else ()


def _instructions(model: QModel, calls: Sequence[KernelCall | None]) -> float:
    """Instructions of the network, roughly and no more."""
    total = 0.0
    for layer, call in zip(model.layers, calls, strict=True):
        macs = registry.load("layers", layer.kind).macs(layer, model.input_specs(layer))
        fast = call is not None and bool(module_of(call.function))
        total += macs * (FAST_MAC if fast else PORTABLE_MAC)
    return total


def _cheapest(segments: Sequence[Segment], bound: int, layers: int, most: int) -> tuple[Cascade, ...] | None:
    """The cascades of the cheapest segments, one after another, that use at most `bound` bytes; None where they cost
    more than `most`."""
    ways: dict[int, tuple[int, tuple[Cascade, ...]]] = {0: (0, ())}
    for segment in segments:  # in the order of their first layers
        if segment.bytes_in_use > bound or segment.first not in ways:
            continue
        cost, before = ways[segment.first]
        if segment.end not in ways or cost + segment.cost < ways[segment.end][0]:
            ways[segment.end] = (cost + segment.cost, (*before, segment.cascade) if segment.cascade else before)
    found = ways.get(layers)
    return found[1] if found and found[0] <= most else None


def _segments(model: QModel, calls: Sequence[KernelCall | None], most: int) -> Iterator[Segment]:
    """All that cost at most `most`, in the order of their first layers."""
    last_use, windows = planner.last_uses(model), cascade.row_windows(model)
    for first in range(len(model.layers)):
        yield Segment(first, first + 1, _whole(model, calls, last_use, first), 0, None)
        for last in range(first, min(first + LONGEST, len(model.layers))):
            call = calls[last]
            if call is None or windows[last] is None:
                break
            for c in _cut(model, calls, windows, (first, last), most):
                cost = cascade.cost(model, c, calls)
                if cost <= most:
                    yield Segment(first, last + 1, _together(model, calls, last_use, c), cost, c)


def _cut(
    model: QModel,
    calls: Sequence[KernelCall | None],
    windows: Sequence[RowWindow | None],
    layers: tuple[int, int],
    most: int,
) -> Iterator[Cascade]:
    """The layers in stripes of every height, but those that surely cost much more than `most`."""
    first, last = layers
    rows = model.tensor(last + 1).shape[0]
    starts = sum(call.start_cost for call in calls[first : last + 1] if call is not None)
    counts = [n for n in STRIPES if n <= rows and (n - 1) * starts <= 2 * most]
    for height in sorted({-(-rows // n) for n in counts}):
        c = cascade.cascade(model, windows, first, last, height)
        if c is None:
            return
        yield c


def _whole(model: QModel, calls: Sequence[KernelCall | None], last_use: Sequence[int], index: int) -> int:
    """Bytes in use while a layer is computed as a whole."""
    layer, call = model.layers[index], calls[index]
    total = sum(_aligned(model, t) for t in range(index + 2) if last_use[t] >= index or t == index + 1)
    if call is None:
        return total - _aligned(model, index + 1)
    if call.in_place is not None and last_use[source := layer.inputs[call.in_place]] == index:
        total -= min(_aligned(model, source), _aligned(model, index + 1))
    return total + call.scratch_bytes


def _together(model: QModel, calls: Sequence[KernelCall | None], last_use: Sequence[int], c: Cascade) -> int:
    """Bytes in use, most, while a cascade is computed."""
    outer = sum(_aligned(model, t) for t in range(c.first + 1) if last_use[t] >= c.first) + _aligned(model, c.output)
    outer -= max((_shared(model, calls, c, t) for t in c.inputs if last_use[t] <= c.last), default=0)
    windows = {t: cascade.window_bytes(model, c, t) for t in c.inner}
    most = 0
    for i in c.layers:
        in_use = [t for t in c.inner if any(c.kept(t)) or t - 1 <= i <= last_use[t]]
        call = calls[i]
        if cascade.overwrites_inner(model, c, i, call):
            in_use.remove(i + 1)
        most = max(most, sum(windows[t] for t in in_use) + (call.scratch_bytes if call else 0))
    return outer + most


def _shared(model: QModel, calls: Sequence[KernelCall | None], c: Cascade, tensor: int) -> int:
    """Bytes that its output and an input have in common."""
    lead = 0 if cascade.is_in_place(model, c, tensor, calls[c.last]) else cascade.lead(model, c, tensor)
    taken, written = _aligned(model, tensor), _aligned(model, c.output)
    return taken + written - max(taken + lead, written)


def _aligned(model: QModel, tensor: int) -> int:
    return planner.aligned(model.tensor(tensor).size_bytes)
