"""The trials of a sweep, one after the other here or side by side on a cluster: each is an ordinary run in a folder of
its own, so that it goes on where it was broken off."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pipeline.analysis import outcomes, trials
from pipeline.analysis.statistics import wilson
from pipeline.analysis.trials import Line, Record
from pipeline.codegen import select
from pipeline.config import board as boards
from pipeline.config.sweep import Trial
from pipeline.core import cluster, lock, paths, schema, store
from pipeline.core.cluster import GoneError
from pipeline.core.errors import ConfigError, DeviceError, DivergedError, PipelineError
from pipeline.core.nouns import AttackResult, Dataset, QModel
from pipeline.network import twin
from pipeline.robustness import suites
from pipeline.workflow.display import QUIET, Display
from pipeline.workflow.plan import plan_job
from pipeline.workflow.workflow import Workflow

FILE = "trial.json"
"""In the folder of a trial that has ended: its Record."""
PAGE, NUMBERS = "sweep.html", "sweep.json"
"""In the folder of a sweep: its results so far."""
STAGES = ("train", "lower", "attack")
"""What a trial does."""
MOST_LOSSES = 3
"""Machines that a trial may lose before it counts as failed: it may be what ends them."""
LOST = {"state": "failed", "message": f"{MOST_LOSSES} machines were lost while they did it"}
TRAINING = ("train", "trained")
"""Folders of a run that trials with the same training share; the last says that it is whole."""
HANDED_ON = (paths.DATA_VARIABLE, paths.USER_VARIABLE, "KERAS_BACKEND", "XDG_CACHE_HOME")
"""Environment variables that a trial on another machine gets from here."""


@dataclass(frozen=True)
class Task:
    """What a trial needs to be done anywhere."""

    trial: Trial
    """Which one."""
    folder: Path
    """Of its run, absolute."""
    bits: Mapping[str, int]
    """Of its layers, chosen by its source; empty without one."""
    training: Path | None
    """The folder of an earlier trial with the same training; None: there is none."""


class Pool(Protocol):
    """Who does the tasks."""

    def has_room(self) -> bool:
        """Whether it takes another task now."""
        ...

    def start(self, task: Task) -> None:
        """Takes a task."""
        ...

    def next(self) -> tuple[Trial, Record | None]:
        """Waits for a task that has ended; without its record where its machine was lost."""
        ...


class Here:
    """A pool of this process: one task at a time."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._task: Task | None = None

    def has_room(self) -> bool:
        """Whether it takes another task now."""
        return self._task is None

    def start(self, task: Task) -> None:
        """Takes a task."""
        self._task = task

    def next(self) -> tuple[Trial, Record | None]:
        """Does the task."""
        assert self._task is not None
        task, self._task = self._task, None
        return task.trial, perform(task, self._display)


class There:
    """A pool of the machines of a cluster that share the folder `root`: as many tasks at a time as they have cores for.
    ConfigError, DeviceError: a machine does not see the folder, or none has the cores."""

    def __init__(self, joined: cluster.Cluster, cpus: int, root: Path) -> None:
        self._cluster, self._cpus, self._root = joined, cpus, root
        self._calls: dict[cluster.Call, Trial] = {}
        self._check_cores()

    def has_room(self) -> bool:
        """Whether it takes another task now: the cluster keeps what it has no cores for."""
        return True

    def start(self, task: Task) -> None:
        """Takes a task."""
        handed_on = {name: os.environ[name] for name in HANDED_ON if name in os.environ}
        setting = (self._root / lock.FILE, str(Path.cwd()), {**handed_on, "TF_NUM_INTRAOP_THREADS": str(self._cpus)})
        self._calls[self._cluster.start(perform_there, task, *setting, cpus=self._cpus)] = task.trial

    def next(self) -> tuple[Trial, Record | None]:
        """Waits for a task that has ended; without its record where its machine was lost."""
        call = self._cluster.first(self._calls)
        trial = self._calls.pop(call)
        try:
            found = self._cluster.result(call)
        except GoneError:
            self._check_cores()
            return trial, None
        if isinstance(found, str):
            raise ConfigError(
                f"{found}: does not see {self._root}", "keep it in a folder that all machines see: --run-dir"
            )
        return trial, found

    def _check_cores(self) -> None:
        if (there := self._cluster.count(cluster.CPU)) < self._cpus:
            what = f"cluster {self._cluster.address}: has {there} processor cores, a trial takes {self._cpus}"
            raise DeviceError(what, "ray start, on another machine; or fewer cpus in the sweep")


