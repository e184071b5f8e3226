"""docs/COMPARISON.md: the papers' systems compared with ours, from networks of the zoo and from stored trainings.

    python -m bench.comparison          # or make comparison: measures what is new in the zoo, writes the page
    python -m bench.comparison train    # runs the sweep bench/comparison.toml first, which takes hours

Rows without a stored training say so, and name the command that runs it.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import other_inputs, publish, trial_networks
from bench.robustness import SUITE
from bench.sweeps import HERE, Kept
from pipeline import datasets
from pipeline.analysis import figures, outcomes, trials
from pipeline.analysis.trials import Line
from pipeline.cli import console
from pipeline.config.dataset import DatasetConfig
from pipeline.config.job import AttackConfig
from pipeline.config.sweep import Trial
from pipeline.core import paths, shell, store, text
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Dataset, Progress, QModel, Split, no_progress
from pipeline.robustness import suites
from pipeline.stages import attack
from pipeline.workflow import zoo
from pipeline.workflow.plan import load_network

SWEEP = Kept("comparison")
PAPER_LIKE = HERE / "results" / "paper_like.json"
"""Results of `measure`, by digest of the network and version of the attacks."""
PAGE = paths.RESOURCES / "docs" / "COMPARISON.md"
IMAGES = PAGE.parent / "images"
PARETO, REGIMES = IMAGES / "comparison_pareto.svg", IMAGES / "comparison_regimes.svg"
FIRST = 100
"""Test images of the paper-like regime."""
EPS = "1/255"
WHITE_BOX = (
    AttackConfig(name="fgsm", eps=(EPS,), loss="softened"),
    AttackConfig(name="pgd", eps=(EPS,), steps=100, step_size=1 / 3, loss="softened"),
)
BLACK_BOX = (AttackConfig(name="square", eps=(EPS,), queries=100),)
"""Attacks of the paper-like regime: the defaults of the attack toolbox at one grey level."""
STRICT_EPS = "8/255"
HEAD = f"""# Comparison with the papers' systems

Written by `make comparison` from `zoo/*/card.json` and from `bench/results`: `comparison.json`,
`comparison_networks.json`, `paper_like.json`, `other_inputs.json`, `kernels.json`; nothing here is typed by hand. Rows
without numbers are trainings that have not been run yet, with the command that runs them; [RESULTS.md](RESULTS.md) has
the ablations. Accuracies are those of the integer networks, in percent.

Two regimes:

- **strict**: the figures on the networks' cards. Every sample that the network classifies correctly is attacked by the
  gradients of the integer network itself; "worst case" is the accuracy that the named suite leaves, followed by the
  number of samples.
- **paper-like**: the first {FIRST} test images, and the attack toolbox at its defaults: one FGSM step, 100 PGD steps of
  a third of eps without restarts, 100 queries of Square; the loss is the cross-entropy of a tenth of the logits. The
  student code published with the papers divides softmax outputs by 20 instead, and allows a change of 0.3 grey levels
  on inputs from -128 to 127. On integer pixels that changes **nothing**, and such a budget is refused here; {EPS}, one
  whole grey level, is the smallest possible budget, and a larger one than was allowed there.

