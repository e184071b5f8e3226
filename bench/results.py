"""docs/RESULTS.md from the cards of the zoo and the stored ablation: `python -m bench.results`, or make results."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench import learning
from bench.ablation import ABLATION
from pipeline.analysis import trials
from pipeline.analysis.trials import Accuracy, Record
from pipeline.config import sweep
from pipeline.config.sweep import Row, Study, Sweep
from pipeline.core import paths, store, text
from pipeline.robustness import suites
from pipeline.workflow import zoo

PAGE = paths.RESOURCES / "docs" / "RESULTS.md"
COST = ABLATION.stored.with_name("train.json")
"""Written by `make bench-train`."""
Z = 1.959964
"""95 % of a normal distribution lies within this many standard deviations of its mean."""
MINUS = "\u2212"
HEAD = """# Results

Written by `make results` from `zoo/*/card.json` and, in `bench/results`, `ablation.json`, `learning.json` and
`train.json`; nothing here is typed by hand. `make zoo-add RUN=runs/NAME` measures a network for the zoo, `make
ablation` trains what is missing from `bench/ablation.toml`, `make bench-train` measures what a training step costs.

Every accuracy is that of the integer network, bit for bit what a board answers. PGD: infinity norm, 20 steps of eps / 8
from a random start, every input on the integer lattice that the board receives. In rows with a worst case, gradients
are those of the integer network, every sample that it classifies correctly was attacked, and the worst case is the
accuracy that the named suite leaves. The ablations were attacked in the same way unless one says otherwise.
"""
OUTDATED = (
    "Measured before the attacks had this version, with the gradients of the Keras model, and skipping samples that "
    "Keras itself misclassifies: the robust accuracies are up to a few points too high.\n"
)
"""Said of a study until its trials are done again."""


@dataclass(frozen=True)
class Share:
    """Right answers, pooled over seeds."""

    hits: int
    n: int

    @property
    def value(self) -> float:
        return self.hits / self.n


@dataclass(frozen=True)
class Difference:
    """Of two shares, in percentage points, with its 95 % interval (normal approximation, samples as if independent)."""

    points: float
    spread: float

    @property
    def sign(self) -> int:
        """1 or -1 where the interval does not hold zero, else 0."""
        return 0 if abs(self.points) <= self.spread else int(math.copysign(1, self.points))

    def __str__(self) -> str:
        words = f"{self.points:+.1f} ± {self.spread:.1f}".replace("-", MINUS)
        return f"**{words}**" if self.sign else words


def difference(new: Share, old: Share) -> Difference:
    """new - old."""
    variance = sum(s.value * (1 - s.value) / s.n for s in (new, old))
    return Difference(100 * (new.value - old.value), 100 * Z * math.sqrt(variance))


@dataclass(frozen=True)
class Measured:
    """The trials of one row; columns: "clean" and attacks, as trials.measured takes them."""

    row: Row
    runs: Sequence[Record]

    def accuracies(self, column: str) -> list[Accuracy]:
        """Of every trial that measured it."""
        return [found for run in self.runs if (found := trials.measured(run, column)) is not None]

    def pooled(self, column: str) -> Share:
        """Over all trials."""
        points = self.accuracies(column)
        return Share(round(sum(p.accuracy * p.n for p in points)), sum(p.n for p in points))

    def cell(self, column: str) -> str:
        """Mean over the trials, and standard deviation where there are several."""
        return trials.spread([point.accuracy for point in self.accuracies(column)])


def page() -> str:
    """The whole document."""
    lines = [HEAD, *_zoo()]
    stored = ABLATION.records()
    for study in ABLATION.load().study:
        measured = _measured(study, stored)
        if measured:
            lines += [*_study(study, measured), *_verdicts(study, measured)]
    lines += _cost()
    return "\n".join(lines) + "\n"


def _measured(study: Study, stored: Sequence[Record]) -> dict[str, Measured]:
    """What is stored of a study's rows as they are written now, by name."""
    keys = {trial.key for trial in sweep.trials(Sweep(study=(study,)), ABLATION.table.name)}
    found = {}
    for row in study.row:
        mine = (study.name, row.name)
        runs = [run for run in stored if run.key in keys and (run.study, run.row) == mine]
        if runs:
            found[row.name] = Measured(row, runs)
    return found


