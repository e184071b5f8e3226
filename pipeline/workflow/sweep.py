"""The trials of a sweep, one after the other here or side by side on a cluster: each is an ordinary run in a folder of
its own, so that it goes on where it was broken off."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from pipeline.analysis import outcomes, trials
from pipeline.analysis.statistics import wilson
from pipeline.analysis.trials import Line, Record
from pipeline.codegen import select
from pipeline.config import board as boards
from pipeline.config.job import Job
from pipeline.config.sweep import Trial
from pipeline.core import cluster, lock, paths, schema, store, text
from pipeline.core.cluster import GoneError
from pipeline.core.errors import (
    BudgetError,
    ConfigError,
    DeviceError,
    DivergedError,
    FitError,
    PipelineError,
    UnsupportedError,
)
from pipeline.core.nouns import AttackResult, QModel, Split
from pipeline.network import twin
from pipeline.robustness import suites
from pipeline.stages import render
from pipeline.workflow import limits
from pipeline.workflow.display import QUIET, Display
from pipeline.workflow.plan import plan_job
from pipeline.workflow.workflow import Workflow

FILE = "trial.json"
"""In the folder of a trial that has ended: its Record."""
FAILURE = "failure.txt"
"""In the folder of a trial that an error ended which nobody foresaw: Python's traceback."""
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

    TAKEN: ClassVar[str]
    """What is said of a task that it takes."""

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

    TAKEN: ClassVar[str] = "begun"
    """What is said of a task that it takes."""

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

    TAKEN: ClassVar[str] = "queued"
    """What is said of a task that it takes: it begins when cores are free."""

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
    """Trains, lowers and attacks what is not stored yet. What goes wrong in the trial is part of the record: the others
    go on."""
    began = time.monotonic()
    try:
        found = _measured(task, display)
    except DivergedError as error:
        found = {"state": "diverged", "message": str(error)}
    except PipelineError as error:
        found = {"state": "failed", "message": f"{error}; {error.hint}" if error.hint else str(error)}
    except OSError as error:
        found = {"state": "failed", "message": f"{error.filename or 'writing'}: {error.strerror or error}"}
    except Exception as error:
        store.write_text(task.folder / FAILURE, traceback.format_exc())
        found = {"state": "failed", "message": f"{type(error).__name__}: {error} ({task.folder / FAILURE})"}
    return _record(task.trial, seconds=round(time.monotonic() - began, 1), **found)


def _record(trial: Trial, message: str = "", **found: Any) -> Record:
    found["message"] = text.one_line(message)
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
        "validation": _clean(model, data.splits.get("validation")),
        "clean": _clean(model, data.splits["test"]),
        "robust": tuple(_attacked(campaign) for campaign in outcomes.summarize(attacked.outcomes)),
        "attacks": suites.VERSION,
        "bits": {layer["name"]: layer["bits"] for layer in chosen["layers"]} if chosen else {},
        "over": _over(model, job),
        **select.table_bytes(model),
    }


def _over(model: QModel, job: Job) -> str:
    """Why the job's board or budget cannot take the network; "": nothing is known against it."""
    board = boards.load(job.board)
    kernels = select.DEFAULT.kernels if select.links(job.firmware.kernels) else job.firmware.kernels
    try:
        sources = render.render(model, board, kernels, job.firmware)
        limits.require_affordable(model, sources, plan_job(job, board, Path()))
    except (FitError, BudgetError, UnsupportedError) as error:
        return text.one_line(str(error))
    return ""


