"""What an attack maximizes: functions of the logits, larger where the network is nearer to a wrong answer.

A loss is called with logits float32 (n, classes) in real units and labels int64 (n,) and returns (value float32 (n,),
derivative float32 (n, classes) of each sample's value by its logits). Ties of logits are broken by the class number, as
the device breaks them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import FloatArray, Int8Array

Labels = NDArray[np.int64]
TINY = 1e-12


class Loss(Protocol):
    """See the module."""

    def __call__(self, logits: FloatArray, y: Labels) -> tuple[FloatArray, FloatArray]: ...


@dataclass(frozen=True)
class CrossEntropy:
    """-log softmax(scale * logits)[y]."""

    scale: float = 1.0
    """Factor on the logits: with a large one, a network of low confidence cannot hide in a flat softmax."""

    def __call__(self, logits: FloatArray, y: Labels) -> tuple[FloatArray, FloatArray]:
        z = logits.astype(np.float64) * self.scale
        z -= z.max(axis=1, keepdims=True)
        exp = np.exp(z)
        total = exp.sum(axis=1)
        rows = np.arange(len(y))
        value = np.log(total) - z[rows, y]
        slope = exp / total[:, None]
        slope[rows, y] -= 1.0
        return value.astype(np.float32), (slope * self.scale).astype(np.float32)


@dataclass(frozen=True)
class Margin:
    """Best wrong logit minus the right one: positive exactly where the answer is wrong (Carlini, Wagner 2017, arXiv
    1608.04644)."""

    def __call__(self, logits: FloatArray, y: Labels) -> tuple[FloatArray, FloatArray]:
        rows = np.arange(len(y))
        other = best_wrong(logits, y)
        return logits[rows, other] - logits[rows, y], _one_minus_other(logits, other, y)


@dataclass(frozen=True)
class Difference:
    """Logit of a target class minus the right one."""

    targets: Labels
    """(n,) a class per sample."""

    def __call__(self, logits: FloatArray, y: Labels) -> tuple[FloatArray, FloatArray]:
        rows = np.arange(len(y))
        return logits[rows, self.targets] - logits[rows, y], _one_minus_other(logits, self.targets, y)


@dataclass(frozen=True)
class DLR:
    """Difference of logits ratio: margin / (largest logit - third largest) (Croce, Hein 2020, arXiv 2003.01690, eq. 6).
    Does not change when the logits are scaled. With two classes the second largest stands for the third."""

    def __call__(self, logits: FloatArray, y: Labels) -> tuple[FloatArray, FloatArray]:
        order = _descending(logits)
        other = best_wrong(logits, y)
        third = order[:, min(2, logits.shape[1] - 1)]
        return _ratio(logits, other, y, ((order[:, 0], 1.0), (third, -1.0)))


@dataclass(frozen=True)
class TargetedDLR:
    """(z_t - z_y) / (z_1 - (z_3 + z_4) / 2), the ordinals by size (Croce, Hein 2020, arXiv 2003.01690, eq. 7). With
    three classes the third largest stands for the fourth."""

    targets: Labels
    """(n,) a class per sample."""

    def __call__(self, logits: FloatArray, y: Labels) -> tuple[FloatArray, FloatArray]:
        order, last = _descending(logits), logits.shape[1] - 1
        parts = ((order[:, 0], 1.0), (order[:, min(2, last)], -0.5), (order[:, min(3, last)], -0.5))
        return _ratio(logits, self.targets, y, parts)


LOSSES: Mapping[str, Loss] = {
    "cross_entropy": CrossEntropy(),
    "scaled": CrossEntropy(scale=10.0),
    "softened": CrossEntropy(scale=0.1),
    "margin": Margin(),
    "dlr": DLR(),
}
"""By the name that jobs and `--loss` use. Targeted ones depend on the sample and belong to their attack."""


def best_wrong(logits: NDArray[np.generic], y: Labels) -> Labels:
    """int64 (n,): the class of the largest logit that is not y's, the first of equals."""
    rows = np.arange(len(y))
    others = np.array(logits, dtype=np.float64)
    others[rows, y] = -np.inf
    return np.asarray(others.argmax(axis=1), np.int64)


def margins(answers: Int8Array, y: Labels) -> Labels:
    """int64 (n,): the right integer logit minus the best wrong one."""
    at = np.arange(len(y))
    return np.asarray(answers[at, y].astype(np.int64) - answers[at, best_wrong(answers, y)], np.int64)


def targets(logits: NDArray[np.generic], y: Labels, rank: int) -> Labels:
    """int64 (n,): the class of the rank-th largest wrong logit, rank from 0."""
    rows = np.arange(len(y))
    others = np.array(logits, dtype=np.float64)
    others[rows, y] = -np.inf
    return np.asarray(_descending(others)[:, rank], np.int64)


def _descending(logits: NDArray[np.generic]) -> Labels:
    return np.argsort(-np.asarray(logits, np.float64), axis=1, kind="stable").astype(np.int64)


def _one_minus_other(logits: FloatArray, plus: Labels, minus: Labels) -> FloatArray:
    slope = np.zeros_like(logits, dtype=np.float32)
    rows = np.arange(len(minus))
    slope[rows, plus] += 1.0
    slope[rows, minus] -= 1.0
    return slope


def _ratio(
    logits: FloatArray, plus: Labels, minus: Labels, parts: tuple[tuple[Labels, float], ...]
) -> tuple[FloatArray, FloatArray]:
    """(z_plus - z_minus) / sum of weight * z_class over `parts`, and its derivative."""
    z, rows = logits.astype(np.float64), np.arange(len(minus))
    top = z[rows, plus] - z[rows, minus]
    bottom = sum((weight * z[rows, classes] for classes, weight in parts), np.zeros(len(minus))) + TINY
    slope = _one_minus_other(logits, plus, minus).astype(np.float64) / bottom[:, None]
    for classes, weight in parts:
        slope[rows, classes] -= weight * top / bottom**2
    return (top / bottom).astype(np.float32), slope.astype(np.float32)
