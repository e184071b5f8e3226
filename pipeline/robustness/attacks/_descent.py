"""Projected gradient ascent of a loss from random starts, by the settings of a job."""

from __future__ import annotations

import numpy as np

from pipeline.config.job import AttackConfig
from pipeline.robustness.attacks._steps import ascent, columns
from pipeline.robustness.losses import LOSSES
from pipeline.robustness.trial import Trial, alive


def run(trial: Trial, config: AttackConfig) -> None:
    """config.steps steps of config.step_size times the budget from each of config.restarts random starts. Samples leave
    as soon as they are fooled."""
    for restart in range(config.restarts):
        if not len(trial.rows):
            return
        _descend(trial, config, restart)


def _descend(trial: Trial, config: AttackConfig, restart: int) -> None:
    rows = trial.rows
    z, loss = trial.start(rows, restart), LOSSES[config.loss]
    velocity = np.zeros_like(z)
    for _ in range(config.steps):
        gradient = trial.gradient(z, rows, loss).gradient
        rows, z, velocity, gradient = alive(trial, rows, z, velocity, gradient)
        if not len(rows):
            return
        if config.momentum:
            size = np.abs(gradient).reshape(len(rows), -1).mean(axis=1)
            velocity = config.momentum * velocity + gradient / columns(np.maximum(size, 1e-30), gradient)
            gradient = velocity
        z = trial.clip(z + config.step_size * ascent(gradient, trial, rows), rows)
    trial.ask(z, rows)