def perform_there(task: Task, mark: Path, cwd: str, environment: Mapping[str, str]) -> Record | str:
    """`perform` in a process of its own on another machine; its name, where it does not see the folder of `mark`."""
    if not mark.exists() or not Path(cwd).is_dir():
        return socket.gethostname()
    os.environ.update(environment)
    os.chdir(cwd)
    return perform(task, QUIET)


def perform(task: Task, display: Display) -> Record:
    """Trains, lowers and attacks what is not stored yet. What goes wrong in the trial alone is part of the record."""
    began = time.monotonic()
    try:
        found = _measured(task, display)
    except DivergedError as error:
        found = {"state": "diverged", "message": str(error)}
    except PipelineError as error:
        found = {"state": "failed", "message": str(error)}
    return _record(task.trial, seconds=round(time.monotonic() - began, 1), **found)


def _record(trial: Trial, **found: Any) -> Record:
    return Record(study=trial.study, row=trial.row, seed=trial.seed, fold=trial.fold, key=trial.key, **found)


def _measured(task: Task, display: Display) -> dict[str, Any]:
    """Fields of a record."""
    if task.training is not None:
        copy_training(task.training, task.folder)
    job = task.trial.at(task.bits) if task.bits else task.trial.job
    plan = plan_job(job, boards.load("host"), task.folder.parent).moved_to(task.folder)
    work = Workflow(plan, display, STAGES)
    model, data = work.lower(), work.load_data()
    attacked = work.attack() if job.attacks else AttackResult((data,), (), {}, {})
    chosen = model.metrics.get("layerwise")
    return {
        "epochs": len(work.train().history),
        "clean": _clean(model, data),
        "robust": tuple(_attacked(campaign) for campaign in outcomes.summarize(attacked.outcomes)),
        "attacks": suites.VERSION,
        "bits": {layer["name"]: layer["bits"] for layer in chosen["layers"]} if chosen else {},
        **select.table_bytes(model),
    }


def _clean(model: QModel, data: Dataset) -> trials.Accuracy:
    split = data.splits["test"]
    hits = int(np.sum(twin.run(model, split.x).reshape(len(split), -1).argmax(axis=1) == split.y))
    return trials.Accuracy(accuracy=hits / len(split), interval=wilson(hits, len(split)), n=len(split))


def _attacked(campaign: Mapping[str, Any]) -> trials.Attacked:
    robust = campaign["robust"]
    return trials.Attacked(data=campaign["data"], **{**robust, "interval": tuple(robust["interval"])})


def copy_training(source: Path, folder: Path) -> None:
    """Copies a finished training to another run, where that has none: it carries the key of what it was made from."""
    if not (source / TRAINING[-1]).is_dir() or (folder / TRAINING[-1]).exists():
        return
    for name in TRAINING:

        def fill(path: Path, name: str = name) -> None:
            shutil.copytree(source / name, path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("checkpoints"))

        if not (folder / name).exists():
            store.write_folder(folder / name, fill)


