"""Stored networks by name: those that ship with the repository, and a user's own, imported ones, in zoo/ of the current
folder or where TRITMCU_PATH says.

zoo/<name>/ holds a stored QModel; a shipped one also card.json, what is known of it. A card is written by
`python -m bench.zoo add`, never by hand; README.md beside it is `page` of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.analysis.trials import Accuracy
from pipeline.config.job import ORIGINAL, RANDOM, REFERENCE, Job, TrainConfig
from pipeline.core import paths, registry, schema, store, text
from pipeline.core.errors import ConfigError
from pipeline.core.schema import Label, Name, Positive, Strict

CARD = "card.json"
DATASET, IMPORTED = "dataset", "imported"
"""Metrics of an imported network: its data set, as a job writes it, and the file it comes from."""
NAMES = {1: "binary", 2: "ternary", 32: "8-bit after training"}
"""Words for weight bits; N-bit where there is none."""


MEASURED = (
    "Answers of the integer network, bit for bit those of a board; 95 % Wilson intervals. PGD: infinity norm, 20 steps "
    "of eps / 8 from a random start, gradients of the integer network. Every sample that it classifies correctly is "
    "attacked, and every input is on the integer lattice that the board receives."
)
MEASURED_BEFORE = (
    "Answers of the integer network, bit for bit those of a board; 95 % Wilson intervals. PGD: infinity norm, 20 steps "
    "of eps / 8 from a random start, gradients of the Keras model, every input on the lattice the board receives."
)
"""How a card without a worst case was measured."""


class Robust(Accuracy):
    """The same under PGD-20."""

    eps: str
    """Budget in the infinity norm, real input units."""


class Worst(Robust):
    """The same under every attack of a suite (robustness/suites.py): the worst case of each sample."""

    suite: str
    """Its name."""


class Cost(Strict):
    """What one inference costs on a board, emulated."""

    board: Name
    """Whose firmware was run."""
    instructions: Positive
    """Executed, counted by the emulator: exact."""
    cycles: Positive
    """Of its layers, in a model of the Cortex-M4 without wait states of the flash: not silicon."""
    clock_hz: Positive
    """Of the board's core."""

    @property
    def milliseconds(self) -> float:
        """Estimate of the time at the board's clock."""
        return 1e3 * self.cycles / self.clock_hz


class Card(Strict):
    """What is known of one network."""

    name: Name
    """Of its folder in zoo/."""
    description: Label
    """One line for people."""
    dataset: Label
    """What it was trained on."""
    model: Label
    """Module of models/."""
    method: Label
    """Its recipe in words."""
    seed: int
    """Of its training."""
    epochs: int
    """Of its training."""
    parameters: int
    """Of the Keras model."""
    weights_bytes: int
    """Of the packed weights."""
    tables_bytes: int
    """The same with biases and requantization."""
    clean: Accuracy
    """On the whole test split."""
    robust: tuple[Robust, ...]
    """PGD-20 from a random start, infinity norm, gradients of the stored integers."""
    worst: tuple[Worst, ...] = ()
    """What a whole suite of attacks leaves; empty on cards that were measured by the gradients of the Keras model."""
    cost: Cost | None = None
    """Of one inference; None where it was not measured."""
    attacks: int = 1
    """Version of the attacks that it was measured with (robustness/suites.py)."""
    digest: str
    """Of the QModel."""
    retrain: Label
    """The command that trains it again; "" where no ready-made job makes it."""
    note: str = ""
    """What else is to be known."""


def shelf() -> Path:
    """The folder of all shipped entries. ToolError when this installation lacks it."""
    return paths.shipped("zoo")


def names() -> tuple[str, ...]:
    """Sorted names of the networks that have a card."""
    return tuple(sorted(path.parent.name for path in shelf().glob(f"*/{CARD}")))


def card(name: str) -> Card:
    """The card of one network. ConfigError when it is missing or damaged."""
    path = shelf() / name / CARD
    if not path.exists():
        raise ConfigError(*registry.unknown("network of the zoo", name, names()))
    content = schema.parse_json(schema.read_text(path), path)
    return schema.validate(Card, content, str(path))


def find(place: Path) -> Path:
    """The folder of a stored network: `place` itself, or the network of that name, shipped or the user's own, with or
    without "zoo/".

    ConfigError, where a bare name is neither, lists both.
    """
    if place.exists():
        return place
    if place.parent in (Path(), Path("zoo")):
        known = registry.files("zoo")
        if place.name in known:
            return known[place.name].parent
        raise ConfigError(*registry.unknown("stored network", str(place), known))
    return place


