"""Transfer: PGD along the gradients of another network, judged by this one. Black box: it asks this network for answers
alone."""

from __future__ import annotations

from pipeline.config.job import AttackConfig
from pipeline.robustness.attacks import _descent
from pipeline.robustness.trial import Trial

NEEDS = "scores"
SETTINGS = ("source", "steps", "step_size", "restarts", "momentum", "loss")
NORMS = ("linf", "l2")


def run(trial: Trial, config: AttackConfig) -> None:
    _descent.run(trial, config)