Limits of the comparison: the full text of the papers was not available to us, so their attacks, budgets and splits are
unknown; their images are grey, ours are in colour except for the papers' own network; of Speech Commands we have only
the official test set, which we divide by speakers; of SVHN an excerpt of 1,083 digits, too few to train with. Ternary
networks are compared with the MLPerf-Tiny network that they start from.
"""


@dataclass(frozen=True)
class System:
    """A row: a network of the zoo."""

    name: str
    network: str


SYSTEMS = (
    System("ResNet-8, 8 bits, from the MLPerf-Tiny reference", "cifar10_resnet8_float"),
    System("ResNet-8, ternary, STQ", "cifar10_resnet8_stq"),
    System("ResNet-8, ternary, STQ + JR", "cifar10_resnet8_jr"),
    System("ResNet-8, ternary, STQ + adversarial training", "cifar10_resnet8_at"),
    System("ResNet-8, ternary between 8-bit ends, STQ + N-FGSM", "cifar10_resnet8_nfgsm"),
    System("ResNet-8, ternary between 8-bit ends, STQ + N-FGSM, then TRADES", "cifar10_resnet8_trades"),
    System("ResNet-8, ternary with a 4-bit first stack, STQ + N-FGSM", "cifar10_resnet8_mixed"),
    System("ResNet-8, ternary between 8-bit ends, STQ + N-FGSM at 1.5/255", "cifar10_resnet8_eps2"),
    System("ResNet-8 of twice the width, ternary, STQ", "cifar10_resnet8w2"),
    System("ResNet-8 of twice the width, ternary, STQ, trained longer", "cifar10_resnet8w2_tuned"),
    System("ResNet-8 of twice the width, ternary, STQ + N-FGSM", "cifar10_resnet8w2_nfgsm"),
    System(
        "ResNet-8 of twice the width, ternary with wider early layers, STQ + N-FGSM",
        "cifar10_resnet8w2_mixed",
    ),
    System(
        "ResNet-8 of twice the width, ternary with wider early layers, STQ + N-FGSM, trained longer",
        "cifar10_resnet8w2_mixed_tuned",
    ),
    System("ResNet-8, bits chosen by LAQ", "cifar10_resnet8_laq"),
    System("DS-CNN, 8 bits", "kws_dscnn_float"),
    System("DS-CNN, ternary, STQ", "kws_dscnn_stq"),
    System("DS-CNN, ternary, STQ + JR", "kws_dscnn"),
)
BASELINE = SYSTEMS[0]
SOUND_BASELINE = next(system for system in SYSTEMS if system.network == "kws_dscnn_float")
PAPERS = "the papers' network"
"""A study of the sweep."""
MARGINS = (
    ("white box, CIFAR-10, over MLPerf-Tiny's ResNet (paper B)", "+8.3"),
    ("black box, Speech Commands, over MLPerf-Tiny's DS-CNN (paper B)", "+79.5"),
    ("black box, SVHN (paper B)", "+6.5"),
)
"""What the abstracts claim, in percent."""


def present(*data: str) -> Iterator[System]:
    """The systems that the zoo has, of these data sets or of all."""
    known = zoo.names()
    for system in SYSTEMS:
        if system.network in known and (not data or card(system.network).dataset in data):
            yield system


def card(name: str) -> zoo.Card:
    """The card of a network. ConfigError: it was measured with other attacks than the table's."""
    found = zoo.card(name)
    if found.attacks != suites.VERSION:
        versions = f"version {found.attacks} of the attacks, the table shows version {suites.VERSION}"
        raise ConfigError(f"zoo/{name}: measured with {versions}", f"python -m bench.zoo measure {name}")
    return found


# Paper-like regime


def measured() -> dict[str, Any]:
    """What is stored of the paper-like regime, by `key`."""
    return dict(json.loads(PAPER_LIKE.read_text(encoding="utf-8"))) if PAPER_LIKE.exists() else {}


def key(name: str) -> str:
    """Of a network in the stored file."""
    return f"{card(name).digest} {suites.VERSION}"


def images() -> dict[str, str]:
    """System by network, of those in the paper-like regime: eps is stated for images."""
    return {system.network: system.name for system in present(other_inputs.IMAGES)}


def measure(progress: Progress) -> None:
    """Attacks the networks that are new or changed; keeps what is still wanted."""
    known = measured()
    found = {
        key(name): known.get(key(name)) or paper_like(load_network(zoo.find(Path(name))), progress) for name in images()
    }
    store.write_text(PAPER_LIKE, json.dumps(found, indent=1) + "\n")


def paper_like(model: QModel, progress: Progress = no_progress) -> dict[str, float]:
    """Accuracies, 0 to 1: clean, under each attack, and of samples that all attacks together leave."""
    return attacked(model, _loaded(DatasetConfig(name=other_inputs.IMAGES)), progress)


def of_trial(trial: Trial, model: QModel) -> dict[str, Any]:
    """What is kept of a trial's network: its costs, and its accuracies in the paper-like regime."""
    return {**trial_networks.costs(model), "paper_like": attacked(model, _loaded(trial.job.dataset))}


def _loaded(config: DatasetConfig) -> Dataset:
    return datasets.load(config, cache=shell.cache_folder() / "data")