def own() -> list[dict[str, Any]]:
    """What is known of the stored networks without a card: name, folder, data set ("" for none) and the file it was
    imported from ("" for none)."""
    found = []
    for name, path in registry.files("zoo").items():
        if not (path.parent / CARD).exists():
            value = store.read_meta(path.parent)["value"]
            known = value.get("metrics", {}) if isinstance(value, dict) else {}
            data = known.get(DATASET)
            origin = {
                DATASET: data.get("name", "") if isinstance(data, dict) else "",
                IMPORTED: known.get(IMPORTED, ""),
            }
            said = {key: text.printable(str(value)) for key, value in origin.items()}
            found.append({"name": name, "folder": str(path.parent), **said})
    return found


def method(job: Job) -> str:
    """The recipe in words.

    >>> from pipeline.config import job as jobs
    >>> method(jobs.load(jobs.find("digits")))
    'ternary, STQ, JR 0.001'
    """
    widths = _widths(job)
    words = [_weights(widths), *(["STQ"] if job.train.stochastic and {1, 2} & set(widths) else [])]
    words += _training(job.train)
    if job.layerwise:
        words.append(f"then {job.layerwise.method} within {job.layerwise.budget:g} x ternary")
    return ", ".join(words)


def _weights(widths: tuple[int, ...]) -> str:
    """Weight bits in words, the general one first: "ternary with 3- and 4-bit layers". Floats are lowered to 8 bits."""
    name, *others = [NAMES.get(widths[0], f"{widths[0]}-bit"), *(f"{min(bits, 8)}-" for bits in widths[1:])]
    if not others:
        return name
    *most, last = others
    return f"{name} with {', '.join(most)}{' and ' if most else ''}{last}bit layers"


def _widths(job: Job) -> tuple[int, ...]:
    """Weight bits as a job names them, the general one first."""
    model = job.model
    own = {model.first_layer_bits, model.last_layer_bits, *model.layer_bits.values()} - {None, model.weight_bits}
    return (model.weight_bits, *sorted(bits for bits in own if bits))


def _training(recipe: TrainConfig) -> list[str]:
    """What the weights began from, regularization, adversarial training and distillation, where there are any."""
    start = {REFERENCE: "the MLPerf-Tiny reference", ORIGINAL: "the original"}.get(recipe.initial, recipe.initial)
    words = [] if recipe.initial == RANDOM else [f"started from {start}"]
    if recipe.regularized:
        strength = recipe.jacobian_lambda if not isinstance(recipe.jacobian_lambda, dict) else "by block"
        per = "" if recipe.jacobian == "logits" else f" per layer ({recipe.jacobian.replace('_', ' ')})"
        words.append(f"JR{per} {strength}")
    if recipe.adversarial:
        words.append(f"{recipe.adversarial.method} training at {recipe.adversarial.eps}")
    if recipe.distill:
        words.append("distilled")
    return words


def page(known: Card) -> str:
    """The card as Markdown."""
    size = f"{text.size(known.weights_bytes)} packed weights, {text.size(known.tables_bytes)} with all tables"
    rows = [("clean", known.clean), *((f"PGD-20, eps {point.eps}", point) for point in known.robust)]
    rows += [(f"worst case of suite {point.suite}, eps {point.eps}", point) for point in known.worst]
    lines = [
        f"# {known.name}",
        "",
        known.description,
        "",
        f"{known.model} on {known.dataset}: {known.method}; seed {known.seed}, {known.epochs} epochs, "
        f"{text.count(known.parameters)} parameters, {size}.",
        "",
        *accuracy_table(rows),
        "",
        MEASURED if known.worst else MEASURED_BEFORE,
        *(["", cost_line(known.cost)] if known.cost else []),
        *(["", known.note] if known.note else []),
        "",
        f"    tritmcu run --model {known.name} --board netduinoplus2",
        f"    {known.retrain or '# its job is in meta.json'}",
    ]
    return "\n".join(lines) + "\n"


def cost_line(cost: Cost) -> str:
    """The cost in a sentence, with what is measured and what is estimated."""
    return (
        f"One inference on {cost.board}: {text.count(cost.instructions)} instructions, executed in the emulator; "
        f"{cost.milliseconds:.1f} ms at {cost.clock_hz / 1e6:g} MHz (model, not silicon)."
    )


def accuracy_table(rows: list[tuple[str, Accuracy]]) -> list[str]:
    """Lines of a Markdown table: data, accuracy, interval, samples."""
    lines = ["| data | accuracy | 95 % interval | samples |", "|---|---|---|---|"]
    for name, point in rows:
        low, high = (text.percent(share) for share in point.interval)
        lines.append(f"| {name} | {text.percent(point.accuracy)} | {low} to {high} | {point.n} |")
    return lines


def listing() -> list[dict[str, Any]]:
    """What `tritmcu zoo --json` prints: every card, then what is known of one's own networks, plain JSON values."""
    return [*(card(name).model_dump(mode="json") for name in names()), *own()]
