"""Noise: random corners of the budget, of l2 random points of its boundary; no search at all. What every attack must
beat: one that does not learns nothing from what it asks (Athalye et al. 2018, arXiv 1802.00420)."""

from __future__ import annotations

import numpy as np

from pipeline.config.job import AttackConfig
from pipeline.robustness.trial import Trial

NEEDS = "labels"
SETTINGS = ("queries",)
NORMS = ("linf", "l2")


def run(trial: Trial, config: AttackConfig) -> None:
    """config.queries points of each sample; samples leave as soon as they are fooled."""
    for query in range(config.queries):
        rows = trial.rows
        if not len(rows):
            return
        z = trial.start(rows, query)
        if trial.budget.norm == "linf":
            z = trial.clip(trial.x[rows] + np.sign(z - trial.x[rows]) * trial.radius(rows), rows)
        trial.ask(z, rows)
