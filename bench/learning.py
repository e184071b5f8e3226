"""How the networks of the zoo learned, and how far they are from the goals: a section and a picture of docs/RESULTS.md.

`python -m bench.zoo add` keeps the history of a training in bench/results/learning.json; the goals are below, whether a
network reaches one is read from its card.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.sweeps import HERE
from pipeline.analysis import figures
from pipeline.core import paths, store
from pipeline.workflow import zoo

HISTORIES = HERE / "results" / "learning.json"
"""History of a training by name of the network."""
PICTURE = paths.RESOURCES / "docs" / "images" / "learning.svg"
PLACES = 4
"""Decimal places kept of a history."""
KIB = 1024
STRICT = "strict"
"""The suite that the goals are for."""
COLUMNS = ("goal", "KiB", "clean, at least", "worst case, at least", "network", "KiB", "clean", "worst case",
           "points missing")  # fmt: skip
WEIGHTS = re.compile(r"\S*[^\s,](?: with .*? layers)?")
"""What a card's method begins with: "ternary", "ternary with 3-, 4- and 8-bit layers"."""
Histories = Mapping[str, Sequence[Mapping[str, float]]]


@dataclass(frozen=True)
class Goal:
    """What the best ternary network of a size is to reach."""

    what: str
    """In words."""
    kib: float | None
    """Most KiB of packed weights and requantization; None: any size."""
    clean: float
    """Least clean accuracy, percent."""
    eps: str = ""
    """Budget of the worst case; "" where none is asked for."""
    worst: float = 0.0
    """Least worst case under the suite "strict", percent."""

    def missing(self, card: zoo.Card) -> float | None:
        """Points that the network lacks, clean and in the worst case together; None: it is no candidate."""
        if self.kib is not None and card.tables_bytes > self.kib * KIB:
            return None
        found = worst(card, self.eps)
        if self.eps and found is None:
            return None
        left = 100 * found.accuracy if found else self.worst
        return max(0.0, self.clean - 100 * card.clean.accuracy) + max(0.0, self.worst - left)


GOALS = (
    Goal("robust, at most 100 KiB", 100, 65, "8/255", 30),
    Goal("robust, at most 24 KiB", 24, 57, "8/255", 25),
    Goal("small perturbations", 100, 75, "2/255", 50),
    Goal("without robustness", None, 85),
)


def keep(name: str, history: Sequence[Mapping[str, float]]) -> None:
    """Stores the history of a training in the place of an earlier one of that name."""
    rounded = [{key: round(value, PLACES) for key, value in epoch.items()} for epoch in history]
    known = {**histories(), name: rounded}
    lines = [f" {json.dumps(key)}: [\n  {_epochs(known[key])}\n ]" for key in sorted(known)]
    store.write_text(HISTORIES, "{\n" + ",\n".join(lines) + "\n}\n")


def _epochs(history: Sequence[Mapping[str, float]]) -> str:
    """JSON of a history, a line an epoch."""
    return ",\n  ".join(json.dumps(dict(epoch)) for epoch in history)


def histories() -> Histories:
    """What is stored."""
    found: Histories = json.loads(HISTORIES.read_text(encoding="utf-8")) if HISTORIES.exists() else {}
    return found


def worst(card: zoo.Card, eps: str) -> zoo.Worst | None:
    """What is left of the network at that eps by the strongest suite that attacked it."""
    points = [point for point in card.worst if point.eps == eps]
    return max(points, key=lambda point: point.suite == STRICT, default=None)


def ternary(card: zoo.Card) -> bool:
    """Whether the network's weights are ternary where its job says nothing else of a layer, and it was trained on
    CIFAR-10."""
    return card.dataset == "cifar10" and card.method.startswith("ternary")


def section(cards: Sequence[zoo.Card]) -> Iterator[str]:
    """Lines of the section."""
    yield "## Goals, and how far training came\n"
    yield (
        "Of ternary networks for CIFAR-10, a few wider layers allowed: the network of the zoo that lacks least. "
        "Percent, 95 % intervals in parentheses; KiB of packed weights, biases and requantization. The goals "
        "are for the suite strict; where only quick was run, at least so much is missing.\n"
    )
    yield f"| {' | '.join(COLUMNS)} |"
    yield "|" + " --- |" * len(COLUMNS)
    for goal in GOALS:
        yield _line(goal, cards)
    yield "\n![Validation accuracy, clean and under attack, over the epochs](images/learning.svg)\n"
    yield (
        "The trainings of these networks, as far as their histories are stored: on the left the clean accuracy on the "
        "validation images, dotted that on the augmented or attacked images of training; on the right the accuracy "
        "under PGD with ten steps, at the eps of the training (`[train.adversarial]` of the job), on as many "
        "validation images as it says (`robust_samples`). MLPerf-Tiny's weights, with which some of them start, have "
        "seen the validation images; the test images they have not.\n"
    )


def _line(goal: Goal, cards: Sequence[zoo.Card]) -> str:
    found = [(missing, card) for card in cards if ternary(card) and (missing := goal.missing(card)) is not None]
    limit = "any" if goal.kib is None else f"{goal.kib:g}"
    asked = [goal.what, limit, f"{goal.clean:g}", f"{goal.worst:g} at {goal.eps}" if goal.eps else "–"]
    if not found:
        return f"| {' | '.join([*asked, *['–'] * 5])} |"
    missing, card = min(found, key=lambda pair: pair[0])
    point = worst(card, goal.eps) if goal.eps else None
    left = f"{point} {point.suite}" if point else "–"
    size = f"{card.tables_bytes / KIB:.1f}"
    named = f"[{card.name}](../zoo/{card.name}/README.md), {WEIGHTS.match(card.method)[0]}"
    cells = [*asked, named, size, str(card.clean), left]
    least = "at least " if point and point.suite != STRICT else ""
    return f"| {' | '.join([*cells, f'{least}{missing:.1f}' if missing or least else 'none'])} |"


def picture() -> str:
    """SVG: the stored trainings, epoch by epoch."""
    return "\n".join(line.rstrip() for line in figures.learning(histories()).splitlines()) + "\n"