def attacked(model: QModel, whole: Dataset, progress: Progress = no_progress) -> dict[str, float]:
    """The same, on the first test samples of this data set."""
    test = whole.splits["test"]
    first = Split(test.x[:FIRST], test.y[:FIRST], test.index[:FIRST])
    clean = Dataset(whole.name, whole.input, whole.classes, {"test": first})
    oracle_for = attack.oracles(model, lambda name: model)
    _, done = attack.attack(oracle_for, clean, (*WHITE_BOX, *BLACK_BOX), 1, progress=progress)
    shares = {one["attacks"][0]["attack"]: one["robust"]["accuracy"] for one in outcomes.summarize(done)}
    fooled = sum(outcome.fooled.astype(int) for outcome in done) > 0
    right = done[0].attacked & ~fooled
    return {"clean": float(done[0].attacked.mean()), **shares, "worst": float(right.mean())}


def box(found: Mapping[str, float], attacks: Sequence[AttackConfig]) -> float:
    """Mean accuracy under these attacks."""
    return statistics.mean(found[config.name] for config in attacks)


# The page


def page() -> str:
    """The whole document."""
    lines = lines_of_sweep()
    parts = (_strict(lines), _paper_like(lines), _margins(lines), _recordings(), _digits(), _folds(lines))
    return "\n".join([HEAD, *(line for part in parts for line in part)]) + "\n"


def lines_of_sweep() -> list[Line]:
    """The kept records of the sweep, row by row."""
    wanted, kept = SWEEP.trials(), {record.key: record for record in SWEEP.records()}
    rows: dict[tuple[str, str], list[str]] = {}
    for trial in wanted:
        rows.setdefault((trial.study, trial.row), []).append(trial.key)
    return [Line(*names, len(keys), tuple(kept[k] for k in keys if k in kept)) for names, keys in rows.items()]


def _strict(lines: Sequence[Line]) -> Iterator[str]:
    yield "## Strict\n"
    head = ("system", "data set", "clean", "PGD-20, smallest eps", "PGD-20, largest eps", "worst case")
    rows = [_of_card(system) for system in SYSTEMS]
    names = {trial.study: trial.job.dataset.name for trial in SWEEP.trials()}
    rows += [_of_line(line, names[line.study]) for line in lines if "fold" not in line.study]
    yield publish.markdown((*head, "KiB", "instructions", "RAM, KiB"), rows)
    board = "an emulated STM32F405, which has 1 MiB of flash"
    yield f"\nKiB of all constant tables; instructions of one inference and RAM on {board}.\n"
    yield f"![Worst case over size and instructions](images/{PARETO.name})\n"


def _of_card(system: System) -> list[str]:
    if system.network not in zoo.names():
        return [system.name, "–", f"not in the zoo yet: `make zoo-add RUN=runs/{system.network}`", *["–"] * 6]
    known = card(system.network)
    costs = _costs(publish.read()["networks"].get(system.network))
    points = [f"{_percent(point.accuracy)} at {point.eps}" for point in (known.robust[0], known.robust[-1])]
    worst = "; ".join(f"{_percent(p.accuracy)} at {p.eps}, {p.suite}, {p.n}" for p in known.worst) or "–"
    sizes = [f"{known.tables_bytes / 1024:.1f}", *costs]
    link = f"[{system.name}](../zoo/{system.network}/README.md)"
    return [link, known.dataset, _percent(known.clean.accuracy), *points, worst, *sizes]


def _of_line(line: Line, dataset: str) -> list[str]:
    if not line.done:
        return [f"{line.study}: {line.row}", dataset, f"not trained yet: `{_command(line.study)}`", *["–"] * 6]
    pgd = [name for name in trials.data([line]) if name.startswith("pgd")]
    worst = next(name for name in trials.data([line]) if name.startswith("quick"))
    points = [f"{trials.spread(line.shares(name))} at {name.partition('=')[2]}" for name in (pgd[0], pgd[-1])]
    size = statistics.mean(record.tables_bytes for record in line.done)
    suite, _, eps = worst.partition(" eps=")
    left = f"{trials.spread(line.shares(worst))} at {eps}, {suite}, {line.done[0].robust[-1].n}"
    cells = [trials.spread(line.shares(trials.CLEAN)), *points, left]
    costs = _costs(trial_networks.stored().get(line.done[0].key))
    return [f"{line.study}: {line.row}", dataset, *cells, _kib(size), *costs]


def _costs(found: Mapping[str, int] | None) -> tuple[str, str]:
    """Instructions and RAM in KiB of a row as in kernels.json."""
    if found is None or "instructions" not in found:
        return ("–" if found is None else "does not fit"), "–"
    return text.count(found["instructions"]), _kib(found["arena_bytes"] + found["ram_extra_bytes"])


