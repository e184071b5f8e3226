"""The report's drawings. Matplotlib is imported when the first one is drawn, not before."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import Dataset, DatasetTrace, Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#1c2430", "#667085", "#e4e7ec"
COLOURS = {"keras": "#98a2b3", "twin": "#2e90fa", "device": "#0b8a6f"}
ATTACK_COLOURS = ("#c4320a", "#6938ef", "#0b8a6f", "#2e90fa", "#b54708")
SAMPLES = 8
"""Columns of the sample sheet."""


def draw(numbers: Mapping[str, Any], trace: Trace, datasets: Sequence[Dataset]) -> dict[str, str]:
    """HTML text of each figure by name: "accuracy", "layerwise" and "training" as <svg>, "samples" as <img>; "" for one
    without data. numbers: the content of report.json."""
    return {
        "accuracy": _accuracy(numbers["accuracy"]),
        "layerwise": _layerwise(numbers["layerwise"]),
        "training": _training(numbers["training"]),
        "samples": _samples(trace, datasets),
    }


def _figure(width: float, height: float) -> Figure:
    """An empty figure, inches. Not through pyplot: that keeps global state."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update({"svg.hashsalt": "tritmcu", "font.size": 10, "axes.edgecolor": GRID})
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


def _accuracy(accuracy: Mapping[str, Any]) -> str:
    """Accuracy over eps in lattice steps, one colour per attack; Keras and twin dashed and dotted, the device drawn."""
    if not accuracy["attacks"]:
        return ""
    figure = _figure(5.8, 4.2)
    axes = _axes(figure, "largest change of an input element (lattice steps)", "accuracy (%)")
    for colour, (name, points) in zip(itertools.cycle(ATTACK_COLOURS), _by_attack(accuracy).items(), strict=False):
        x = [point["eps_lsb"] for point in points]
        low, high = zip(*(point["device_interval"] for point in points), strict=True)
        axes.fill_between(x, 100 * np.array(low), 100 * np.array(high), color=colour, alpha=0.12, linewidth=0)
        for who, style in (("keras", "--"), ("twin", ":"), ("device", "-")):
            y = [np.nan if point[who] is None else 100 * point[who] for point in points]
            marker, width = ("o", 2.0) if who == "device" else ("", 1.2)
            axes.plot(x, y, style, color=colour, marker=marker, markersize=4, linewidth=width, label=f"{name}, {who}")
    axes.set_ylim(_floor(accuracy), 101)
    axes.set_xlim(left=0)
    axes.locator_params(axis="y", integer=True)
    figure.legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="outside lower center", ncols=3)
    return _svg(figure)


