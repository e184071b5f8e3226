"""SimBA: one input element at a time, up or down, kept when the right class loses (Guo et al. 2019, arXiv 1905.07121).
Elements come in random order. For linf each moves by the whole budget, as the lattice knows nothing smaller that
matters; for l2 by the paper's step, until the budget is used up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.config.job import AttackConfig
from pipeline.core.nouns import FloatArray
from pipeline.robustness.losses import Labels, margins
from pipeline.robustness.trial import Rows, Trial

NEEDS = "scores"
SETTINGS = ("queries",)
NORMS = ("linf", "l2")
STEP = 0.2
"""Of the input range, epsilon of the paper."""


def run(trial: Trial, config: AttackConfig) -> None:
    """config.queries answers for each sample."""
    rows = trial.rows
    if not len(rows):
        return
    size = int(np.prod(trial.x.shape[1:]))
    orders = np.stack([g.permutation(size) for g in trial.generators(rows)])
    z = trial.x[rows].reshape(len(rows), -1).astype(np.float32)
    margin = _margins(trial, z, rows)
    for query in range(1, config.queries):
        keep = ~trial.fooled[rows]
        rows, z, orders, margin = rows[keep], z[keep], orders[keep], margin[keep]
        if not len(rows) or query > 2 * size:
            return
        element = orders[:, (query - 1) // 2]
        at, sign = np.arange(len(rows)), 1.0 if query % 2 else -1.0
        clean = trial.x[rows].reshape(len(rows), -1)
        proposal = z.copy()
        proposal[at, element] = clean[at, element] + sign * _reach(trial, rows, z - clean, element)
        found = _margins(trial, proposal, rows)
        better = found < margin
        z[better], margin[better] = proposal[better], found[better]


def _reach(trial: Trial, rows: Rows, change: FloatArray, element: NDArray[np.int64]) -> NDArray[np.float64]:
    """(len(rows),): how far this element of each sample moves. change: of all elements so far."""
    if trial.budget.norm == "linf":
        radii = np.broadcast_to(trial.radius(rows), trial.x.shape[1:]).reshape(-1)
        return np.asarray(radii[element])
    q = trial.budget.quantization
    others = (change.astype(np.float64) ** 2).sum(axis=1) - change[np.arange(len(rows)), element] ** 2
    left = np.sqrt(np.maximum(trial.radius(rows).reshape(-1) ** 2 - others, 0.0))
    return np.asarray(np.minimum(left, STEP * (q.qmax - q.qmin)))


def _margins(trial: Trial, z: FloatArray, rows: Rows) -> Labels:
    return margins(trial.ask(z.reshape(len(rows), *trial.x.shape[1:]), rows), trial.y[rows])
