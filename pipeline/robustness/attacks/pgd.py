"""PGD, projected gradient descent from random starts (Madry et al. 2018, arXiv 1706.06083); with momentum, MI-FGSM
(Dong et al. 2018, arXiv 1710.06081)."""

from __future__ import annotations

from pipeline.config.job import AttackConfig
from pipeline.robustness.attacks import _descent
from pipeline.robustness.trial import Trial

NEEDS = "gradients"
SETTINGS = ("steps", "step_size", "restarts", "momentum", "loss", "backward")
NORMS = ("linf", "l2")


def run(trial: Trial, config: AttackConfig) -> None:
    _descent.run(trial, config)
