"""APGD: Auto-PGD on an untargeted loss; with the cross-entropy, APGD-CE of AutoAttack (Croce, Hein 2020, arXiv
2003.01690)."""

from __future__ import annotations

from pipeline.config.job import AttackConfig
from pipeline.robustness.attacks import _apgd
from pipeline.robustness.losses import LOSSES
from pipeline.robustness.trial import Trial

NEEDS = "gradients"
SETTINGS = ("steps", "restarts", "loss", "backward")
NORMS = ("linf", "l2")


def run(trial: Trial, config: AttackConfig) -> None:
    for restart in range(config.restarts):
        _apgd.run(trial, lambda rows: LOSSES[config.loss], config.steps, restart)
