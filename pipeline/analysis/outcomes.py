"""What attacks did, counted: robust accuracy with its interval, attack by attack."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.samples import Answers, Samples
from pipeline.analysis.statistics import wilson
from pipeline.core.nouns import AttackOutcome, DeviceAnswers

PERCENTILES = (10, 50, 90)
"""Of the smallest change known to fool a sample."""


def summarize(outcomes: Sequence[AttackOutcome], device: DeviceAnswers | None = None) -> list[dict[str, Any]]:
    """Plain JSON values, an entry per campaign: its data, the accuracy when clean and what all its attacks leave, each
    on the same samples with its 95 % Wilson interval, an entry per attack, and, where devices answered, what they did
    in all campaigns together."""
    labels = dict.fromkeys(outcome.label for outcome in outcomes)
    told = {} if device is None else {"device": asdict(device)}
    return [_campaign([outcome for outcome in outcomes if outcome.label == label]) | told for label in labels]


def worst_cases(samples: Samples) -> list[dict[str, Any]]:
    """Plain JSON values, an entry per norm, unit and eps: what all attacks of that budget leave of the samples that
    each of them was run on, and how many samples the attack of a row fooled that the one of a column did not."""
    budgets: dict[tuple[str, str, float], list[Answers]] = {}
    for label in dict.fromkeys(outcome.label for outcome in samples.outcomes):
        answers = samples.answers(label)
        assert answers.attack is not None
        budgets.setdefault((answers.attack.norm, answers.attack.unit, answers.attack.eps), []).append(answers)
    return [_worst_case(budgets[key], samples.outcomes) for key in sorted(budgets)]


def _worst_case(data: Sequence[Answers], outcomes: Sequence[AttackOutcome]) -> dict[str, Any]:
    info = data[0].attack
    assert info is not None
    common = functools.reduce(np.intersect1d, [answers.index for answers in data])
    rows = [np.intersect1d(answers.index, common, return_indices=True)[1] for answers in data]
    right = first(outcomes, data[0].label).attacked[rows[0]]
    fooled = [fooled_by(outcomes, answers.label)[at] for answers, at in zip(data, rows, strict=True)]
    return {
        "norm": info.norm,
        "unit": info.unit,
        "eps": info.eps,
        "eps_label": info.eps_label,
        "eps_lsb": info.eps_lsb,
        "attacks": [answers.label for answers in data],
        "clean": _accuracy(right),
        "robust": _accuracy(right & ~np.any(fooled, axis=0)),
        "alone": [[int(np.sum(mine & ~other)) for other in fooled] for mine in fooled],
    }


def first(outcomes: Sequence[AttackOutcome], label: str) -> AttackOutcome:
    """The first attack of a campaign: it got every sample that is answered rightly."""
    return next(outcome for outcome in outcomes if outcome.label == label)


def fooled_by(outcomes: Sequence[AttackOutcome], label: str) -> NDArray[np.bool_]:
    """(n,) of the campaign's samples: whether any of its attacks fooled them."""
    return np.asarray(np.any([outcome.fooled for outcome in outcomes if outcome.label == label], axis=0))


def smallest_by(outcomes: Sequence[AttackOutcome], label: str) -> NDArray[np.float64]:
    """(n,) of the campaign's samples: share of its budget that the smallest change uses that is known to fool them."""
    return np.asarray(np.min([outcome.smallest for outcome in outcomes if outcome.label == label], axis=0))


def _campaign(outcomes: list[AttackOutcome]) -> dict[str, Any]:
    label, right = outcomes[0].label, outcomes[0].attacked
    fooled, smallest = fooled_by(outcomes, label), smallest_by(outcomes, label)
    return {
        "data": label,
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
