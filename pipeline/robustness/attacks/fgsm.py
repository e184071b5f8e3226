"""FGSM, the fast gradient sign method (Goodfellow et al. 2015, arXiv 1412.6572): one step of size eps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.job import AttackConfig
from pipeline.core.nouns import FloatArray
from pipeline.robustness.attacks._art import NORMS


def run(
    classifier: Any, x: FloatArray, y: NDArray[np.int64], config: AttackConfig, eps: float, seed: int
) -> FloatArray:
    """Adversarial copies of x (n, *shape) within eps of it in the norm of the config; nothing random."""
    from art.attacks.evasion import FastGradientMethod

    attack = FastGradientMethod(classifier, norm=NORMS[config.norm], eps=eps, batch_size=len(x))
    return np.asarray(attack.generate(x, y), dtype=np.float32)
