"""Square attack: random search with squares of shrinking size, by the margin of the integer answers alone
(Andriushchenko et al. 2020, arXiv 1912.00049; schedule and proposals as in AutoAttack). l2: see _square_l2."""

from __future__ import annotations

import math

import numpy as np

from pipeline.config.job import AttackConfig
from pipeline.core.nouns import FloatArray
from pipeline.robustness.attacks import _square_l2
from pipeline.robustness.attacks._square_l2 import SIGNS, Generators
from pipeline.robustness.losses import margins
from pipeline.robustness.trial import Rows, Trial

NEEDS = "scores"
SETTINGS = ("queries", "restarts")
NORMS = ("linf", "l2")
FIRST_SHARE = 0.8
"""Of the image that the first squares cover."""
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""After so many of 10,000 queries the share is halved."""


def run(trial: Trial, config: AttackConfig) -> None:
    for restart in range(config.restarts):
        _search(trial, config.queries, restart)


def _search(trial: Trial, queries: int, restart: int) -> None:
    rows = trial.rows
    if not len(rows):
        return
    generators = dict(zip(rows.tolist(), trial.generators(rows, restart), strict=True))
    start, proposed = (_stripes, _squares) if trial.budget.norm == "linf" else (_square_l2.start, _square_l2.proposal)
    z = start(trial, rows, generators)
    margin = margins(trial.ask(z, rows), trial.y[rows])
    for query in range(1, queries):
        keep = ~trial.fooled[rows]
        rows, z, margin = rows[keep], z[keep], margin[keep]
        if not len(rows):
            return
        share = FIRST_SHARE / 2 ** sum(10000 * query > limit * queries for limit in HALVINGS)
        proposal = proposed(trial, rows, z, generators, share)
        found = margins(trial.ask(proposal, rows), trial.y[rows])
        better = found < margin
        z[better], margin[better] = proposal[better], found[better]


def _stripes(trial: Trial, rows: Rows, generators: Generators) -> FloatArray:
    """Vertical stripes of plus and minus the budget."""
    shape = (1, *trial.x.shape[2:]) if trial.x.ndim == 4 else trial.x.shape[1:]
    signs = np.stack([SIGNS[generators[row].integers(2, size=shape)] for row in rows.tolist()])
    return trial.clip(trial.x[rows] + signs * trial.radius(rows), rows)


def _squares(trial: Trial, rows: Rows, z: FloatArray, generators: Generators, share: float) -> FloatArray:
    """z with a random square of every sample at plus or minus the budget, a sign per channel. share: of the image that
    it covers."""
    proposal, reach = z.copy(), np.broadcast_to(trial.radius(rows), trial.x.shape[1:])
    for i, row in enumerate(rows.tolist()):
        window = _window(generators[row], trial.x.shape[1:], share)
        sign = SIGNS[generators[row].integers(2, size=trial.x.shape[-1] if trial.x.ndim == 4 else 1)]
        proposal[i][window] = trial.x[row][window] + sign * reach[window]
    return trial.clip(proposal, rows)


def _window(generator: np.random.Generator, shape: tuple[int, ...], share: float) -> tuple[slice, ...]:
    """A square of the image that covers `share` of it; of a vector, a run of its elements."""
    sizes = shape[:2] if len(shape) == 3 else shape[:1]
    area = share * math.prod(sizes)
    side = max(round(area ** (1 / len(sizes))), 1)
    parts = []
    for size in sizes:
        length = min(side, max(size - 1, 1))
        first = int(generator.integers(0, size - length + 1))
        parts.append(slice(first, first + length))
    return tuple(parts)
