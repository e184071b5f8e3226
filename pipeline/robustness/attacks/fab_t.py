"""FAB-T: the fast adaptive boundary attack, targeted (Croce, Hein 2020, arXiv 1907.02044): steps onto the linearized
decision boundary with a class, drawn towards the clean sample, so that it ends at a small change."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.config.job import AttackConfig
from pipeline.core.nouns import FloatArray
from pipeline.robustness.attacks._hyperplane import onto_hyperplane
from pipeline.robustness.attacks._steps import columns
from pipeline.robustness.attacks._targets import likeliest
from pipeline.robustness.losses import Difference
from pipeline.robustness.trial import Rows, Trial

NEEDS = "gradients"
SETTINGS = ("steps", "restarts", "targets", "backward")
NORMS = ("linf", "l2")
ANSWERS = 2
"""For each step: where it starts, and where it ends."""
OVERSHOOT, MOST_BIAS, BACKWARD = 1.05, 0.1, 0.9
"""eta, alpha_max and beta of the paper: beyond the boundary, at most so far towards the clean sample, and how far back
after an adversarial point was found."""


def run(trial: Trial, config: AttackConfig) -> None:
    """config.steps steps towards each of config.targets classes, from the clean sample and then from random points."""
    order = likeliest(trial, config.targets)
    for restart in range(config.restarts):
        for number in range(order.shape[1]):
            rows = trial.rows
            if len(rows):
                z = trial.x[rows].astype(np.float32) if restart == 0 else trial.start(rows, restart, number)
                _walk(trial, rows, z, order[:, number], config.steps)


def _walk(trial: Trial, rows: Rows, z: FloatArray, towards: NDArray[np.int64], steps: int) -> None:
    for _ in range(steps):
        keep = ~trial.fooled[rows]
        rows, z = rows[keep], z[keep]
        if not len(rows):
            return
        z = _step(trial, rows, z, Difference(towards[rows]))
    trial.ask(z, rows)


def _step(trial: Trial, rows: Rows, z: FloatArray, loss: Difference) -> FloatArray:
    clean, norm, q = trial.x[rows].astype(np.float32), trial.budget.norm, trial.budget.quantization
    at = trial.gradient(z, rows, loss, free=True)
    here = onto_hyperplane(z, at.gradient, -at.value, norm, (q.qmin, q.qmax))
    offset = at.value + ((clean - z) * at.gradient).reshape(len(rows), -1).sum(axis=1)
    there = onto_hyperplane(clean, at.gradient, -offset, norm, (q.qmin, q.qmax))
    near, far = _size(here, norm), _size(there, norm)
    bias = columns(np.minimum(near / np.maximum(near + far, 1e-12), MOST_BIAS).astype(np.float32), z)
    moved = np.clip((1 - bias) * (z + OVERSHOOT * here) + bias * (clean + OVERSHOOT * there), q.qmin, q.qmax)
    wrong = trial.ask(moved, rows, free=True).argmax(axis=1) != trial.y[rows]
    return np.where(columns(wrong, moved), clean + BACKWARD * (moved - clean), moved).astype(np.float32)


def _size(change: FloatArray, norm: str) -> NDArray[np.float64]:
    flat = change.reshape(len(change), -1).astype(np.float64)
    return np.asarray(np.abs(flat).max(axis=1) if norm == "linf" else np.linalg.norm(flat, axis=1))
