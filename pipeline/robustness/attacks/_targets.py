"""Target classes of targeted attacks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.robustness.losses import Margin, targets
from pipeline.robustness.trial import Trial


def likeliest(trial: Trial, count: int) -> NDArray[np.int64]:
    """int64 (n, targets): the wrong classes of every sample by their logits for the clean sample, likeliest first;
    `count` of them, or all there are. Rows of samples that are fooled already are -1."""
    rows, wrong = trial.rows, min(count, trial.classes - 1)
    order = np.full((len(trial.x), wrong), -1, np.int64)
    if len(rows):
        logits = trial.gradient(trial.x[rows], rows, Margin()).logits
        order[rows] = np.stack([targets(logits, trial.y[rows], rank) for rank in range(wrong)], axis=1)
    return order
