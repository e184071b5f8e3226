"""PGD, projected gradient descent from random starts (Madry et al. 2018, arXiv 1706.06083)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.job import AttackConfig
from pipeline.core.nouns import FloatArray
from pipeline.robustness.attacks._art import NORMS, seeded


def run(
    classifier: Any, x: FloatArray, y: NDArray[np.int64], config: AttackConfig, eps: float, seed: int
) -> FloatArray:
    """Adversarial copies of x (n, *shape) within eps of it: config.steps steps of config.step_size * eps from each of
    config.restarts random starts; the first that succeeds is kept, else the last."""
    from art.attacks.evasion import ProjectedGradientDescentTensorFlowV2

    attack = ProjectedGradientDescentTensorFlowV2(
        classifier,
        norm=NORMS[config.norm],
        eps=eps,
        eps_step=config.step_size * eps,
        max_iter=config.steps,
        num_random_init=config.restarts,
        batch_size=len(x),
        verbose=False,
    )
    with seeded(seed):
        return np.asarray(attack.generate(x, y), dtype=np.float32)