def _command(study: str) -> str:
    return f'python -m bench.comparison train --study "{study}"'


def _of_zoo() -> list[tuple[str, Mapping[str, float] | None]]:
    """Systems of the zoo in the paper-like regime, and what is known of them."""
    known = measured()
    return [(name, known.get(key(network))) for network, name in images().items()]


def _of_trials(lines: Sequence[Line]) -> list[tuple[str, Mapping[str, float]]]:
    """The same of the trials whose network was measured."""
    known = trial_networks.stored()
    rows = [(f"{line.study}: {line.row}", known.get(line.done[0].key)) for line in lines if line.done]
    return [(name, found["paper_like"]) for name, found in rows if found is not None]


def _paper_like(lines: Sequence[Line]) -> Iterator[str]:
    yield f"## Paper-like: the first {FIRST} images, eps {EPS}\n"
    names = [config.name for config in (*WHITE_BOX, *BLACK_BOX)]
    head = ("system", "clean", *names, "mean white box", "mean black box", "worst case")
    rows = []
    for name, found in (*_of_zoo(), *_of_trials(lines)):
        if found is None:
            rows.append([name, "not measured yet: `make comparison`", *["–"] * (len(names) + 3)])
            continue
        means = (box(found, WHITE_BOX), box(found, BLACK_BOX))
        rows.append([name, *map(_percent, (found["clean"], *(found[n] for n in names), *means, found["worst"]))])
    yield publish.markdown(head, rows)
    yield "\nWith 100 images a 95 % interval spans up to 20 points: this regime can decide little, and it flatters.\n"
    yield f"![The same networks in both regimes](images/{REGIMES.name})\n"


def _margins(lines: Sequence[Line]) -> Iterator[str]:
    yield "## The papers' margins and ours\n"
    ours = (
        _margin_of_images(lines),
        _margin_of_sound(),
        "no such training: of SVHN an excerpt of 1,083 digits is here",
    )
    rows = [[claim, theirs, found] for (claim, theirs), found in zip(MARGINS, ours, strict=True)]
    yield publish.markdown(("claim", "theirs, %", "ours; attacks, budgets and samples differ from theirs"), rows)
    yield ""


def _margin_of_images(lines: Sequence[Line]) -> str:
    """Of the system with the largest margin over the baseline in the paper-like regime, and of the papers' network."""
    known = {name: box(found, WHITE_BOX) for name, found in (*_of_zoo(), *_of_trials(lines)) if found is not None}
    if (base := known.pop(BASELINE.name, None)) is None or not known:
        return "not measured yet: `make comparison`"
    shown = (max(known, key=lambda name: known[name]), *(name for name in known if name.startswith(PAPERS)))
    return "; ".join(f"{100 * (known[name] - base):+.1f} points at {EPS}, {name}" for name in dict.fromkeys(shown))


def _margin_of_sound() -> str:
    """Of the system with the largest margin over the 8-bit DS-CNN under the black-box attack of the largest budget."""
    eps = other_inputs.SIGMA[-1]
    column = other_inputs.sigma_key("square", eps)
    found = {system.name: one[column]["accuracy"] for system, one in _of_other_inputs(other_inputs.SOUND) if one}
    if (base := found.pop(SOUND_BASELINE.name, None)) is None or not found:
        return "not measured yet: `make comparison`"
    best = max(found, key=lambda name: found[name])
    return f"{100 * (found[best] - base):+.1f} points at {eps} σ, {best}"


def _recordings() -> Iterator[str]:
    yield "## Speech Commands: attacks on recordings and on features\n"
    yield (
        f"{other_inputs.RECORDINGS} test recordings, evenly from all classes. PGD-20 on the sound: the budget is the "
        "signal-to-noise ratio that the attack leaves, so a smaller one allows more. White box (PGD-20) and black box "
        f"(Square, {other_inputs.QUERIES} queries) on the features: the budget is in standard deviations of each "
        "feature. The strict table above attacks the features with one budget for all of them.\n"
    )
    boxes = {"pgd": "white box", "square": "black box"}
    sigma = {
        other_inputs.sigma_key(a, eps): f"{box}, {eps} σ" for a, box in boxes.items() for eps in other_inputs.SIGMA
    }
    columns = ("clean", *other_inputs.SNR, *sigma)
    rows = [
        (system.name, [_percent(found[name]["accuracy"]) for name in columns] if found else [])
        for system, found in _of_other_inputs(other_inputs.SOUND)
    ]
    head = ("system", "clean", *(f"sound, {snr} dB" for snr in other_inputs.SNR), *sigma.values())
    yield _table_of_measured(head, rows)