def _zoo() -> Iterator[str]:
    yield "## Zoo\n"
    cards = [zoo.card(name) for name in zoo.names()]
    for columns in dict.fromkeys(tuple(point.eps for point in card.robust) for card in cards):
        pgd = (f"PGD-20 {eps}" for eps in columns)
        yield from _table(["network", "data set", "method", "bytes", "clean", *pgd, "worst case"])
        for card in cards:
            if tuple(point.eps for point in card.robust) == columns:
                link = f"[{card.name}](../zoo/{card.name}/README.md)"
                points = map(str, (card.clean, *card.robust))
                yield _line([link, card.dataset, card.method, text.count(card.tables_bytes), *points, _worst(card)])
        yield ""
    yield "Percent, 95 % Wilson intervals in parentheses; bytes: packed weights, biases and requantization constants.\n"
    yield from _inference(cards)
    yield from learning.section(cards)


def _inference(cards: Iterable[zoo.Card]) -> Iterator[str]:
    """What one inference of each network costs."""
    yield "### What an inference costs\n"
    yield (
        "Instructions are counted exactly in the board's emulator. Cycles come from a model of the Cortex-M4 without "
        "flash wait states, over all layers; the time is theirs at the board's clock: a model, not silicon. Measured "
        "by `make bench-kernels`.\n"
    )
    yield from _table(["network", "board", "instructions", "cycles (model)", "clock", "time (model, not silicon)"])
    for card in cards:
        if (cost := card.cost) is not None:
            figures = (text.count(cost.instructions), text.count(cost.cycles))
            yield _line(
                [card.name, cost.board, *figures, f"{cost.clock_hz / 1e6:g} MHz", f"{cost.milliseconds:.1f} ms"]
            )
    yield ""


def _worst(card: zoo.Card) -> str:
    return "; ".join(f"{point} {point.suite}, {point.eps}" for point in card.worst) or "–"


def _columns(measured: dict[str, Measured]) -> list[str]:
    """The data that every run of these rows measured, "clean" first."""
    runs = [run for row in measured.values() for run in row.runs]
    known = dict.fromkeys((trials.CLEAN, *(point.data for run in runs for point in run.robust)))
    return [name for name in known if all(trials.measured(run, name) for run in runs)]


def _heading(column: str) -> str:
    """The data as a heading: PGD with its 20 steps, a suite as the worst case that it is."""
    return re.sub(r"^quick eps=", "worst case (quick) ", re.sub(r"^pgd eps=", "PGD-20 ", column))


def _study(study: Study, measured: dict[str, Measured]) -> Iterator[str]:
    columns = _columns(measured)
    first = next(iter(measured.values())).runs[0]
    seeds = sorted({run.seed for row in measured.values() for run in row.runs})
    samples = [first.clean.n if first.clean else 0, first.robust[0].n]
    missing = f" of {', '.join(map(str, study.seeds))}" if len(seeds) < len(study.seeds) else ""
    yield f"## Ablation: {study.name}\n"
    yield (
        f"`{study.base}` with one change at a time, seeds {', '.join(map(str, seeds))}{missing}; "
        f"{samples[0]} clean and {samples[1]} attacked test samples each. Percent, mean and "
        "standard deviation over seeds; bytes of packed weights.\n"
    )
    if any(run.attacks != suites.VERSION for row in measured.values() for run in row.runs):
        yield OUTDATED
    yield from _table(["recipe", "seeds", "clean", *map(_heading, columns[1:]), "bytes"])
    for name, row in measured.items():
        size = text.count(statistics.mean(run.weights_bytes for run in row.runs))
        yield _line([name, str(len(row.runs)), *map(row.cell, columns), size])
    yield ""


