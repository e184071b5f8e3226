"""A sweep: trainings as differences to a base job, with several seeds or folds, as a person writes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from pipeline.config import job as jobs
from pipeline.config.dataset import MOST_FOLDS
from pipeline.config.job import Job
from pipeline.core import schema
from pipeline.core.digest import digest_of
from pipeline.core.errors import ConfigError
from pipeline.core.schema import Label, Positive, Strict

Title = Annotated[Label, Field(min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=1 << 31)]
OWN = ("seed", "name")
"""Keys of a job that a sweep sets itself."""


class Row(Strict):
    """One recipe."""

    name: Title
    """What it is called in the table."""
    change: dict[str, Any] = Field(default_factory=dict)
    """What it changes in the study's job, tables key by key."""
    bits_of: Label = ""
    """The row with [layerwise] at whose chosen bits, of the same seed and fold, this one is trained; "": none."""
    against: Label = ""
    """The row it is compared with; "": none."""


class Study(Strict):
    """Rows of one base job, each trained with every seed on every fold."""

    name: Title
    """What it is called in the table."""
    base: Title
    """The job that all rows change: its file, or its name in a jobs folder."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (1,)
    """Of the job, one training each."""
    folds: Annotated[int, Field(ge=2, le=MOST_FOLDS)] | None = None
    """Cross-validation: one training for each of so many folds of the data set; None: its own splits."""
    change: dict[str, Any] = Field(default_factory=dict)
    """What all rows change in it, tables key by key."""
    row: Annotated[tuple[Row, ...], Field(min_length=1)]
    """The recipes."""

    @model_validator(mode="after")
    def _consistent(self) -> Study:
        names = [row.name for row in self.row]
        _require_distinct("row", names)
        _require_distinct("seed", self.seeds)
        for row in self.row:
            for key, other in (("bits_of", row.bits_of), ("against", row.against)):
                if other and (other == row.name or other not in names):
                    raise ValueError(f"row {row.name!r}: {key} = {other!r}: no other row of this study")
        sources = {row.bits_of for row in self.row} - {""}
        if chained := [row.name for row in self.row if row.name in sources and row.bits_of]:
            raise ValueError(
                f"row {chained[0]!r}: chooses bits for another row, so it cannot use another row's (bits_of)"
            )
        return self


class Sweep(Strict):
    """Studies that are done one after the other."""

    cpus: Positive = 1
    """Processor cores that a trial takes on a cluster."""
    study: Annotated[tuple[Study, ...], Field(min_length=1)]
    """The studies."""

    @model_validator(mode="after")
    def _distinct(self) -> Sweep:
        _require_distinct("study", [study.name for study in self.study])
        return self


def _require_distinct(what: str, names: Any) -> None:
    for number, name in enumerate(names):
        if name in names[:number]:
            raise ValueError(f"two {what}s {name!r}")


@dataclass(frozen=True)
class Trial:
    """One training of one row."""

    study: str
    """Of the row."""
    row: str
    """Its name."""
    seed: int
    """Of the job."""
    fold: str
    """Of the data set, such as "1/5"; "": its own splits."""
    job: Job
    """What is trained, lowered and attacked; where `source` is a trial, at bits that are still to be chosen."""
    key: str
    """Digest of everything a person can change; not of the code."""
    source: str = ""
    """Key of the trial that chooses the bits; "": none."""

    @property
    def training(self) -> str:
        """Digest that trials with the same training share."""
        return digest_of(training(self.job), self.source)

    @property
    def label(self) -> str:
        """In words."""
        return f"{self.study}, {self.row}, seed {self.seed}{f', fold {self.fold}' if self.fold else ''}"

    def at(self, bits: Mapping[str, int]) -> Job:
        """The job at these bits of its layers."""
        model = {**self.job.model.model_dump(), "layer_bits": dict(bits)}
        changed = {**self.job.model_dump(), "model": model}
        return schema.validate(Job, changed, self.label)


def training(job: Job) -> str:
    """Digest of what a training is made from, as far as a person writes it."""
    return digest_of(job.seed, job.dataset.identity(), job.model.identity(), job.train.identity())


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """base with the values of change, tables merged key by key."""
    result = dict(base)
    for name, value in change.items():
        both = isinstance(value, Mapping) and isinstance(result.get(name), Mapping)
        result[name] = merged(result[name], value) if both else value
    return result


def load(path: Path) -> Sweep:
    """The validated sweep. ConfigError: no such file, or what is wrong with it."""
    return schema.load(Sweep, path)


def trials(sweep: Sweep, place: str) -> tuple[Trial, ...]:
    """Every training of the sweep, all rows with the first seed and fold first. ConfigError, at `place`, names the row
    whose job cannot be, and two rows that are the same job."""
    found: dict[str, Trial] = {}
    for study in sweep.study:
        for trial in _of_study(study, f"{place}: study {study.name!r}"):
            if (other := found.setdefault(trial.key, trial)) is not trial:
                raise ConfigError(f"{place}: {trial.label}: the same job as {other.label}", "remove one of them")
    return tuple(found.values())


def _of_study(study: Study, place: str) -> Iterator[Trial]:
    base = merged(schema.read_toml(jobs.find(study.base)), _without_own(study.change, place))
    rows = {row.name: row for row in study.row}
    folds = [f"{number}/{study.folds}" for number in range(1, (study.folds or 0) + 1)] or [""]
    for seed in study.seeds:
        for fold in folds:
            yield from (_trial(study, row, rows, seed, fold, base, place) for row in study.row)


def _without_own(change: dict[str, Any], place: str) -> dict[str, Any]:
    """The change. ConfigError: it sets what a sweep sets itself."""
    for key in OWN:
        if key in change:
            raise ConfigError(f"{place}: change.{key}: a sweep sets it itself", "seeds are a list of the study")
    if "fold" in dict(change.get("dataset") or {}):
        raise ConfigError(f"{place}: change.dataset.fold: a sweep sets it itself", "folds = 5 in the study")
    return change


def _trial(
    study: Study, row: Row, rows: Mapping[str, Row], seed: int, fold: str, base: Mapping[str, Any], place: str
) -> Trial:
    here = f"{place}, row {row.name!r}"
    own = {"seed": seed, **({"dataset": {"fold": fold}} if fold else {})}
    job = schema.validate(Job, merged(merged(base, _without_own(row.change, here)), own), here)
    source = _trial(study, rows[row.bits_of], rows, seed, fold, base, place) if row.bits_of else None
    if source is not None and source.job.layerwise is None:
        raise ConfigError(f"{here}: bits_of = {row.bits_of!r}: that row has no [layerwise]", "it must choose bits")
    layers = job.layerwise.identity() if job.layerwise else None
    attacks = [attack.model_dump(exclude_defaults=True) for attack in job.attacks]
    key = digest_of(training(job), layers, attacks, *([source.key] if source else []))
    return Trial(study.name, row.name, seed, fold, job, key, source.key if source else "")
