"""HopSkipJump: along the decision boundary by the answered classes alone (Chen et al. 2020, arXiv 1904.02144), as the
Adversarial Robustness Toolbox has it."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.config.job import AttackConfig
from pipeline.robustness.attacks import _art
from pipeline.robustness.trial import Trial

NEEDS = "labels"
SETTINGS = ("steps", "queries")
NORMS = ("linf", "l2")
FIRST_EVALUATIONS = 100


def run(trial: Trial, config: AttackConfig) -> None:
    """config.steps iterations of at most config.queries answers each."""

    def make(view: Any) -> Any:
        from art.attacks.evasion import HopSkipJump

        return HopSkipJump(
            view,
            batch_size=64,
            norm=np.inf if trial.budget.norm == "linf" else 2,
            max_iter=config.steps,
            max_eval=config.queries,
            init_eval=min(FIRST_EVALUATIONS, config.queries),
            verbose=False,
        )

    _art.run_each(trial, make, minimal=False, from_outside=True)
