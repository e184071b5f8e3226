"""What attacks did, counted: robust accuracy with its interval, attack by attack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.analysis.statistics import wilson
from pipeline.core.nouns import AttackOutcome

PERCENTILES = (10, 50, 90)
"""Of the smallest change known to fool a sample."""


def summarize(outcomes: Sequence[AttackOutcome]) -> list[dict[str, Any]]:
    """Plain JSON values, an entry per campaign: its data, the accuracy when clean and what all its attacks leave, each
    on the same samples with its 95 % Wilson interval, and an entry per attack."""
    labels = dict.fromkeys(outcome.label for outcome in outcomes)
    return [_campaign([outcome for outcome in outcomes if outcome.label == label]) for label in labels]


def _campaign(outcomes: list[AttackOutcome]) -> dict[str, Any]:
    right = outcomes[0].attacked
    fooled = np.any([outcome.fooled for outcome in outcomes], axis=0)
    smallest = np.min([outcome.smallest for outcome in outcomes], axis=0)
    return {
        "data": outcomes[0].label,
        "clean": _accuracy(right),
        "robust": _accuracy(right & ~fooled),
        "smallest_change": {f"p{p}": _percentile(smallest[right], p) for p in PERCENTILES},
        "attacks": [_attack(outcome) for outcome in outcomes],
    }


def _percentile(values: np.ndarray[Any, Any], percent: int) -> float | None:
    """In shares of the budget; None where so many samples were not fooled at all."""
    found = float(np.percentile(values, percent, method="lower")) if len(values) else np.inf
    return found if np.isfinite(found) else None


def _accuracy(right: np.ndarray[Any, Any]) -> dict[str, Any]:
    hits, n = int(right.sum()), len(right)
    return {"accuracy": hits / n if n else None, "interval": list(wilson(hits, n)), "n": n}


def _attack(outcome: AttackOutcome) -> dict[str, Any]:
    gradients = int(outcome.gradients.sum())
    return {
        "attack": outcome.attack,
        "params": dict(outcome.params),
        "attacked": int(outcome.attacked.sum()),
        "fooled": int(outcome.fooled.sum()),
        "queries": int(outcome.queries.sum()),
        "gradients": gradients,
        "zero_gradient_share": float(outcome.zero_gradients.sum() / gradients) if gradients else None,
        "seconds": outcome.seconds,
    }
