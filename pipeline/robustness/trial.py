"""One batch of samples under attack. The base of every attack: eps, input range and lattice hold whatever it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.core import interrupt
from pipeline.core.nouns import FloatArray, Int8Array
from pipeline.robustness.budget import Budget
from pipeline.robustness.losses import Labels, Loss, margins
from pipeline.robustness.oracle import GradientOracle, LossGradient, Oracle
from pipeline.robustness.projection import SLACK, Lattice

Rows = NDArray[np.int64]


class Trial:
    """Samples x (n, *shape), int8, or int16 where sound is attacked, with labels y (n,), all answered rightly when
    clean, and what is known about them.

    An attack asks for answers and gradients at points of its choice, in lattice coordinates; what counts is recorded
    here: a sample is fooled once the oracle answers wrongly to a lattice point inside the budget. `rows` are numbers of
    samples, in the order of the points that are asked for.
    """

    def __init__(
        self,
        oracle: Oracle,
        x: Lattice,
        y: Labels,
        budget: Budget,
        index: NDArray[np.int64],
        seed: int,
        on_answers: Callable[[Trial, int], None] = lambda trial, n: None,
    ) -> None:
        """on_answers: called with this and the number of answers that have just come."""
        self.oracle, self.x, self.y, self.budget = oracle, x, y, budget
        self.low, self.high = budget.low(x), budget.high(x)
        self._radii = budget.radii(x)
        self.best = x.copy()
        """Like x: the point inside the budget that fooled the sample, else the one that came nearest to it."""
        self.fooled = np.zeros(len(x), bool)
        self.queries = np.zeros(len(x), np.int64)
        """Number of points queried, with or without gradient."""
        self.gradients = np.zeros(len(x), np.int64)
        self.zero_gradients = np.zeros(len(x), np.int64)
        """Gradients that were zero in every element."""
        self.smallest = np.full(len(x), np.inf)
        """Share of the budget that the smallest change known to fool the sample uses; may be above 1."""
        self.margin = np.full(len(x), np.inf)
        """Right logit minus the best wrong one at `best`, in lattice steps; -inf where fooled."""
        self._index, self._seed, self._on_answers = index, seed, on_answers

    @property
    def rows(self) -> Rows:
        """The samples that are not fooled yet."""
        return np.flatnonzero(~self.fooled)

    @property
    def classes(self) -> int:
        return self.oracle.classes

    def radius(self, rows: Rows) -> NDArray[np.float64]:
        """Of the budget in lattice steps, to be multiplied with points of these samples."""
        return self._radii[rows] if self.budget.relative else self._radii

    def generators(self, rows: Rows, *stream: int) -> list[np.random.Generator]:
        """A generator per sample that depends on the seed, the sample's index in its data set and `stream` alone: what
        else is attacked beside it changes nothing."""
        return [np.random.default_rng((self._seed, int(self._index[row]), *stream)) for row in rows]

    def start(self, rows: Rows, *stream: int) -> FloatArray:
        """float32 (len(rows), *shape): a random point of the budget for each sample."""
        draws = np.stack([g.uniform(-1, 1, self.x.shape[1:]) for g in self.generators(rows, *stream)])
        if self.budget.norm == "l2":
            size = np.linalg.norm(draws.reshape(len(rows), -1), axis=1)
            draws /= size.reshape(-1, *[1] * (draws.ndim - 1))
        return self.clip(self.x[rows] + draws * self.radius(rows), rows)

    def clip(self, z: NDArray[Any], rows: Rows) -> FloatArray:
        """float32: z moved into the budget and the input range, off the lattice still."""
        z = np.clip(z, self.low[rows], self.high[rows])
        if self.budget.norm == "l2":
            change = z - self.x[rows]
            size = np.linalg.norm(change.reshape(len(rows), -1), axis=1)
            shrink = np.minimum(1.0, self.radius(rows).reshape(-1) / np.maximum(size, 1e-12))
            z = self.x[rows] + change * shrink.reshape(-1, *[1] * (z.ndim - 1))
        return np.asarray(z, np.float32)

    def ask(self, z: NDArray[Any], rows: Rows, *, free: bool = False) -> Int8Array:
        """int8 (len(rows), classes): the answers to the lattice points near z inside the budget. free: near z anywhere
        in the input range, for attacks that come from outside; only what lies inside the budget fools."""
        q = self._lattice(z, rows, free)
        answers = self.oracle.logits(q)
        np.add.at(self.queries, rows, 1)
        self._record(q, rows, answers)
        return answers

    def gradient(self, z: NDArray[Any], rows: Rows, loss: Loss, *, free: bool = False) -> LossGradient:
        """Loss, gradient and logits at the lattice points near z inside the budget; free: see `ask`."""
        assert hasattr(self.oracle, "gradient"), "an attack that needs gradients got an oracle without any"
        oracle = cast(GradientOracle, self.oracle)
        q = self._lattice(z, rows, free)
        found = oracle.gradient(q, self.y[rows], loss)
        np.add.at(self.queries, rows, 1)
        np.add.at(self.gradients, rows, 1)
        np.add.at(self.zero_gradients, rows, ~np.any(found.gradient.reshape(len(rows), -1), axis=1))
        self._record(q, rows, found.answers)
        return found

    def _lattice(self, z: NDArray[Any], rows: Rows, free: bool) -> Lattice:
        if not free:
            return self.budget.project(z, self.x[rows])
        q = self.budget.quantization
        return np.asarray(np.clip(np.rint(z), q.qmin, q.qmax), self.x.dtype)

    def _record(self, q: Lattice, rows: Rows, answers: Int8Array) -> None:
        """Keeps what these answers tell; a sample may stand in `rows` several times. Between two answers a request to
        end is noticed: progress is told once a batch, and a batch may take minutes."""
        interrupt.check()
        y = self.y[rows]
        wrong = answers.argmax(axis=1) != y
        share = self.budget.distance(q, self.x[rows])
        np.minimum.at(self.smallest, rows[wrong], share[wrong])
        margin = margins(answers, y).astype(np.float64)
        margin[wrong] = -np.inf
        candidates = np.flatnonzero((share <= 1 + SLACK) & (margin < self.margin[rows]) & ~self.fooled[rows])
        # Of several points of one sample the last assignment stays: that of the smallest margin.
        candidates = candidates[np.argsort(-margin[candidates], kind="stable")]
        self.best[rows[candidates]] = q[candidates]
        self.margin[rows[candidates]] = margin[candidates]
        self.fooled |= self.margin == -np.inf
        self._on_answers(self, len(rows))


def alive(trial: Trial, rows: Rows, *arrays: NDArray[Any]) -> Sequence[NDArray[Any]]:
    """rows and arrays without the samples that are fooled by now."""
    keep = ~trial.fooled[rows]
    return [array[keep] for array in (rows, *arrays)]
