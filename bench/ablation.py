"""The ablation: every row of ablation.toml trained with every seed, attacked and stored, one run after the other.

python -m bench.ablation            # or make ablation; goes on where it stopped
python -m bench.results             # docs/RESULTS.md from what is stored
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from bench import robustness
from pipeline.cli import console
from pipeline.config import board
from pipeline.config.job import Epsilon, Job
from pipeline.core import paths, schema, store
from pipeline.core.digest import digest_of
from pipeline.core.schema import Strict
from pipeline.workflow.plan import plan_job
from pipeline.workflow.workflow import Workflow

HERE = Path(__file__).parent
TABLE = HERE / "ablation.toml"
STORED = HERE / "results" / "ablation.json"
RUNS = Path("runs") / "ablation"


class Row(Strict):
    """One recipe: what it changes in the study's base job; bits_of: the row with [layerwise] at whose chosen bits, of
    the same seed, this one is trained, "" for none; against: the row it is compared with, "" for none."""

    name: str
    change: dict[str, Any] = Field(default_factory=dict)
    bits_of: str = ""
    against: str = ""


class Study(Strict):
    """Rows of one base job, each trained with every seed; change: what all rows change in it; eps: PGD's budgets;
    samples: attacked, all by default."""

    name: str
    base: str
    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    eps: Annotated[tuple[Epsilon, ...], Field(min_length=1)]
    samples: Annotated[int, Field(gt=0)] | None = None
    change: dict[str, Any] = Field(default_factory=dict)
    row: tuple[Row, ...]


class Table(Strict):
    """ablation.toml."""

    study: tuple[Study, ...]


@dataclass(frozen=True)
class Run:
    """One training of one row."""

    study: Study
    row: Row
    seed: int

    def job(self, bits: Mapping[str, int] | None = None) -> Job:
        """The base job with the row's changes, its layers at `bits` by name."""
        base = schema.read_toml(paths.RESOURCES / self.study.base)
        own = {"seed": self.seed, "model": {"layer_bits": bits} if bits else {}}
        change = merged(merged(self.study.change, self.row.change), own)
        place = f"{TABLE.name}: study {self.study.name!r}, row {self.row.name!r}"
        return schema.validate(Job, merged(base, change), place)

    @property
    def source(self) -> Run | None:
        """The run that chooses this one's bits."""
        rows = {row.name: row for row in self.study.row}
        return Run(self.study, rows[self.row.bits_of], self.seed) if self.row.bits_of else None

    @property
    def key(self) -> str:
        """Digest of everything a person can change; not of the code: delete a run to repeat it."""
        job = self.job()
        layers = job.layerwise.model_dump() if job.layerwise else None
        chosen = [self.source.key] if self.source else []
        return digest_of(training(job), layers, self.study.eps, self.study.samples, *chosen)


def training(job: Job) -> str:
    """Digest that runs with the same training share."""
    return digest_of(job.seed, job.dataset.identity(), job.model.identity(), job.train.identity())


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """base with the values of change, tables merged key by key."""
    result = dict(base)
    for name, value in change.items():
        both = isinstance(value, Mapping) and isinstance(result.get(name), Mapping)
        result[name] = merged(result[name], value) if both else value
    return result


def load() -> Table:
    """ablation.toml."""
    return schema.load(Table, TABLE)


def stored() -> list[dict[str, Any]]:
    """The runs that are stored, as plain JSON values."""
    return list(json.loads(STORED.read_text(encoding="utf-8"))["runs"]) if STORED.exists() else []


def wanted(table: Table) -> Iterator[Run]:
    """Every run of the table, all rows with the first seed first."""
    for study in table.study:
        for seed in study.seeds:
            yield from (Run(study, row, seed) for row in study.row)


def perform(run: Run, results: Sequence[Mapping[str, Any]], display: Any) -> dict[str, Any]:
    """Trains, lowers, attacks; what is to be stored. results: the runs before it, among them its source."""
    bits = next((r["bits"] for r in results if run.source and r["key"] == run.source.key), None)
    job, began = run.job(bits), time.monotonic()
    plan = plan_job(job, board.load("host"), RUNS).moved_to(RUNS / training(job)[:16])
    made = Workflow(plan, display, ("train", "lower"))
    numbers = robustness.measure(
        *(made.lower(), made.load_data(), run.study.eps, job.seed, run.study.samples),
        progress=display.progress,
    )
    seconds = round(time.monotonic() - began, 1)
    found = {"study": run.study.name, "row": run.row.name, "seed": run.seed, "key": run.key}
    if job.layerwise:
        found["bits"] = {layer["name"]: layer["bits"] for layer in made.lower().metrics["layerwise"]["layers"]}
    return {**found, "epochs": len(made.train().history), **numbers, "seconds": seconds}


def main() -> None:
    """Runs what is missing; every result is stored as soon as it is there."""
    parser = argparse.ArgumentParser(description="Run what is missing of the ablation.")
    parser.add_argument("--study", help="only this one")
    only = parser.parse_args().study
    table = load()
    keys = {run.key for run in wanted(table)}
    results = [result for result in stored() if result["key"] in keys]
    todo = [run for run in wanted(table) if only in (None, run.study.name)]
    with closing(console.display()) as display:
        for number, run in enumerate(todo, start=1):
            if run.key not in {result["key"] for result in results}:
                console.stderr(f"{number} of {len(todo)}: {run.study.name}, {run.row.name}, seed {run.seed}")
                results.append(perform(run, results, display))
                store.write_text(STORED, json.dumps({"runs": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
