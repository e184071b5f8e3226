"""Sweeps of trials that cost nothing: each works a moment in its folder, and says where."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from pipeline.analysis.trials import Record
from pipeline.robustness import suites
from pipeline.workflow.sweep import Task

TABLE = """
[[study]]
name = "digits"
base = "digits"
seeds = [1, 2]
change = { train = { epochs = 1 } }

[[study.row]]
name = "plain"

[[study.row]]
name = "binary"
change = { model = { weight_bits = 1 } }
"""
STOP = "stop"
"""File in a sweep's folder; as long as it is there, trials that are begun do not end."""


def record(task: Task, **found: object) -> Record:
    """Of the task's trial, as if it had been done."""
    trial = task.trial
    clean = {"accuracy": 0.5 + trial.seed / 10, "interval": (0.0, 1.0), "n": 100}
    robust = ({"data": "pgd eps=8/255", **clean},)
    known = {"study": trial.study, "row": trial.row, "seed": trial.seed, "fold": trial.fold, "key": trial.key}
    measured = {"clean": clean, "robust": robust, "attacks": suites.VERSION, "weights_bytes": 100}
    return Record.model_validate({**known, **measured, **found})


def wait_there(task: Task, mark: Path, cwd: str, environment: Mapping[str, str]) -> Record:
    """Stands for sweep.perform_there on a cluster: notes its process in the trial's folder, and ends when it may."""
    task.folder.mkdir(parents=True, exist_ok=True)
    with (task.folder / "processes").open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")
    while (mark.parent / STOP).exists():
        time.sleep(0.05)
    return record(task)