def _verdicts(study: Study, measured: dict[str, Measured]) -> Iterator[str]:
    """Every row against the one it names, then what helped and what did not."""
    columns = _columns(measured)
    pairs = [(row, measured[row.row.against]) for row in measured.values() if row.row.against in measured]
    found = {
        row.row.name: [difference(row.pooled(c), other.pooled(c)) for c in columns] for row, other in pairs
    }  # fmt: skip
    yield f"### {study.name}: what each change did\n"
    yield (
        "Percentage points, all seeds together, with 95 % intervals; bold where the interval does not contain zero. "
        "Seeds share their test samples, so the intervals are somewhat too narrow.\n"
    )
    yield from _table(["recipe", "against", *map(_heading, columns)])
    for row, other in pairs:
        yield _line([row.row.name, other.row.name, *map(str, found[row.row.name])])
    yield ""
    for title, chosen in LISTS.items():
        lines = [_change(row, other, columns, found) for row, other in pairs if chosen(_signs(row, other, found))]
        if lines:
            yield from (f"### {study.name}: {title}\n", *lines, "")


def _signs(row: Measured, other: Measured, found: dict[str, list[Difference]]) -> frozenset[int | str]:
    """Signs of the differences, and "smaller" where the weights take fewer bytes."""
    smaller = row.runs[0].weights_bytes < other.runs[0].weights_bytes
    return frozenset([*(d.sign for d in found[row.row.name]), *(["smaller"] if smaller else [])])


LISTS: dict[str, Callable[[frozenset[int | str]], bool]] = {
    "what helped": lambda signs: 1 in signs and -1 not in signs,
    "what helped in one column and hurt in another": lambda signs: {1, -1} <= signs,
    "what made it smaller, and its price": lambda signs: "smaller" in signs and 1 not in signs,
    "what did not help": lambda signs: not {1, "smaller"} & signs,
}
"""Title -> whether a change belongs there, by `_signs`."""


def _change(row: Measured, other: Measured, columns: Sequence[str], found: dict[str, list[Difference]]) -> str:
    counting = [f"{_heading(c)} {d}" for c, d in zip(columns, found[row.row.name], strict=True) if d.sign]
    return f"- {row.row.name}, against {other.row.name}: {', '.join(counting) or 'no significant difference'}"


def _cost() -> Iterator[str]:
    found = json.loads(COST.read_text(encoding="utf-8"))
    parts = found["shares"]
    yield "## What a training step costs\n"
    yield (
        f"ResNet-8, batch {found['batch']}, {found['backend']} on {found['threads']} processor cores. Ratios to a "
        "plain step of a ternary network; processor time excludes waiting for other work of the machine. Of an "
        f"epoch of plain steps on CIFAR-10, making batches takes {100 * parts['input']:.1f} %, validation "
        f"{100 * parts['validation']:.1f} %.\n"
    )
    yield from _table(["step", "steps/s", "ratio", "ratio of processor time"])
    for name, step in found["steps"].items():
        yield _line([name, f"{step['per_s']:.2f}", f"{step['ratio']:.2f}", f"{step['processor_ratio']:.2f}"])
    yield from _cost_by_width(found)


def _cost_by_width(found: Mapping[str, Any]) -> Iterator[str]:
    parts = [name for name in found if name.startswith("width ")]
    loads = " and ".join(str(load) for load in dict.fromkeys(found["load_average"][name] for name in parts))
    yield (
        "\nThe same beside float networks: ms of processor time, and ratios to the float step of the same kind. "
        '"Float" rounds activations to 8 bits, as every network here; "Keras alone" is the network of Keras\' own '
        "layers without any rounding, in the step that `fit` takes with each batch. Measured at a load average of "
        f"{loads}.\n"
    )
    yield from _table(["step", *(f"{part}, {what}" for part in parts for what in ("ms", "ratio"))])
    for name in found[parts[0]]:
        steps = [found[part][name] for part in parts]
        yield _line([name, *(cell for step in steps for cell in (f"{step['ms']}", f"{step['ratio']:.2f}"))])


def _table(columns: Iterable[str]) -> Iterator[str]:
    names = list(columns)
    yield _line(names)
    yield _line(["---"] * len(names))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    store.write_text(PAGE, page())
    store.write_text(learning.PICTURE, learning.picture())
