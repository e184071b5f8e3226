"""Cascades: consecutive layers that are computed together, some rows of the last one's output at a time, so that the
tensors between them never exist as a whole.

A stripe is what that takes: of each layer the rows that are needed and not computed yet. A tensor between two layers of
the cascade lies in a window of as many rows as a stripe needs at once; rows that the next stripe reads again are moved
to the window's start. No row is computed twice, and every call is that of a smaller layer, so each kernel serves.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.core import registry
from pipeline.core.nouns import KernelCall, QLayer, QModel, TensorSpec
from pipeline.network import geometry
from pipeline.network.geometry import RowWindow

MOVE_COST, CALL_COST = 5, 80
"""Instructions, roughly, of moving a byte and of calling a kernel."""
Rows = tuple[int, int]
"""First row and the row after the last one."""
Again = Callable[[KernelCall, QLayer, Sequence[TensorSpec]], KernelCall]
"""(call of a layer, a part of it, specs of that part's inputs) -> the call of the same kernel for the part."""


@dataclass(frozen=True)
class Work:
    """One kernel call of a stripe."""

    layer: int
    """Number of the layer."""
    rows: Rows
    """Of the layer's output."""
    inputs: tuple[Rows, ...]
    """Of each of the layer's inputs, all that the rows are computed from."""
    call: KernelCall | None = None
    """The kernel; None as long as it is not chosen."""


@dataclass(frozen=True)
class Stripe:
    """Kernel calls that follow each other."""

    works: tuple[Work, ...]
    """In the order of the layers; the last one is of the cascade's last layer."""
    held: Mapping[int, Rows]
    """Rows in the window of each inner tensor, by its number: those kept from the stripe before, then new ones."""
    needed: Mapping[int, int]
    """First row that this or a later stripe reads of every other tensor, by its number; none where none is read any
    more."""


@dataclass(frozen=True)
class Cascade:
    """Consecutive layers and their stripes."""

    first: int
    """Number of its first layer."""
    last: int
    """Number of its last layer, the only one whose output other layers read."""
    stripes: tuple[Stripe, ...]
    """In the order in which they are computed."""

    @property
    def layers(self) -> range:
        """Numbers of its layers."""
        return range(self.first, self.last + 1)

    @property
    def inner(self) -> range:
        """Numbers of the tensors between its layers."""
        return range(self.first + 1, self.last + 1)

    @property
    def output(self) -> int:
        """Number of the tensor that it writes."""
        return self.last + 1

    @property
    def inputs(self) -> tuple[int, ...]:
        """Numbers of the tensors that it reads and does not write."""
        return tuple(self.stripes[0].needed)

    def works(self, layer: int) -> list[Work]:
        """All calls of a layer."""
        return [work for stripe in self.stripes for work in stripe.works if work.layer == layer]

    def window_rows(self, tensor: int) -> int:
        """Rows that the window of an inner tensor takes."""
        return max(end - base for base, end in (stripe.held[tensor] for stripe in self.stripes))

    def kept(self, tensor: int) -> list[int]:
        """How many rows of an inner tensor each stripe takes over from the one before."""
        ends = [0, *(stripe.held[tensor][1] for stripe in self.stripes)]
        return [end - stripe.held[tensor][0] for end, stripe in zip(ends, self.stripes, strict=False)]


def row_windows(model: QModel) -> list[RowWindow | None]:
    """Of every layer; None where it is not computed from rows."""
    return [_row_window(layer) for layer in model.layers]


def cascade(model: QModel, windows: Sequence[RowWindow | None], first: int, last: int, height: int) -> Cascade | None:
    """The layers from `first` to `last` in stripes of `height` rows of output; None where they cannot be computed so: a
    layer has no rows, or one outside reads what lies between them. windows: see row_windows."""
    known = {i: window for i in range(first, last + 1) if (window := windows[i]) is not None}
    if len(known) <= last - first or not _is_closed(model, first, last):
        return None
    done = dict.fromkeys(range(first + 1, last + 2), 0)
    stripes = []
    total = model.tensor(last + 1).shape[0]
    for end in range(height, total + height, height):
        stripes.append(_stripe(model, known, done, min(end, total)))
        done |= {work.layer + 1: work.rows[1] for work in stripes[-1].works}
    read = (rows for stripe in stripes for work in stripe.works for rows in work.inputs)
    return Cascade(first, last, tuple(stripes)) if all(start < end for start, end in read) else None


def _row_window(layer: QLayer) -> RowWindow | None:
    module = registry.load("layers", layer.kind)
    if not hasattr(module, "row_window") or len(layer.output.shape) != 3:
        return None
    window: RowWindow = module.row_window(layer)
    return window


def _is_closed(model: QModel, first: int, last: int) -> bool:
    """Whether only the layers after `first` up to `last` read the tensors between them."""
    readers = ([i for i, layer in enumerate(model.layers) if t in layer.inputs] for t in range(first + 1, last + 1))
    return all(found and found[-1] <= last for found in readers)


def _stripe(model: QModel, windows: Mapping[int, RowWindow], done: Mapping[int, int], end: int) -> Stripe:
    """What it takes to compute the last layer's rows before `end`, after the rows that are done, by tensor."""
    until = {**done, max(windows) + 1: end}
    needed: dict[int, int] = {}
    for i in sorted(windows, reverse=True):
        before, window = done[i + 1], windows[i]
        for t in model.layers[i].inputs if before < model.layers[i].output.shape[0] else ():
            needed[t] = min(needed.get(t, window.first(before)), window.first(before))
            if t in done and until[i + 1] > before:
                until[t] = max(until[t], window.end(until[i + 1], model.tensor(t).shape[0]))
    works = (_work(model, i, windows[i], (done[i + 1], until[i + 1])) for i in sorted(windows))
    inner = [t for t in done if t - 1 in windows and t != max(windows) + 1]
    held = {t: (min(needed.get(t, done[t]), done[t]), until[t]) for t in inner}
    outer = {t: row for t, row in sorted(needed.items()) if t not in done}
    return Stripe(tuple(work for work in works if work.rows[0] < work.rows[1]), held, outer)


def _work(model: QModel, index: int, window: RowWindow, rows: Rows) -> Work:
    heights = (model.tensor(t).shape[0] for t in model.layers[index].inputs)
    return Work(index, rows, tuple((window.first(rows[0]), window.end(rows[1], height)) for height in heights))


def row_bytes(model: QModel, tensor: int) -> int:
    """Bytes of a row of a tensor."""
    return int(np.prod(model.tensor(tensor).shape[1:]))


def window_bytes(model: QModel, c: Cascade, tensor: int) -> int:
    """Bytes of the window of an inner tensor."""
    return c.window_rows(tensor) * row_bytes(model, tensor)


def lead(model: QModel, c: Cascade, tensor: int) -> int:
    """How many bytes its output must begin before an input that nothing reads later, so that no row of that is
    overwritten that is still to be read."""
    written, row = row_bytes(model, c.output), row_bytes(model, tensor)
    bytes_before = [0]
    for stripe, later in zip(c.stripes, [*c.stripes[1:], None], strict=True):
        work = stripe.works[-1]
        read = [rows[0] for t, rows in zip(model.layers[c.last].inputs, work.inputs, strict=True) if t == tensor]
        read += [later.needed[tensor]] if later and tensor in later.needed else []
        bytes_before += [work.rows[1] * written - first * row for first in read]
    return max(bytes_before)


def is_in_place(model: QModel, c: Cascade, tensor: int, call: KernelCall | None) -> bool:
    """Whether its output may also lie exactly where an input lies that nothing reads later: its last layer, computed by
    `call`, may overwrite the rows that it reads, and later stripes need none of them."""
    layer = model.layers[c.last]
    if call is None or call.in_place is None or layer.inputs[call.in_place] != tensor:
        return False
    return layer.output.shape == model.tensor(tensor).shape and all(
        stripe.works[-1].inputs[call.in_place] == stripe.works[-1].rows
        and (later is None or later.needed.get(tensor, stripe.works[-1].rows[1]) >= stripe.works[-1].rows[1])
        for stripe, later in zip(c.stripes, [*c.stripes[1:], None], strict=True)
    )


def overwrites_inner(model: QModel, c: Cascade, index: int, call: KernelCall | None) -> bool:
    """Whether the window of a layer's output may be that of the inner tensor that its kernel may overwrite."""
    layer = model.layers[index]
    if call is None or call.in_place is None or index == c.last:
        return False
    source = layer.inputs[call.in_place]
    return (
        source in c.inner
        and layer.output.shape == model.tensor(source).shape
        and not any(c.kept(source))
        and not any(c.kept(index + 1))
        and all(work.inputs[call.in_place] == work.rows for work in c.works(index))
        and max(i for i in c.layers if source in model.layers[i].inputs) == index
    )


def cost(model: QModel, c: Cascade, calls: Sequence[KernelCall | None]) -> int:
    """Instructions, roughly, that it takes more than its layers one after another, by the calls of the whole layers."""
    more = ((len(c.works(i)) - 1) * (call.start_cost + CALL_COST) for i in c.layers if (call := calls[i]) is not None)
    return sum(more) + MOVE_COST * sum(sum(c.kept(t)) * row_bytes(model, t) for t in c.inner)


def with_calls(model: QModel, c: Cascade, calls: Sequence[KernelCall | None], again: Again) -> Cascade:
    """The same with the kernel of each call. It reads the tables of the whole layer's."""
    known: dict[tuple[object, ...], KernelCall] = {}

    def bound(work: Work) -> Work:
        layer = model.layers[work.layer]
        window = _row_window(layer)
        assert window is not None
        part, specs = geometry.stripe(layer, model.input_specs(layer), window, *work.rows)
        key = (work.layer, part.output.shape, part.params.get("padding"), *(spec.shape for spec in specs))
        if key not in known:
            whole = calls[work.layer]
            assert whole is not None
            known[key] = _with_tables(again(whole, part, specs), whole)
        return replace(work, call=known[key])

    return replace(c, stripes=tuple(replace(s, works=tuple(map(bound, s.works))) for s in c.stripes))


def _with_tables(part: KernelCall, whole: KernelCall) -> KernelCall:
    assert part.function == whole.function and part.tables.keys() == whole.tables.keys()
    assert all(np.array_equal(table, whole.tables[name]) for name, table in part.tables.items())
    return replace(part, tables=whole.tables)


@dataclass(frozen=True)
class Place:
    """Where rows of a tensor lie."""

    tensor: int
    """Number of the tensor."""
    row: int
    """From the start of its window, or of the whole tensor where there is none."""


@dataclass(frozen=True)
class Move:
    """Rows that go to the start of their window."""

    source: Place
    """The first of them."""
    rows: int
    """How many."""


@dataclass(frozen=True)
class Call:
    """A kernel and the places that it reads and writes."""

    work: Work
    """What it computes."""
    inputs: tuple[Place, ...]
    """First row of each input."""
    output: Place
    """First row of the output."""


Operation = Move | Call


def operations(model: QModel, c: Cascade) -> list[list[Operation]]:
    """What each stripe does, in order."""
    earlier = [None, *c.stripes]
    return [[*_moves(c, before, s), *_calls(model, s)] for before, s in zip(earlier, c.stripes, strict=False)]


def _moves(c: Cascade, before: Stripe | None, stripe: Stripe) -> Iterator[Move]:
    for t in c.inner if before is not None else ():
        (old, end), (base, _) = before.held[t], stripe.held[t]  # type: ignore[union-attr]
        if base < end and base > old:
            yield Move(Place(t, base - old), end - base)


def _calls(model: QModel, stripe: Stripe) -> Iterator[Call]:
    def place(tensor: int, row: int) -> Place:
        return Place(tensor, row - stripe.held[tensor][0] if tensor in stripe.held else row)

    for work in stripe.works:
        inputs = zip(model.layers[work.layer].inputs, work.inputs, strict=True)
        yield Call(work, tuple(place(t, rows[0]) for t, rows in inputs), place(work.layer + 1, work.rows[0]))


@dataclass(frozen=True)
class Loop:
    """Stripes that do the same, one after another, in rows that are always the same number apart."""

    operations: Sequence[Operation]
    """Of its first stripe."""
    count: int
    """Stripes."""
    steps: Mapping[int, int]
    """Rows from a stripe to the next of each tensor without a window, by its number; empty where count is 1."""


def loops(model: QModel, c: Cascade) -> Iterator[Loop]:
    """All stripes, as few loops as there are."""
    stripes = operations(model, c)
    start = 0
    while start < len(stripes):
        following = [_steps(*pair) for pair in itertools.pairwise(stripes[start:])]
        steps = following[0] if following else None
        count = 1 if steps is None else 1 + _equal(following)
        yield Loop(stripes[start], count, steps or {})
        start += count


def _equal(values: Sequence[object]) -> int:
    """How many from the first one on are equal."""
    return next((i for i, value in enumerate(values) if value != values[0]), len(values))


def _steps(a: Sequence[Operation], b: Sequence[Operation]) -> dict[int, int] | None:
    """Rows from where operations read and write to where the next stripe's do, by tensor where there are any; None
    where these are others."""
    if [_kind(x) for x in a] != [_kind(x) for x in b]:
        return None
    steps: dict[int, set[int]] = {}
    for x, y in zip(a, b, strict=True):
        for p, q in zip(places(x), places(y), strict=True):
            steps.setdefault(p.tensor, set()).add(q.row - p.row)
    if any(len(found) > 1 for found in steps.values()):
        return None
    return {t: step for t, found in steps.items() if (step := min(found))}


def _kind(operation: Operation) -> tuple[int, ...]:
    if isinstance(operation, Move):
        return operation.source.tensor, operation.rows
    return operation.work.layer, id(operation.work.call)


def places(operation: Operation) -> tuple[Place, ...]:
    return (operation.source,) if isinstance(operation, Move) else (*operation.inputs, operation.output)
