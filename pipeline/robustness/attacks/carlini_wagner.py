"""Carlini and Wagner's attack: the smallest change by optimization (2017, arXiv 1608.04644), as the Adversarial
Robustness Toolbox has it, for either norm."""

from __future__ import annotations

from typing import Any

from pipeline.config.job import AttackConfig
from pipeline.robustness.attacks import _art
from pipeline.robustness.trial import Trial

NEEDS = "gradients"
SETTINGS = ("steps", "backward")
NORMS = ("linf", "l2")
INITIAL_CONST, LEARNING_RATE = 1.0, 0.05
"""ART's defaults (0.01 each) move an input by less than one lattice step and so report that nothing can be fooled."""


def run(trial: Trial, config: AttackConfig) -> None:
    def make(view: Any) -> Any:
        from art.attacks.evasion import CarliniL2Method, CarliniLInfMethod

        common = {"learning_rate": LEARNING_RATE, "max_iter": config.steps, "verbose": False, "batch_size": 1}
        if trial.budget.norm == "l2":
            return CarliniL2Method(view, initial_const=INITIAL_CONST, binary_search_steps=5, **common)
        return CarliniLInfMethod(view, initial_const=INITIAL_CONST, **common)

    _art.run_each(trial, make, minimal=True)
