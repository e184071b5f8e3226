"""Entries of the zoo from finished runs: every figure is measured here, none is typed in.

    python -m bench.zoo add runs/NAME [--name NAME] [--note TEXT]    # or make zoo-add RUN=runs/NAME
    python -m bench.zoo measure NAME                                 # the accuracies again, of the stored network
    python -m bench.zoo strict NAME [--runs FOLDER]                  # worst case of the suite "strict" (half an hour)
    python -m bench.zoo cost NAME                                    # the cost again, from bench/results/kernels.json

add keeps the history of the training in bench/results/learning.json. make bench-kernels writes the cost of every
network that it runs. Clean accuracy on the whole test split; PGD-20 at the eps of the job's own PGD, else 1, 2, 4 and
8/255.
"""

from __future__ import annotations

import argparse
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pipeline
from bench import learning, publish, robustness
from pipeline import datasets
from pipeline.cli import console
from pipeline.config import job as jobs
from pipeline.config.job import Job
from pipeline.core import paths, schema, shell, store
from pipeline.core.nouns import Dataset, QModel, TrainedModel
from pipeline.workflow import zoo

EPS = ("1/255", "2/255", "4/255", "8/255")
SAMPLES, WHOLE = 1000, 2000
"""Attacked test samples; the whole split where it holds no more than WHOLE."""
STRICT = "strict"
"""Suite that takes long: AutoAttack as published."""
KEPT = ("epochs", "parameters", "validation_accuracy", "job", "layerwise")
"""Metrics of the QModel that stay in the zoo."""


def add(run: Path, name: str = "", note: str = "", display: Any = None) -> zoo.Card:
    """The card of the new entry zoo/<name> made from a run folder. ConfigError: something is not there."""
    qmodel = store.load(run / "qmodel", QModel)
    job = schema.validate(Job, dict(qmodel.metrics["job"]), f"{run}: job")
    trained = store.load(run / "trained", TrainedModel)
    data = whole(job)
    eps = next((attack.eps for attack in job.attacks if attack.name == "pgd"), EPS)
    samples = None if len(data.splits["test"]) <= WHOLE else SAMPLES
    numbers = robustness.measure(qmodel, data, eps, job.seed, samples, display.progress)
    card = schema.validate(
        zoo.Card, {**describe(job, qmodel, trained, name or job.name, note), **numbers}, f"{run}: card"
    )
    write(card, qmodel)
    if trained.history:
        learning.keep(card.name, trained.history)
    return card


def measure(name: str, display: Any = None) -> zoo.Card:
    """The card of an entry with its accuracies measured again: the network alone is enough."""
    card, qmodel = zoo.card(name), store.load(zoo.find(Path(name)), QModel)
    job = schema.validate(Job, dict(qmodel.metrics["job"]), f"zoo/{name}: job")
    data = whole(job)
    samples = None if len(data.splits["test"]) <= WHOLE else SAMPLES
    eps = tuple(point.eps for point in card.robust)
    numbers = robustness.measure(qmodel, data, eps, job.seed, samples, display.progress)
    fresh = schema.validate(zoo.Card, {**card.model_dump(), **numbers}, f"zoo/{name}: card")
    write(fresh, qmodel)
    return fresh


def strict(name: str, runs: Path, display: Any = None) -> zoo.Card:
    """The card of an entry with what the suite STRICT leaves at its largest eps. The attack is kept in `runs`, resumed
    there when it was broken off, and not repeated when `tritmcu attack --suite strict` has done it."""
    card, qmodel = zoo.card(name), store.load(zoo.find(Path(name)), QModel)
    eps = card.robust[-1].eps
    limit = None if card.robust[-1].n == card.clean.n else card.robust[-1].n
    attacks = [{"name": STRICT, "eps": [eps]}]
    (_, attacked) = pipeline.load(name, attacks=attacks, limit=limit, runs=runs, display=display).attack().datasets
    worst = {"suite": STRICT, "eps": eps, **robustness.accuracy(qmodel, attacked)}
    others = [point for point in card.worst if point.suite != STRICT]
    fresh = schema.validate(zoo.Card, {**card.model_dump(), "worst": (*others, worst)}, f"zoo/{name}: card")
    write(fresh, qmodel)
    return fresh


def cost(name: str) -> zoo.Card:
    """The card of an entry with what the stored bench says of its cost."""
    card, qmodel = zoo.card(name), store.load(zoo.find(Path(name)), QModel)
    known = {**card.model_dump(), "cost": publish.cost(publish.read(), name)}
    fresh = schema.validate(zoo.Card, known, f"zoo/{name}: card")
    write(fresh, qmodel)
    return fresh


def whole(job: Job) -> Dataset:
    """The job's data set, all of it."""
    return datasets.load(job.dataset, cache=shell.cache_folder() / "data")


def describe(job: Job, qmodel: QModel, trained: TrainedModel, name: str, note: str) -> dict[str, Any]:
    """The fields of a card that are not measured."""
    return {
        "name": name,
        "description": job.description,
        "dataset": job.dataset.name,
        "model": job.model.name,
        "method": zoo.method(job),
        "seed": job.seed,
        "epochs": len(trained.history) or int(qmodel.metrics["epochs"]),
        "parameters": int(qmodel.metrics["parameters"]),
        "digest": qmodel.digest,
        "retrain": retrain(job),
        "note": note,
    }


def retrain(job: Job) -> str:
    """The command that trains the network again; "" when no ready-made job does."""
    recipe = {"seed", "dataset", "model", "train", "layerwise", "calibration"}
    for path in sorted(paths.shipped("jobs").glob("*.toml")):
        if jobs.load(path).model_dump(include=recipe) == job.model_dump(include=recipe):
            return f"tritmcu run jobs/{path.name}"
    return ""


def write(card: zoo.Card, qmodel: QModel) -> None:
    """Stores the entry: QModel, card.json and README.md."""
    metrics = {key: qmodel.metrics[key] for key in KEPT if key in qmodel.metrics}
    stored = QModel(card.name, qmodel.input, qmodel.classes, qmodel.layers, metrics)

    folder = zoo.shelf() / card.name
    store.save(folder, stored, stored.digest)
    content = card.model_copy(update={"digest": stored.digest})
    store.write_text(folder / zoo.CARD, content.model_dump_json(indent=1) + "\n")
    store.write_text(folder / "README.md", zoo.page(content))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make an entry of the zoo from a finished run, or measure it again.")
    parser.add_argument("action", choices=("add", "measure", "strict", "cost"))
    parser.add_argument("run", type=Path, help="folder of the run, runs/NAME; else the name of the entry")
    parser.add_argument("--name", default="", help="of the entry; by default the job's")
    parser.add_argument("--note", default="", help="a sentence for the card")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the strict attack is kept and resumed")
    arguments = parser.parse_args()
    with closing(console.display()) as display:
        if arguments.action == "add":
            card = add(arguments.run, arguments.name, arguments.note, display)
        elif arguments.action == "measure":
            card = measure(str(arguments.run), display)
        elif arguments.action == "strict":
            card = strict(str(arguments.run), arguments.runs, display)
        else:
            card = cost(str(arguments.run))
    console.stdout(json.dumps(card.model_dump(mode="json"), indent=1))


if __name__ == "__main__":
    main()
