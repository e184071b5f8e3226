"""SimBA: one input element at a time, up or down, kept when the right class loses (Guo et al. 2019, arXiv 1905.07121).
Elements come in random order, and each moves by the whole budget, as the lattice knows nothing smaller that matters."""

from __future__ import annotations

import numpy as np

from pipeline.config.job import AttackConfig
from pipeline.core.nouns import FloatArray
from pipeline.robustness.losses import Labels, margins
from pipeline.robustness.trial import Rows, Trial

NEEDS = "scores"
SETTINGS = ("queries",)
NORMS = ("linf",)


def run(trial: Trial, config: AttackConfig) -> None:
    """config.queries answers for each sample."""
    rows = trial.rows
    if not len(rows):
        return
    size = int(np.prod(trial.x.shape[1:]))
    orders = np.stack([g.permutation(size) for g in trial.generators(rows)])
    reach = np.broadcast_to(trial.budget.radius, trial.x.shape[1:]).reshape(-1)
    z = trial.x[rows].reshape(len(rows), -1).astype(np.float32)
    margin = _margins(trial, z, rows)
    for query in range(1, config.queries):
        keep = ~trial.fooled[rows]
        rows, z, orders, margin = rows[keep], z[keep], orders[keep], margin[keep]
        if not len(rows) or query > 2 * size:
            return
        element = orders[:, (query - 1) // 2]
        at, sign = np.arange(len(rows)), 1.0 if query % 2 else -1.0
        proposal = z.copy()
        proposal[at, element] = trial.x[rows].reshape(len(rows), -1)[at, element] + sign * reach[element]
        found = _margins(trial, proposal, rows)
        better = found < margin
        z[better], margin[better] = proposal[better], found[better]


def _margins(trial: Trial, z: FloatArray, rows: Rows) -> Labels:
    return margins(trial.ask(z.reshape(len(rows), *trial.x.shape[1:]), rows), trial.y[rows])
