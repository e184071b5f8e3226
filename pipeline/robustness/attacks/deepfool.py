"""DeepFool: the smallest change by linearizing the boundary with every class (Moosavi-Dezfooli et al. 2016, arXiv
1511.04599), as the Adversarial Robustness Toolbox has it."""

from __future__ import annotations

from typing import Any

from pipeline.config.job import AttackConfig
from pipeline.robustness.attacks import _art
from pipeline.robustness.trial import Trial

NEEDS = "gradients"
SETTINGS = ("steps", "targets", "backward")
NORMS = ("linf", "l2")


def run(trial: Trial, config: AttackConfig) -> None:
    def make(view: Any) -> Any:
        from art.attacks.evasion import DeepFool

        classes = min(config.targets + 1, trial.classes)
        return DeepFool(view, max_iter=config.steps, epsilon=0.02, nb_grads=classes, batch_size=1, verbose=False)

    _art.run_each(trial, make, minimal=True)