class SweepRun:
    """The trials of a sweep in its folder `root`, and the records of those that have ended."""

    def __init__(self, name: str, wanted: Sequence[Trial], root: Path) -> None:
        self.name, self.trials, self.root = name, tuple(wanted), root.resolve()
        self.records = {trial.key: record for trial in wanted if (record := self._stored(trial)) is not None}

    def lines(self) -> list[Line]:
        """What is known, row by row."""
        rows: dict[tuple[str, str], list[Trial]] = {}
        for trial in self.trials:
            rows.setdefault((trial.study, trial.row), []).append(trial)
        return [
            Line(study, row, len(mine), tuple(self.records[t.key] for t in mine if t.key in self.records))
            for (study, row), mine in rows.items()
        ]

    def run(self, pool: Pool, say: Callable[[str], None]) -> None:
        """Does what is missing; writes the results so far after every trial. say: takes a line about each."""
        waiting = [trial for trial in self.trials if trial.key not in self.records]
        losses: Counter[str] = Counter()
        active = 0
        while waiting or active:
            while pool.has_room() and (trial := self._ready(waiting)) is not None:
                waiting.remove(trial)
                if (foregone := self._foregone(trial)) is not None:
                    self._keep(trial, foregone, say)
                else:
                    say(f"begun: {trial.label}")
                    pool.start(self._task(trial))
                    active += 1
            if active:
                trial, record = pool.next()
                active -= 1
                losses[trial.key] += record is None
                if record is None and losses[trial.key] < MOST_LOSSES:
                    say(f"lost: {trial.label}: its machine is gone, it goes on elsewhere")
                    waiting.insert(0, trial)
                else:
                    self._keep(trial, record or _record(trial, **LOST), say)

    def require_all(self) -> None:
        """ConfigError unless every trial has ended in a result of its own, be it that it diverged."""
        failed = [record for record in self.records.values() if record.state == "failed"]
        if failed:
            first = next(trial for trial in self.trials if trial.key == failed[0].key)
            told = f"{len(failed)} of {len(self.trials)} trials failed, first {first.label}: {failed[0].message}"
            raise ConfigError(told, "the same command tries them again, and keeps the others")

    def folder(self, trial: Trial) -> Path:
        """Of the run of a trial."""
        fold = f"-f{trial.fold.replace('/', 'of')}" if trial.fold else ""
        return self.root / _slug(trial.study) / f"{_slug(trial.row)}-s{trial.seed}{fold}-{trial.key[:8]}"

    def _stored(self, trial: Trial) -> Record | None:
        """The record of a trial that need not be done again."""
        path = self.folder(trial) / FILE
        if not path.exists():
            return None
        record = schema.validate(Record, schema.parse_json(schema.read_text(path), path), str(path))
        known = record.key == trial.key and record.state != "failed"
        return record if known and not self._outdated(trial, record) else None

    @staticmethod
    def _outdated(trial: Trial, record: Record) -> bool:
        """Whether other attacks than today's measured it: in one table they would be compared with today's."""
        return bool(trial.job.attacks) and record.state == "done" and record.attacks != suites.VERSION

    def _ready(self, waiting: Sequence[Trial]) -> Trial | None:
        """The first that waits for nothing: the choice of its bits, and the first of the same training, have ended."""
        for trial in waiting:
            leader = self._leader(trial)
            needed = [trial.source] * bool(trial.source) + [leader.key] * (leader is not trial)
            if all(key in self.records for key in needed):
                return trial
        return None

    def _leader(self, trial: Trial) -> Trial:
        """The first trial of the same training."""
        return next(other for other in self.trials if other.training == trial.training)

    def _foregone(self, trial: Trial) -> Record | None:
        """The record of a trial that what it builds on leaves nothing to do; None: it is to be done."""
        if trial.source and (source := self.records[trial.source]).state != "done":
            return _record(trial, state="failed", message=f"the trial that chooses its bits {source.state}")
        leader = self.records.get(self._leader(trial).key)
        if leader is not None and leader.state == "diverged":
            return _record(trial, state="diverged", message=leader.message)
        return None

    def _task(self, trial: Trial) -> Task:
        leader = self._leader(trial)
        bits = self.records[trial.source].bits if trial.source else {}
        return Task(trial, self.folder(trial), bits, self.folder(leader) if leader is not trial else None)

    def _keep(self, trial: Trial, record: Record, say: Callable[[str], None]) -> None:
        store.write_text(self.folder(trial) / FILE, record.model_dump_json(indent=1) + "\n")
        self.records[trial.key] = record
        clean = f": clean {100 * record.clean.accuracy:.1f} %" if record.clean else f": {record.message}"
        say(f"{record.state}: {trial.label}{clean}")
        self.write()

    def write(self) -> None:
        """The results so far, as a page and as JSON."""
        store.write_text(self.root / PAGE, trials.page(self.name, self.lines()))
        store.write_text(self.root / NUMBERS, json.dumps(trials.numbers(self.lines()), indent=1) + "\n")


def _slug(name: str) -> str:
    """The name as part of that of a folder."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:48] or "_"