def _floor(accuracy: Mapping[str, Any]) -> float:
    """Lower end of the accuracy axis, in percent: below every interval, on a multiple of 20."""
    points = [accuracy["clean"], *accuracy["attacks"]]
    lowest = min(float(point["device_interval"][0]) for point in points)
    return 20 * (100 * lowest // 20)


def _by_attack(accuracy: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """The curve of every attack and norm: the clean point, then its points by rising eps."""
    curves: dict[str, list[Mapping[str, Any]]] = {}
    for point in sorted(accuracy["attacks"], key=lambda p: float(p["eps"])):
        curves.setdefault(f"{point['name'].upper()} {_norm(point['norm'])}", []).append(point)
    return {name: [_start(points[0]), *points] for name, points in curves.items()}


def _start(point: Mapping[str, Any]) -> dict[str, Any]:
    """Where a curve begins: the clean answers to the very samples that were attacked."""
    clean = point["clean"]
    return {"eps_lsb": 0, "device": clean["device"], "device_interval": clean["interval"], "keras": None, "twin": None}


def _norm(norm: str) -> str:
    return {"linf": "L∞", "l2": "L2"}.get(norm, norm)


def _layerwise(choice: Mapping[str, Any] | None) -> str:
    """Left: each layer's share of the Lipschitz bound, its bits above the bar; right: the bound over the bytes spent on
    the way to the choice, where there was a search."""
    if choice is None:
        return ""
    figure = _figure(8.6, 3.4)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _style(left, "", "share of the bound")
    bars = [
        ("attack", choice["bound_attack"], ""),
        *((n["name"], n["bound_share"], n["bits"]) for n in choice["layers"]),
    ]
    names, shares, bits = zip(*bars, strict=True)
    colours = [ATTACK_COLOURS[0], *[COLOURS["device"]] * (len(bars) - 1)]
    drawn = left.bar(range(len(bars)), shares, color=colours, width=0.7)
    left.bar_label(drawn, [f"{b} bit" if b else "" for b in bits], fontsize=7.5, color=MUTED, padding=2)
    left.set_xticks(range(len(bars)), names, rotation=60, ha="right", fontsize=8)
    _style(right, "packed weights (bytes)", "bound")
    steps = choice["steps"] or [choice]
    right.plot([s["bytes"] for s in steps], [s["bound"] for s in steps], "o-", color=COLOURS["twin"], markersize=4)
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


def _samples(trace: Trace, datasets: Sequence[Dataset]) -> str:
    """Clean inputs above their strongest attacked copies, each with what the device answered."""
    rows = [(datasets[0], trace.datasets[0])]
    strongest = _strongest(trace.datasets[1:])
    if strongest:
        rows.append((next(d for d in datasets if d.digest == strongest.dataset), strongest))
    shown = _worth_showing(trace.datasets[0], strongest)
    figure = _figure(1.1 * len(shown), 1.5 * len(rows))
    grid = figure.subplots(len(rows), len(shown), squeeze=False)
    for line, (dataset, answers) in zip(grid, rows, strict=True):
        for axes, number in zip(line, shown, strict=True):
            _sample(axes, _picture(dataset, number), datasets[0].classes, answers, number)
        line[0].set_ylabel(dataset.label.replace(" ", "\n"), fontsize=8, color=MUTED)
    return _png(figure)


def _worth_showing(clean: DatasetTrace, attacked: DatasetTrace | None) -> list[int]:
    """Numbers of up to SAMPLES samples: the first ones, half of them fooled where there are that many."""
    if attacked is None:
        return list(range(min(SAMPLES, len(clean.y))))
    n = min(len(clean.y), len(attacked.y))
    answers = np.argmax(clean.logits[:n], axis=1), np.argmax(attacked.logits[:n], axis=1)
    fooled = (answers[0] == clean.y[:n]) & (answers[1] != clean.y[:n])
    chosen = list(np.flatnonzero(fooled)[: SAMPLES // 2])
    chosen += [number for number in range(n) if number not in chosen][: SAMPLES - len(chosen)]
    return sorted(int(number) for number in chosen)


def _strongest(attacked: Iterable[DatasetTrace]) -> DatasetTrace | None:
    """The attacked set on which the device is right least often; None without any."""
    return min(attacked, key=lambda t: float(np.mean(np.argmax(t.logits, axis=1) == t.y)), default=None)


def _picture(dataset: Dataset, number: int) -> NDArray[np.uint8]:
    """The sample as an image: (h, w) or (h, w, 3), 0 to 255."""
    x = (dataset.splits["test"].x[number].astype(np.int16) + 128).astype(np.uint8)
    return np.asarray(x if x.ndim == 3 and x.shape[2] == 3 else x.reshape(x.shape[0], -1))


def _sample(axes: Axes, image: NDArray[Any], classes: Sequence[str], trace: DatasetTrace, number: int) -> None:
    answer, truth = int(np.argmax(trace.logits[number])), int(trace.y[number])
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_title(classes[answer], fontsize=9, color=COLOURS["device"] if answer == truth else ATTACK_COLOURS[0])


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=144, transparent=True, metadata={"Software": None})
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="samples and what the device answered" src="data:image/png;base64,{data}">'
