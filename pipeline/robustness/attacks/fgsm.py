"""FGSM, the fast gradient sign method (Goodfellow et al. 2015, arXiv 1412.6572): one step of eps, nothing random."""

from __future__ import annotations

from pipeline.config.job import AttackConfig
from pipeline.robustness.attacks._steps import ascent
from pipeline.robustness.losses import LOSSES
from pipeline.robustness.trial import Trial

NEEDS = "gradients"
SETTINGS = ("loss", "backward")
NORMS = ("linf", "l2")
ANSWERS = 2
"""With the gradient, and at the end of its step."""


def run(trial: Trial, config: AttackConfig) -> None:
    rows = trial.rows
    z = trial.x[rows].astype("float32")
    found = trial.gradient(z, rows, LOSSES[config.loss])
    trial.ask(trial.clip(z + ascent(found.gradient, trial, rows), rows), rows)
