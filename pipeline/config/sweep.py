"""A sweep: trainings as differences to a base job, with several seeds or folds, as a person writes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from pipeline.config import board as boards
from pipeline.config import job as jobs
from pipeline.config.dataset import MOST_FOLDS
from pipeline.config.job import Job
from pipeline.core import schema
from pipeline.core.digest import digest_of
from pipeline.core.errors import ConfigError
from pipeline.core.schema import Label, Positive, Strict


def _visible(title: str) -> str:
    if not title.strip():
        raise ValueError("must not be blank")
    return title


Title = Annotated[Label, AfterValidator(_visible)]
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
    training: str
    """Digest that trials with the same training share."""
    source: str = ""
    """Key of the trial that chooses the bits; "": none."""
    against: str = ""
    """The row of the study that its own is compared with; "": none."""

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
    """Digest of what a training is made from, as far as a person writes it, and of the files that it builds on.
    ConfigError: there is no such file."""
    built_on = [digest_of(path.read_bytes()) for path in jobs.earlier(job)]
    # What came later counts only where it is used: records that are kept stay valid.
    calibration = [job.calibration] if job.calibration != Job.model_fields["calibration"].default else []
    written = (job.seed, job.dataset.identity(), job.model.identity(), job.train.identity())
    return digest_of(*written, *calibration, *built_on)


def _lowering(job: Job) -> dict[str, Any] | None:
    """What chooses the bits after training; with the board on which instructions are counted for it. None: nothing."""
    if job.layerwise is None:
        return None
    counted = {"board": job.board, "firmware": job.firmware.model_dump()} if job.layerwise.is_measured else {}
    return {**job.layerwise.identity(), **counted}


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


def trials(sweep: Sweep, place: str, folder: Path = Path()) -> tuple[Trial, ...]:
    """Every training of the sweep, all rows with the first seed and fold first. folder: where the paths of model files
    start that a change names. ConfigError, at `place`, names the row whose job cannot be, and two rows that are the
    same job."""
    found: dict[str, Trial] = {}
    for study in sweep.study:
        for trial in _of_study(study, f"{place}: study {study.name!r}", folder):
            if (other := found.setdefault(trial.key, trial)) is not trial:
                raise ConfigError(
                    f"{place}: {trial.label}: the same job as {other.label}",
                    "remove one of them; board, firmware and budget change nothing of what a sweep measures",
                )
    for trial in {trial.job.board: trial for trial in reversed(found.values())}.values():
        with _at(f"{place}: {trial.label}"):
            boards.load(trial.job.board)
    return tuple(found.values())


@contextmanager
def _at(place: str) -> Iterator[None]:
    """A ConfigError of the block also says where."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}", error.hint) from error


def _of_study(study: Study, place: str, folder: Path) -> Iterator[Trial]:
    file = jobs.find(study.base)
    base = merged(jobs.placed(jobs.read(file), file.parent), _change(study.change, place, folder))
    changes = {row.name: _change(row.change, f"{place}, row {row.name!r}", folder) for row in study.row}
    folds = [f"{number}/{study.folds}" for number in range(1, (study.folds or 0) + 1)] or [""]
    for seed in study.seeds:
        for fold in folds:
            own = {"seed": seed, **({"dataset": {"fold": fold}} if fold else {})}
            tables = {name: merged(merged(base, change), own) for name, change in changes.items()}
            yield from _of_seed(study, tables, seed, fold, place)


def _change(change: dict[str, Any], place: str, folder: Path) -> dict[str, Any]:
    """The change, with its paths. ConfigError: it sets what a sweep sets itself."""
    for key in OWN:
        if key in change:
            raise ConfigError(f"{place}: change.{key}: a sweep sets it itself", "seeds are a list of the study")
    dataset = change.get("dataset")
    if isinstance(dataset, Mapping) and "fold" in dataset:
        raise ConfigError(f"{place}: change.dataset.fold: a sweep sets it itself", "folds = 5 in the study")
    return jobs.placed(change, folder)


def _of_seed(study: Study, tables: Mapping[str, dict[str, Any]], seed: int, fold: str, place: str) -> Iterator[Trial]:
    """A trial for each row of the study, of the table of its job."""
    sources = {row.bits_of for row in study.row}
    found: dict[str, Trial] = {}
    for row in sorted(study.row, key=lambda row: row.name not in sources):  # first those that choose bits
        here = f"{place}, row {row.name!r}"
        source = found[row.bits_of] if row.bits_of else None
        if source is not None and source.job.layerwise is None:
            raise ConfigError(f"{here}: bits_of = {row.bits_of!r}: that row has no [layerwise]", "it must choose bits")
        job = jobs.made(tables[row.name], here)
        with _at(here):
            found[row.name] = _trial(study.name, row, fold, job, source)
    yield from (found[row.name] for row in study.row)


def _trial(study: str, row: Row, fold: str, job: Job, source: Trial | None) -> Trial:
    attacks = [attack.model_dump(exclude_defaults=True) for attack in job.attacks]
    trained, chooser = training(job), source.key if source else ""
    key = digest_of(trained, _lowering(job), attacks, *([chooser] if chooser else []))
    return Trial(study, row.name, job.seed, fold, job, key, digest_of(trained, chooser), chooser, row.against)
