"""Boundary attack: a random walk on the wrong side of the decision boundary, towards the sample (Brendel et al. 2018,
arXiv 1712.04248), as the Adversarial Robustness Toolbox has it."""

from __future__ import annotations

from typing import Any

from pipeline.config.job import AttackConfig
from pipeline.robustness.attacks import _art
from pipeline.robustness.trial import Trial

NEEDS = "labels"
SETTINGS = ("steps",)
NORMS = ("linf", "l2")
STEP = 0.03
"""First size of both steps; ART's 0.01 is below the lattice."""


def run(trial: Trial, config: AttackConfig) -> None:
    def make(view: Any) -> Any:
        from art.attacks.evasion import BoundaryAttack

        return BoundaryAttack(
            view, targeted=False, delta=STEP, epsilon=STEP, max_iter=config.steps, batch_size=1, verbose=False
        )

    _art.run_each(trial, make, minimal=False, from_outside=True)
