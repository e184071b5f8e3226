"""Auto-PGD (Croce, Hein 2020, arXiv 2003.01690, algorithm 1): PGD with momentum that halves the step size of a sample
where its loss stops rising, and returns to the best point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import FloatArray
from pipeline.robustness.attacks._steps import ascent, columns
from pipeline.robustness.losses import Loss
from pipeline.robustness.trial import Rows, Trial

MOMENTUM = 0.75
FIRST_WINDOW, LEAST_WINDOW, WINDOW_STEP = 0.22, 0.06, 0.03
"""Shares of all steps: the first checkpoint, the smallest distance of two, and by how much it shrinks."""
PROGRESS = 0.75
"""Share of a window's steps that must have raised the loss for the step size to stay."""


@dataclass
class _State:
    """A row per sample that is still attacked."""

    rows: Rows
    z: FloatArray
    before: FloatArray
    gradient: FloatArray
    loss: FloatArray
    best: FloatArray
    best_gradient: FloatArray
    best_loss: FloatArray
    step: FloatArray
    """In units of the budget."""
    rises: NDArray[np.int64]
    """Steps of this window that raised the loss."""
    checked_loss: FloatArray
    """best_loss at the last checkpoint."""
    checked_step: FloatArray
    """step at the last checkpoint."""

    def drop(self, keep: NDArray[np.bool_]) -> None:
        if not keep.all():
            for field in fields(self):
                setattr(self, field.name, getattr(self, field.name)[keep])


def run(trial: Trial, make_loss: Callable[[Rows], Loss], steps: int, *stream: int) -> None:
    """Attacks the samples that are left. make_loss(rows): the loss of these samples; stream: of the random start."""
    rows = trial.rows
    if len(rows) == 0:
        return
    state = _begin(trial, rows, trial.start(rows, *stream), make_loss)
    window, since = max(int(FIRST_WINDOW * steps), 1), 0
    for number in range(steps):
        state.drop(~trial.fooled[state.rows])
        if not len(state.rows):
            return
        _step(trial, state, make_loss, MOMENTUM if number else 1.0)
        since += 1
        if since == window:
            _checkpoint(state, window)
            window, since = max(window - max(int(WINDOW_STEP * steps), 1), max(int(LEAST_WINDOW * steps), 1)), 0


def _begin(trial: Trial, rows: Rows, z: FloatArray, make_loss: Callable[[Rows], Loss]) -> _State:
    found = trial.gradient(z, rows, make_loss(rows))
    count = len(rows)
    return _State(
        rows=rows,
        z=z,
        before=z,
        gradient=found.gradient,
        loss=found.value,
        best=z,
        best_gradient=found.gradient,
        best_loss=found.value,
        step=np.full(count, 2.0, np.float32),
        rises=np.zeros(count, np.int64),
        checked_loss=found.value,
        checked_step=np.full(count, np.inf, np.float32),
    )


def _step(trial: Trial, s: _State, make_loss: Callable[[Rows], Loss], momentum: float) -> None:
    towards = trial.clip(s.z + columns(s.step, s.z) * ascent(s.gradient, trial, s.rows), s.rows)
    moved = trial.clip(s.z + momentum * (towards - s.z) + (1 - momentum) * (s.z - s.before), s.rows)
    found = trial.gradient(moved, s.rows, make_loss(s.rows))
    s.before, s.z, s.gradient = s.z, moved, found.gradient
    s.rises = s.rises + (found.value > s.loss)
    s.loss = found.value
    better = found.value > s.best_loss
    s.best = np.where(columns(better, moved), moved, s.best)
    s.best_gradient = np.where(columns(better, moved), found.gradient, s.best_gradient)
    s.best_loss = np.maximum(s.best_loss, found.value)


def _checkpoint(s: _State, window: int) -> None:
    """Halves the step where too few steps helped, or where neither step nor best loss changed in the last window."""
    stuck = (s.checked_step == s.step) & (s.checked_loss >= s.best_loss)
    halve = (s.rises <= PROGRESS * window) | stuck
    s.checked_step, s.checked_loss = s.step, s.best_loss
    s.step = np.where(halve, s.step / 2, s.step)
    s.z = np.where(columns(halve, s.z), s.best, s.z)
    s.before = np.where(columns(halve, s.z), s.best, s.before)
    s.gradient = np.where(columns(halve, s.z), s.best_gradient, s.gradient)
    s.loss = np.where(halve, s.best_loss, s.loss)
    s.rises = np.zeros_like(s.rises)
