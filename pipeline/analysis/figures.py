"""The report's drawings. Matplotlib is imported when the first one is drawn, not before."""

from __future__ import annotations

import base64
import io
import itertools
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis import outcomes
from pipeline.analysis.samples import Answers, Samples
from pipeline.core.nouns import AttackInfo

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#1c2430", "#667085", "#e4e7ec"
COLOURS = {"keras": "#98a2b3", "twin": "#2e90fa", "device": "#0b8a6f"}
ROW_LETTERS = 18
"""Characters per line of the name of a row of the gallery, which is written vertically next to it."""
ATTACK_COLOURS = ("#c4320a", "#6938ef", "#0b8a6f", "#2e90fa", "#344054")
MARKERS = "osD^v"
"""Of networks, where there are more than colours."""
COST_TICKS = 6
"""At most on an axis of costs, whose numbers are long."""


@dataclass(frozen=True)
class Scale:
    """What budgets of some units are drawn over."""

    units: tuple[str, ...]
    """Of eps, which share the scale."""
    label: str
    """Of the axis."""
    start: float | None
    """Where nothing changes; None: at infinity, and the larger number is the smaller change."""

    def holds(self, unit: str) -> bool:
        """Whether budgets in this unit belong here."""
        return unit in self.units

    def place(self, point: Mapping[str, Any]) -> float:
        """Of a budget, as the report has it."""
        return float(point["eps"] if point["eps_lsb"] is None else point["eps_lsb"])

    def changes(self, info: AttackInfo, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of changes that use these shares of a budget; of an unknown one infinite."""
        if self.start is None:
            return np.asarray(info.eps - 20 * np.log10(shares))
        return np.asarray(shares * (info.eps if info.eps_lsb is None else info.eps_lsb))

    def set_limits(self, axes: Axes) -> None:
        """Smaller changes to the left."""
        if self.start is None:
            axes.invert_xaxis()
        else:
            axes.set_xlim(left=self.start)


SCALES = (
    Scale(("real", "sigma"), "largest change of an input element (lattice steps)", 0),
    Scale(("snr",), "signal-to-noise ratio of the recording (dB)", None),
    Scale(("int16",), "largest change of a sample of the recording (int16 steps)", 0),
)


def draw(numbers: Mapping[str, Any], samples: Samples) -> dict[str, str]:
    """HTML text of each figure by name: "accuracy", "smallest", "layerwise" and "training" as <svg>, "samples" as
    <img>; "" for one without data. numbers: the content of report.json."""
    return {
        "accuracy": _accuracy(numbers["accuracy"], numbers["worst_case"]),
        "smallest": _smallest(samples),
        "layerwise": _layerwise(numbers["layerwise"]),
        "training": _training(numbers["training"]),
        "samples": _samples(samples, numbers["dataset"]["classes"]),
    }


LEGEND_ROW = 0.19
"""Inches that a line of a legend takes."""
HALF_A_LEGEND = 60
"""Characters of a name of which two stand side by side."""


def _figure(width: float, height: float) -> Figure:
    """An empty figure, inches. Not through pyplot: that keeps global state."""
    import matplotlib
    from matplotlib.figure import Figure

    settings = {"svg.hashsalt": "tritmcu", "svg.fonttype": "path", "font.size": 10, "axes.edgecolor": GRID}
    matplotlib.rcParams.update(settings)
    return Figure(figsize=(width, height), layout="constrained")


def _axes(figure: Figure, xlabel: str, ylabel: str) -> Axes:
    axes = figure.add_subplot()
    _style(axes, xlabel, ylabel)
    return axes


def _style(axes: Axes, xlabel: str, ylabel: str) -> None:
    axes.set_xlabel(xlabel, color=MUTED)
    axes.set_ylabel(ylabel, color=MUTED)
    axes.tick_params(colors=MUTED, length=0)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return buffer.getvalue()[buffer.getvalue().index("<svg") :]


def pareto(
    points: Sequence[tuple[str, int | None, float, int]],
    unit: str,
    what: str = "clean accuracy (%)",
    size: str = "flash (bytes)",
) -> str:
    """<svg> of accuracy over cost: left over ticks of one inference, right over bytes. points: (name, ticks, accuracy
    in percent, bytes); those that no other network beats in both are joined. what, size: names of the two axes."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    names = [name for name, *_ in points]
    columns = 2 if max(map(len, names), default=0) <= HALF_A_LEGEND else 1
    figure = _figure(9.2, 3.4 + LEGEND_ROW * -(-len(names) // columns))
    left, right = figure.subplots(1, 2)
    marks = _marks(names)
    timed = [(ticks, accuracy, name) for name, ticks, accuracy, _ in points if ticks is not None]
    sized = [(flash, accuracy, name) for name, _, accuracy, flash in points]
    for axes, found, label in ((left, timed, f"{unit or 'ticks'} per inference"), (right, sized, size)):
        _style(axes, label, what)
        front = [p for p in sorted(found) if not any(q[0] <= p[0] and q[1] >= p[1] and q[:2] != p[:2] for q in found)]
        axes.plot([p[0] for p in front], [p[1] for p in front], "--", color=MUTED, linewidth=1)
        for cost, accuracy, name in found:
            axes.plot([cost], [accuracy], linestyle="", label=name, **marks[name])
        axes.margins(0.15)
        axes.set_ylim(top=min(axes.get_ylim()[1], 102.0))  # no accuracy is above 100 %
        axes.xaxis.set_major_locator(MaxNLocator(COST_TICKS))
        axes.xaxis.set_major_formatter(EngFormatter())
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=8, loc="outside lower center", ncols=columns)
    return _svg(figure)


def slopes(points: Mapping[str, tuple[float, float]], names: tuple[str, str], what: str) -> str:
    """<svg> of a line for each network from its value left to that right. points: both by name; names: of the two
    sides; what: of the values."""
    figure = _figure(6.4, 3.8 + LEGEND_ROW * len(points))
    axes = _axes(figure, "", what)
    marks = _marks([*points])
    for name, values in points.items():
        axes.plot([0, 1], values, linewidth=1.8, label=name, **marks[name])
    for label, right in {f"{right:.1f}": right for _, right in points.values()}.items():
        axes.annotate(label, (1, right), xytext=(7, -3), textcoords="offset points", fontsize=8)
    axes.set_xticks([0, 1], names)
    axes.set_xlim(-0.15, 1.15)
    axes.set_ylim(bottom=min(-2.0, *axes.get_ylim()))
    figure.legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="outside lower center", ncols=1)
    return _svg(figure)


def learning(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """<svg> of trainings, by name, over their epochs: left the validation accuracy, dotted that of training, right the
    validation accuracy under attack of those that have one."""
    figure = _figure(9.2, 3.8 + LEGEND_ROW * -(-len(histories) // 2))
    marks = _marks([*histories])
    sides = (("validation_accuracy", "clean accuracy (%)"), ("validation_robust_accuracy", "accuracy under attack (%)"))
    for axes, (key, what) in zip(figure.subplots(1, 2), sides, strict=True):
        _style(axes, "epoch", what)
        for name, history in histories.items():
            if not all(key in epoch for epoch in history):
                continue
            epochs = [epoch["epoch"] for epoch in history]
            axes.plot(epochs, [100 * epoch[key] for epoch in history], label=name, markersize=3.5, **marks[name])
            if key == "validation_accuracy":
                trained = [100 * epoch["accuracy"] for epoch in history]
                axes.plot(epochs, trained, linestyle=":", color=marks[name]["color"])
    handles = {
        label: line for axes in figure.axes for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles, frameon=False, fontsize=8, loc="outside lower center", ncols=2)
    return _svg(figure)


def _marks(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour and marker of each network, of the first 25 no two alike."""
    pairs = itertools.cycle(itertools.product(MARKERS, ATTACK_COLOURS))
    return {name: {"color": colour, "marker": marker} for name, (marker, colour) in zip(names, pairs, strict=False)}


def _accuracy(accuracy: Mapping[str, Any], worst: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy over the budget, axes for each of its scales and one colour per attack; Keras and twin dashed and
    dotted, the device drawn. Crosses: the worst case of several attacks, with its intervals."""
    if not accuracy["attacks"]:
        return ""
    several = [point for point in worst if len(point["attacks"]) > 1]
    scales = [scale for scale in SCALES if any(scale.holds(point["unit"]) for point in accuracy["attacks"])]
    figure = _figure(5.8 * len(scales), 4.2)
    for axes, scale in zip(figure.subplots(1, len(scales), squeeze=False)[0], scales, strict=True):
        _style(axes, scale.label, "accuracy (%)")
        mine = [point for point in accuracy["attacks"] if scale.holds(point["unit"])]
        for colour, (name, points) in zip(itertools.cycle(ATTACK_COLOURS), _by_attack(mine, scale).items()):
            _curve(axes, scale, name, points, colour)
        _crosses(axes, scale, [point for point in several if scale.holds(point["unit"])])
        if scale.start is None:
            clean = accuracy["clean"]["device"]
            axes.axhline(100 * clean, color=MUTED, linestyle=":", linewidth=1.2, label="clean, device")
        axes.set_ylim(_floor(accuracy, several), 101)
        scale.set_limits(axes)
        axes.locator_params(axis="y", integer=True)
    figure.legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="outside lower center", ncols=3)
    return _svg(figure)


def _curve(axes: Axes, scale: Scale, name: str, points: Sequence[Mapping[str, Any]], colour: str) -> None:
    """An attack's points by rising strength."""
    x = [scale.place(point) for point in points]
    low, high = zip(*(point["device_interval"] for point in points), strict=True)
    axes.fill_between(x, 100 * np.array(low), 100 * np.array(high), color=colour, alpha=0.12, linewidth=0)
    for who, style in (("keras", "--"), ("twin", ":"), ("device", "-")):
        y = [np.nan if point[who] is None else 100 * point[who] for point in points]
        if np.isnan(y).all():
            continue
        marker, width = ("o", 2.0) if who == "device" else ("", 1.2)
        label = f"{name}, {'Keras' if who == 'keras' else who}"
        axes.plot(x, y, style, color=colour, marker=marker, markersize=4, linewidth=width, label=label)


def _crosses(axes: Axes, scale: Scale, points: Sequence[Mapping[str, Any]]) -> None:
    if points:
        places, shares = [scale.place(p) for p in points], np.array([p["robust"]["accuracy"] for p in points])
        reach = np.abs(np.array([p["robust"]["interval"] for p in points]).T - shares)
        axes.errorbar(
            places, 100 * shares, 100 * reach, fmt="x", color=INK, capsize=3, label="worst case of all attacks"
        )


def _floor(accuracy: Mapping[str, Any], worst: Sequence[Mapping[str, Any]]) -> float:
    """Lower end of the accuracy axis, in percent: below every interval, on a multiple of 20."""
    points = [accuracy["clean"], *accuracy["attacks"]]
    lows = [point["device_interval"][0] for point in points] + [point["robust"]["interval"][0] for point in worst]
    lowest = float(min(lows))
    return 20 * (100 * lowest // 20)


def _by_attack(points: Sequence[Mapping[str, Any]], scale: Scale) -> dict[str, list[Mapping[str, Any]]]:
    """The curve of every attack and norm: the clean point, where the scale has a place for it, then its points by
    rising eps."""
    curves: dict[str, list[Mapping[str, Any]]] = {}
    for point in sorted(points, key=lambda p: float(p["eps"])):
        curves.setdefault(_title(point["name"], point["norm"], point["variant"]), []).append(point)
    if scale.start is None:
        return curves
    return {name: [_start(points[0]), *points] for name, points in curves.items()}


def _start(point: Mapping[str, Any]) -> dict[str, Any]:
    """Where a curve begins: the clean answers to the very samples that were attacked."""
    clean = point["clean"]
    numbers = {"device": clean["device"], "device_interval": clean["interval"], "keras": None, "twin": None}
    return {"eps": 0.0, "eps_lsb": 0, **numbers}


def _title(name: str, norm: str, variant: str) -> str:
    """Of a curve: the attack, its norm, and what tells it from others of its name."""
    return f"{name.upper()} {_norm(norm)} {variant}".rstrip()


def _norm(norm: str) -> str:
    return {"linf": "L∞", "l2": "L2"}.get(norm, norm)


def _layerwise(choice: Mapping[str, Any] | None) -> str:
    """Left: how far the attack and each layer's quantization move the logits, its bits above the bar; right: what LAQ
    minimizes over the bytes spent on the way to the choice, where there was a search."""
    if choice is None:
        return ""
    figure = _figure(8.6, 3.4)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _style(left, "", "distance of the logits")
    bars = [
        ("attack", choice["attacked"], ""),
        *((n["name"], n["distance"], n["bits"]) for n in choice["layers"]),
    ]
    names, shares, bits = zip(*bars, strict=True)
    colours = [ATTACK_COLOURS[0], *[COLOURS["device"]] * (len(bars) - 1)]
    drawn = left.bar(range(len(bars)), shares, color=colours, width=0.7)
    left.bar_label(drawn, [f"{b} bit" if b else "" for b in bits], fontsize=7.5, color=MUTED, padding=2)
    left.set_xticks(range(len(bars)), names, rotation=60, ha="right", fontsize=8)
    _style(right, "packed weights (bytes)", "loss")
    steps = choice["steps"] or [choice]
    right.plot([s["bytes"] for s in steps], [s["loss"] for s in steps], "o-", color=COLOURS["twin"], markersize=4)
    right.set_ylim(bottom=0)
    return _svg(figure)


def _training(history: Sequence[Mapping[str, float]]) -> str:
    """Loss (left axis) and accuracies (right axis) per epoch."""
    if len(history) < 2:
        return ""
    figure = _figure(5.2, 3.6)
    axes = _axes(figure, "epoch", "loss")
    epochs = [epoch["epoch"] for epoch in history]
    axes.plot(epochs, [epoch["loss"] for epoch in history], color=COLOURS["keras"], linewidth=1.6, label="loss")
    axes.set_ylim(bottom=0)
    right = axes.twinx()
    right.spines[["top", "right", "left"]].set_visible(False)
    right.tick_params(colors=MUTED, length=0)
    right.set_ylabel("accuracy (%)", color=MUTED)
    for key, label, colour in (
        ("accuracy", "training accuracy", COLOURS["twin"]),
        ("validation_accuracy", "validation accuracy", COLOURS["device"]),
        ("validation_robust_accuracy", "robust accuracy", ATTACK_COLOURS[0]),
    ):
        if not any(key in epoch for epoch in history):
            continue
        right.plot(epochs, [100 * epoch.get(key, np.nan) for epoch in history], color=colour, label=label)
    right.set_ylim(0, 102)
    figure.legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="outside lower center", ncols=3)
    return _svg(figure)


def _smallest(samples: Samples) -> str:
    """Share of the samples that a change of at most so much is known to fool, axes for each scale and a curve per
    attack: all its budgets together."""
    found = [(scale, curves) for scale in SCALES if (curves := _smallest_changes(samples, scale))]
    if not found:
        return ""
    figure = _figure(5.8 * len(found), 3.8)
    for axes, (scale, curves) in zip(figure.subplots(1, len(found), squeeze=False)[0], found, strict=True):
        _style(axes, f"smallest change known to fool a sample:\n{scale.label}", "samples fooled (%)")
        for colour, (name, changes) in zip(itertools.cycle(ATTACK_COLOURS), curves.items()):
            known = np.sort(changes[np.isfinite(changes)])
            known = known if scale.start is not None else known[::-1]
            start = known[:1] if scale.start is None else [scale.start]
            x, y = np.concatenate([start, known]), 100 * np.arange(len(start) + len(known)) / len(changes)
            axes.step(x, y if len(start) else y[1:], where="post", color=colour, linewidth=1.8, label=name)
        axes.set_ylim(0, 101)
        scale.set_limits(axes)
    figure.legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="outside lower center", ncols=3)
    return _svg(figure)


def _smallest_changes(samples: Samples, scale: Scale) -> dict[str, NDArray[np.float64]]:
    """By attack and norm: (n,) the smallest changes of the samples that are answered rightly, on the scale; not finite
    where nothing is known."""
    found: dict[str, dict[int, float]] = {}
    for label in dict.fromkeys(outcome.label for outcome in samples.outcomes):
        answers, info = samples.answers(label), samples.answers(label).attack
        assert info is not None
        if not scale.holds(info.unit):
            continue
        right = outcomes.first(samples.outcomes, label).attacked
        changes = scale.changes(info, outcomes.smallest_by(samples.outcomes, label)[right])
        known = found.setdefault(_title(info.name, info.norm, info.variant), {})
        weaker = max if scale.start is None else min
        for index, change in zip(answers.index[right].tolist(), changes.tolist(), strict=True):
            known[index] = weaker(change, known.get(index, change))
    return {name: np.array(list(changes.values())) for name, changes in found.items() if changes}


def _samples(samples: Samples, classes: Sequence[str]) -> str:
    """Clean inputs, below them attacked copies and how they differ, each with what the device answered."""
    gallery = samples.gallery
    clean, many = samples.data[0], bool(len(gallery.attacked))
    figure = _figure(1.1 * max(len(gallery.clean), 1), 1.5 * (3 if many else 1))
    grid = figure.subplots(3 if many else 1, max(len(gallery.clean), 1), squeeze=False)
    _row(grid[0], "clean", [_picture(x) for x in gallery.clean], _titles(clean, gallery.clean_rows, classes))
    if many:
        attacked = samples.answers(gallery.label)
        titles = _titles(attacked, gallery.attacked_rows, classes)
        _row(grid[1], textwrap.fill(gallery.label, ROW_LETTERS), [_picture(x) for x in gallery.attacked], titles)
        change = gallery.attacked.astype(np.float64) - gallery.clean
        factor = max(int(127 // max(np.abs(change).max(), 1)), 1)
        shown = [_picture(np.clip(x * factor, -128, 127)) for x in change]
        _row(grid[2], f"difference\nx {factor}", shown, [("", INK)] * len(shown))
    return _png(figure)


def _titles(answers: Answers, rows: NDArray[np.int64], classes: Sequence[str]) -> list[tuple[str, str]]:
    """The class that the device answered, and a colour that says whether it is right."""
    said = [(classes[answers.answers["device"][row]], answers.right[row]) for row in rows]
    return [(name, COLOURS["device"] if right else ATTACK_COLOURS[0]) for name, right in said]


def _row(line: Any, name: str, pictures: Sequence[NDArray[np.uint8]], titles: Sequence[tuple[str, str]]) -> None:
    """Draws a row of the gallery. line: its axes, one for each picture."""
    line[0].set_ylabel(name, fontsize=8, color=MUTED)
    for axes, image, (title, colour) in zip(line, pictures, titles, strict=True):
        # A spectrogram of a few columns would be a sliver: only what is nearly square keeps its proportions.
        aspect = "equal" if max(image.shape[:2]) <= 2 * min(image.shape[:2]) else "auto"
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect=aspect)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.set_title(title, fontsize=9, color=colour)


def _picture(sample: NDArray[Any]) -> NDArray[np.uint8]:
    """The sample, -128 to 127, as an image: (h, w) or (h, w, 3), 0 to 255."""
    x = (sample.astype(np.int16) + 128).astype(np.uint8)
    return np.asarray(x if x.ndim == 3 and x.shape[2] == 3 else x.reshape(x.shape[0], -1))


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=144, transparent=True, metadata={"Software": None})
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="samples and what the device answered" src="data:image/png;base64,{data}">'
