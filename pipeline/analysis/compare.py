"""Networks side by side: what they answer, what they cost, and the ratios to the first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.analysis import figures
from pipeline.core import templates, text

FORMAT = 1
"""Of the JSON; changes when a key changes its meaning or goes away."""


@dataclass(frozen=True)
class Share:
    """Right answers."""

    accuracy: float
    """0 to 1."""
    interval: tuple[float, float]
    """Its 95 % Wilson interval."""
    n: int
    """How many samples."""


@dataclass(frozen=True)
class Contender:
    """One network of a comparison."""

    name: str
    """Of the network."""
    board: str
    """What it was built for."""
    kernels: str
    """Whose: as --kernels has it."""
    clean: Share
    """Of the integer network, on the same test samples as the others."""
    robust: Mapping[str, Share]
    """By attack, budget and how it was measured; only what its card states of this very network, or its run stores."""
    unit: str
    """What a tick is."""
    ticks: int | None
    """Median of one inference; None where nothing ran."""
    layers: Mapping[str, int]
    """The same by layer; empty where nothing ran."""
    flash: Mapping[str, int]
    """Bytes: "weights", "other tables", "kernels", "runtime"."""
    ram: Mapping[str, int]
    """Bytes: "activations", "scratch", "stack", "runtime"."""
    unserved: Mapping[str, str] = field(default_factory=dict)
    """By name of the layers that only their portable kernel computes: what the core's faster kernels ask for."""
    layer_kernels: Mapping[str, str] = field(default_factory=dict)
    """By name of the layers that are computed: the C function that does it."""
    cascades: Mapping[str, str] = field(default_factory=dict)
    """By name of the layers of a cascade: its last layer, with which their ticks are counted."""
    called: str = ""
    """What it was called on the command line: of several runs of one job, what tells it from the others."""

    def counted_with(self, layer: str) -> list[str]:
        """Names of the layers whose ticks are counted with this one's, itself first; none where its own are counted
        with another's."""
        last = self.cascades.get(layer, layer)
        return [layer, *(name for name, of in self.cascades.items() if of == last != name)] if last == layer else []

    def ticks_with(self, layer: str) -> int:
        """Ticks of all layers that are counted with this one: those of a cascade, which have none of their own, still
        take a call each."""
        return sum(self.layers.get(name, 0) for name in self.counted_with(layer))


def numbers(contenders: Sequence[Contender]) -> dict[str, Any]:
    """The content of the JSON, every key described in docs/SIZE.md."""
    return {"format": FORMAT, "networks": [asdict(contender) | _totals(contender) for contender in contenders]}


def _totals(one: Contender) -> dict[str, int]:
    return {"flash_bytes": sum(one.flash.values()), "ram_bytes": sum(one.ram.values())}


def columns(contenders: Sequence[Contender]) -> list[str]:
    """Heading of each: the network's name, or what it was called where others have that name, with board and kernels
    where these differ, numbered where all are alike."""
    shown = [key for key in ("board", "kernels") if len({getattr(one, key) for one in contenders}) > 1]
    runs = {name: {one.called for one in contenders if one.name == name} for name in {one.name for one in contenders}}
    first = [one.called if one.called and len(runs[one.name]) > 1 else one.name for one in contenders]
    names = [", ".join([name, *(getattr(o, key) for key in shown)]) for name, o in zip(first, contenders, strict=True)]
    return [name if names.count(name) == 1 else f"{name} ({number + 1})" for number, name in enumerate(names)]


def rows(contenders: Sequence[Contender]) -> Iterator[tuple[str, list[str]]]:
    """(what, a cell for each network) of accuracy and cost; costs carry their ratio to the first network's."""
    yield "clean accuracy (twin)", [text.percent(one.clean.accuracy) for one in contenders]
    for attack in dict.fromkeys(attack for one in contenders for attack in one.robust):
        measured = [one.robust.get(attack) for one in contenders]
        yield attack, [text.percent(share.accuracy) if share else "not measured" for share in measured]
    for unit in units(contenders) or ("",):
        ticks = (one.ticks if one.unit == unit else None for one in contenders)
        yield f"{unit} per inference".strip(), _amounts(list(ticks))
    for what, total in (("flash", "flash_bytes"), ("ram", "ram_bytes")):
        name = what if what == "flash" else "RAM"
        yield f"{name} (bytes)", _amounts([_totals(one)[total] for one in contenders])
        for part in dict.fromkeys(part for one in contenders for part in getattr(one, what)):
            yield f"  {part}", _amounts([getattr(one, what).get(part, 0) for one in contenders])
    if any(one.unserved for one in contenders):
        yield "layers without a fast kernel", [", ".join(one.unserved) or "none" for one in contenders]