def _digits() -> Iterator[str]:
    yield "## SVHN: digits as inputs that are no object of CIFAR-10\n"
    found = next(known for _, known in _of_other_inputs(other_inputs.IMAGES) if known)
    yield (
        f"How well the largest logit tells {found['familiar']} test images of CIFAR-10 from {found['unfamiliar']} "
        "digits, the larger one being taken for CIFAR-10: area under the receiver operating characteristic (AUROC), "
        "50 by chance; the baseline of Hendrycks et al. 2022 (arXiv 1911.11132). The logits are the integers that a "
        "board sends, up to 127, on average over the images and over the digits.\n"
    )
    rows = []
    for system, known in _of_other_inputs(other_inputs.IMAGES):
        means = [f"{known[name]:.1f}" for name in ("familiar_logit", "unfamiliar_logit")] if known else []
        rows.append((system.name, [_percent(known["auroc"]), *means] if known else []))
    yield _table_of_measured(("system", "AUROC", "largest logit, CIFAR-10", "largest logit, SVHN"), rows)


def _of_other_inputs(dataset: str) -> Iterator[tuple[System, dict[str, Any]]]:
    """The systems of a data set with what is stored of them, empty where nothing is."""
    known = other_inputs.stored()
    for system in present(dataset):
        yield system, known.get(other_inputs.key(card(system.network)), {})


def _table_of_measured(head: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Rows without cells say how they are measured."""
    empty = ["not measured yet: `make comparison`", *["–"] * (len(head) - 2)]
    return publish.markdown(head, [[name, *(cells or empty)] for name, cells in rows]) + "\n"


def _folds(lines: Sequence[Line]) -> Iterator[str]:
    yield "## Five folds\n"
    yield "Mean and standard deviation over the folds of a cross-validation, as in paper A.\n"
    rows = []
    for line in lines:
        if "fold" in line.study:
            cells = [f"{name}: {trials.spread(line.shares(name))}" for name in trials.data([line])] if line.done else []
            rows.append([line.study, line.row, "; ".join(cells) or f"not trained yet: `{_command(line.study)}`"])
    yield publish.markdown(("data set", "recipe", "accuracy"), rows)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _kib(size: float | None) -> str:
    return "–" if size is None else f"{size / 1024:.1f}"


# The figures


def pareto() -> str:
    """SVG: worst case at STRICT_EPS over instructions and over the bytes of all tables."""
    points = []
    for network, name in images().items():
        known = card(network)
        for worst in _worst(known):
            points.append((name, known.cost.instructions if known.cost else None, worst, known.tables_bytes))
    labels = {"what": f"worst case at {STRICT_EPS}, suite {SUITE} (%)", "size": "constant tables (bytes)"}
    return figures.pareto(points, "instructions", **labels)


def regimes() -> str:
    """SVG: every network's worst case in the paper-like and in the strict regime."""
    known, points = measured(), {}
    for network, name in images().items():
        found = known.get(key(network))
        for worst in _worst(card(network)) if found else ():
            points[name] = (100 * found["worst"], worst)
    return figures.slopes(points, (f"paper-like, {EPS}", f"strict, {STRICT_EPS}, suite {SUITE}"), "worst case (%)")


def _worst(known: zoo.Card) -> list[float]:
    """What SUITE, which every card states, leaves at STRICT_EPS, in percent; empty: not measured."""
    return [100 * point.accuracy for point in known.worst if (point.eps, point.suite) == (STRICT_EPS, SUITE)]


def write() -> None:
    """The page and its figures."""
    for path, drawn in ((PARETO, pareto()), (REGIMES, regimes())):
        store.write_text(path, "\n".join(line.rstrip() for line in drawn.splitlines()) + "\n")
    store.write_text(PAGE, page())


def main() -> int:
    """The command line; the exit code."""
    trains = sys.argv[1:2] == ["train"]
    code = SWEEP.main(sys.argv[2:]) if trains else 0
    with closing(console.display()) as display:
        if trains:
            trial_networks.measure(SWEEP, of_trial, display.progress)
        measure(display.progress)
        other_inputs.measure([card(system.network) for system in present()], display.progress)
    write()
    return code


if __name__ == "__main__":
    raise SystemExit(main())
