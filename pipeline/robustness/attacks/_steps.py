"""Steps of gradient attacks, in both norms."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import FloatArray
from pipeline.robustness.trial import Rows, Trial


def columns(values: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """values (n,) shaped to be multiplied with `like` (n, *shape)."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def ascent(gradient: FloatArray, trial: Trial, rows: Rows) -> FloatArray:
    """float32 like gradient, of these samples: the longest step uphill inside the budget: radius times the sign of the
    gradient, or for l2 times the gradient at unit length."""
    if trial.budget.norm == "linf":
        return np.asarray(np.sign(gradient) * trial.radius(rows), np.float32)
    size = np.linalg.norm(gradient.reshape(len(gradient), -1).astype(np.float64), axis=1)
    return np.asarray(gradient / columns(np.maximum(size, 1e-30), gradient) * trial.radius(rows), np.float32)