def layer_rows(contenders: Sequence[Contender]) -> Iterator[tuple[str, list[str]]]:
    """(layer, ticks in each network) of every layer of any network, in order; by unit where they are several."""
    counted = units(contenders)
    for unit in counted:
        ran = [one for one in contenders if one.unit == unit]
        for layer in dict.fromkeys(layer for one in ran for layer in one.layers):
            cells = [_layer_cell(one, contenders[0], layer) if one in ran else "not measured" for one in contenders]
            yield f"{layer} ({unit})" if len(counted) > 1 else layer, cells


def _layer_cell(one: Contender, first: Contender, layer: str) -> str:
    """Ticks of a layer, with the ratio to the first network's where the same layers are counted there, or where to find
    them."""
    if layer not in one.layers:
        return "not measured"
    together, ticks = one.counted_with(layer), one.ticks_with(layer)
    if not together:
        return f"in {one.cascades[layer]}'s"
    number = f" for {len(together)} layers" if len(together) > 1 else ""
    same = first is not one and first.unit == one.unit and set(together) == set(first.counted_with(layer))
    ratio = f" ({ticks / of:.2f}×)" if same and (of := first.ticks_with(layer)) else ""
    return f"{text.count(ticks)}{number}{ratio}"


def kernel_rows(contenders: Sequence[Contender]) -> Iterator[tuple[str, list[str]]]:
    """(layer, the C function that computes it in each network) of every layer that any network computes, in order."""
    ran = dict.fromkeys(layer for one in contenders for layer in one.layers)
    named = {layer for one in contenders for layer in one.layer_kernels}
    for layer in (*(layer for layer in ran if layer in named), *sorted(named - set(ran))):
        yield layer, [one.layer_kernels.get(layer, "–") for one in contenders]


def units(contenders: Sequence[Contender]) -> tuple[str, ...]:
    """What the ticks of those that ran are, in order."""
    return tuple(dict.fromkeys(one.unit for one in contenders if one.ticks is not None))


def unserved(contenders: Sequence[Contender]) -> dict[str, str]:
    """What faster kernels ask for, by "heading: layer" of every layer that none of them computes."""
    named = zip(columns(contenders), contenders, strict=True)
    return {f"{name}: {layer}": why for name, one in named for layer, why in one.unserved.items()}


def _amounts(values: Sequence[int | None]) -> list[str]:
    """Numbers as a person reads them, from the second on with the ratio to the first."""
    first, *others = values
    cells = ["not measured" if first is None else text.count(first)]
    for value in others:
        ratio = f" ({value / first:.2f}×)" if value is not None and first else ""
        cells.append("not measured" if value is None else f"{text.count(value)}{ratio}")
    return cells


def page(contenders: Sequence[Contender]) -> str:
    """The HTML page: tables and a Pareto plot, of ticks in the first unit that there is. It opens offline."""
    names = columns(contenders)
    unit = next(iter(units(contenders)), "")
    points = [
        (name, one.ticks if one.unit == unit else None, 100 * one.clean.accuracy, _totals(one)["flash_bytes"])
        for name, one in zip(names, contenders, strict=True)
    ]
    return (
        templates.pages()
        .get_template("compare.html.j2")
        .render(
            names=names,
            boards=list(dict.fromkeys(one.board for one in contenders)),
            contenders=contenders,
            unserved=unserved(contenders),
            rows=list(rows(contenders)),
            layers=list(layer_rows(contenders)),
            kernels=list(kernel_rows(contenders)),
            plot=figures.pareto(points, unit),
            unit=unit,
        )
    )
