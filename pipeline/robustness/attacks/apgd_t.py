"""APGD-T: Auto-PGD on the targeted DLR loss, towards each of the likeliest wrong classes in turn (Croce, Hein 2020,
arXiv 2003.01690)."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.config.job import AttackConfig
from pipeline.robustness.attacks import _apgd
from pipeline.robustness.attacks._targets import likeliest
from pipeline.robustness.losses import TargetedDLR
from pipeline.robustness.trial import Rows, Trial

NEEDS = "gradients"
SETTINGS = ("steps", "restarts", "targets", "backward")
NORMS = ("linf", "l2")


def run(trial: Trial, config: AttackConfig) -> None:
    """config.targets classes a sample, config.restarts times."""
    order = likeliest(trial, config.targets)
    for restart in range(config.restarts):
        for number, towards in enumerate(order.T):
            _apgd.run(trial, partial(_loss, towards), config.steps, restart, number)


def _loss(towards: NDArray[np.int64], rows: Rows) -> TargetedDLR:
    return TargetedDLR(towards[rows])