def _clean(model: QModel, split: Split | None) -> trials.Accuracy | None:
    """Accuracy on a split, where there is one."""
    if split is None or not len(split):
        return None
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
    """The trials of a sweep in its folder `root`, and the records of those that have ended. study: the only one that
    is worked on; "": all."""

    def __init__(self, name: str, wanted: Sequence[Trial], root: Path, study: str = "") -> None:
        self.name, self.trials, self.root = name, tuple(wanted), root.resolve()
        self.chosen = tuple(trial for trial in wanted if study in ("", trial.study))
        self.records = {trial.key: record for trial in wanted if (record := self._stored(trial)) is not None}
        self._leaders: dict[str, Trial] = {}
        for trial in self.chosen:
            self._leaders.setdefault(trial.training, trial)

    def lines(self, of: Sequence[Trial] | None = None) -> list[Line]:
        """What is known, row by row; of: of these trials, by default those that are worked on."""
        rows: dict[tuple[str, str], list[Trial]] = {}
        for trial in self.chosen if of is None else of:
            rows.setdefault((trial.study, trial.row), []).append(trial)
        return [self._line(study, row, mine) for (study, row), mine in rows.items()]

    def _line(self, study: str, row: str, mine: Sequence[Trial]) -> Line:
        ended = [trial for trial in mine if trial.key in self.records]
        folders = tuple(self.folder(trial).relative_to(self.root).as_posix() for trial in ended)
        return Line(study, row, len(mine), tuple(self.records[t.key] for t in ended), mine[0].against, folders)

    def run(self, pool: Pool, say: Callable[[str], None]) -> None:
        """Does what is missing; writes the results so far after every trial. say: takes a line about each."""
        waiting = [trial for trial in self.chosen if trial.key not in self.records]
        clock = _Clock(len(self.chosen), len(self.chosen) - len(waiting))
        losses: Counter[str] = Counter()
        active = 0
        while waiting or active:
            while pool.has_room() and (trial := self._ready(waiting)) is not None:
                waiting.remove(trial)
                if (foregone := self._foregone(trial)) is not None:
                    say(self._kept(trial, foregone) + clock.told(worked=False))
                else:
                    say(f"{pool.TAKEN}: {trial.label}")
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
                    say(self._kept(trial, record or _record(trial, **LOST)) + clock.told(worked=True))

    def require_all(self) -> None:
        """ConfigError unless every trial has ended in a result of its own, be it that it diverged."""
        ended = [(trial, self.records[trial.key]) for trial in self.chosen if trial.key in self.records]
        failed = [(trial, record) for trial, record in ended if record.state == "failed"]
        if failed:
            trial, record = failed[0]
            told = f"{len(failed)} of {len(self.chosen)} trials failed, first {trial.label}: {record.message}"
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
        try:
            record = schema.validate(Record, schema.parse_json(schema.read_text(path), path), str(path))
        except ConfigError as error:
            raise ConfigError(str(error), "delete it: the trial is then measured again, and not trained") from error
        known = record.key == trial.key and record.state != "failed"
        return record if known and not self._outdated(trial, record) else None

    @staticmethod
    def _outdated(trial: Trial, record: Record) -> bool:
        """Whether other attacks than today's measured it: in one table they would be compared with today's."""
        return bool(trial.job.attacks) and record.state == "done" and record.attacks != suites.VERSION

    def _ready(self, waiting: Sequence[Trial]) -> Trial | None:
        """The first that waits for nothing: the choice of its bits, and the first of the same training, have ended."""
        for trial in waiting:
            leader = self._leaders[trial.training]
            needed = [trial.source] * bool(trial.source) + [leader.key] * (leader is not trial)
            if all(key in self.records for key in needed):
                return trial
        return None

    def _foregone(self, trial: Trial) -> Record | None:
        """The record of a trial that what it builds on leaves nothing to do; None: it is to be done."""
        if trial.source and (source := self.records[trial.source]).state != "done":
            return _record(trial, state="failed", message=f"the trial that chooses its bits {source.state}")
        leader = self.records.get(self._leaders[trial.training].key)
        if leader is not None and leader.state == "diverged":
            return _record(trial, state="diverged", message=leader.message)
        return None

    def _task(self, trial: Trial) -> Task:
        leader = self._leaders[trial.training]
        bits = self.records[trial.source].bits if trial.source else {}
        return Task(trial, self.folder(trial), bits, self.folder(leader) if leader is not trial else None)

    def _kept(self, trial: Trial, record: Record) -> str:
        """What is said of a trial that has ended, once its record and the results so far are stored."""
        store.write_text(self.folder(trial) / FILE, record.model_dump_json(indent=1) + "\n")
        self.records[trial.key] = record
        self.write()
        clean = f"clean {100 * record.clean.accuracy:.1f} %" if record.clean else record.message
        return f"{record.state}: {trial.label}: {'; '.join(filter(None, (clean, record.over)))}"

    def write(self) -> None:
        """The results so far of all studies, as a page and as JSON."""
        lines = self.lines(self.trials)
        store.write_text(self.root / PAGE, trials.page(self.name, lines))
        store.write_text(self.root / NUMBERS, json.dumps(trials.numbers(lines), indent=1) + "\n")


class _Clock:
    """How far a sweep is. wanted, ended: how many trials it has, and how many had ended before."""

    def __init__(self, wanted: int, ended: int) -> None:
        self._began, self._wanted, self._ended, self._worked = time.monotonic(), wanted, ended, 0

    def told(self, *, worked: bool) -> str:
        """After another trial: "; 4 of 30, about 3 h 10 min left". worked: whether it took time."""
        self._ended += 1
        self._worked += worked
        left = self._wanted - self._ended
        if not (left and self._worked):
            return f"; {self._ended} of {self._wanted}"
        seconds = (time.monotonic() - self._began) * left / self._worked
        return f"; {self._ended} of {self._wanted}, about {text.duration(seconds)} left"


def _slug(name: str) -> str:
    """The name as part of that of a folder."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:48] or "_"
