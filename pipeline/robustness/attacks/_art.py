"""The door to the Adversarial Robustness Toolbox (ART): a Trial as one of its classifiers, a sample at a time.

ART sees inputs in [0, 1] over the whole lattice, whatever the data set, so that its defaults fit; the trial rounds what
it asks about to the lattice, and records what it finds.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ToolError
from pipeline.robustness.losses import CrossEntropy
from pipeline.robustness.trial import Rows, Trial


class _Over(Exception):  # noqa: N818  leaves ART once the sample is fooled
    """Ends an attack that need not, or cannot, go on."""


STARTS = 100
"""Random points, at most, among which a decision-based attack looks for one that is answered wrongly."""


def run_each(trial: Trial, make: Callable[[Any], Any], *, minimal: bool, from_outside: bool = False) -> None:
    """Runs make(classifier).generate on every sample that is left. minimal: the attack looks for the smallest change,
    so it goes on after the sample is fooled; from_outside: it starts from a random point that is answered wrongly."""
    for row in trial.rows.tolist():
        generator = trial.generators(np.array([row]))[0]
        with _Draws(int(generator.integers(1 << 31))) as draws:
            view = _classifier(trial, row, draws, stop=not minimal)
            x = view.to_unit(trial.x[[row]])
            try:
                start = _start(view, trial, row, generator) if from_outside else {}
                outcome = make(view).generate(x, _one_hot(trial.y[[row]], trial.classes), **start)
                trial.ask(view.to_lattice(outcome), np.array([row]), free=True)
                trial.ask(view.to_lattice(outcome), np.array([row]))
            except _Over:
                continue


def _start(view: Any, trial: Trial, row: int, generator: np.random.Generator) -> dict[str, Any]:
    """Where generate starts: ART itself would draw it from a generator of its own, which nobody can seed. Without one
    that is answered wrongly it looks no further, as ART does."""
    for _ in range(STARTS):
        x = generator.uniform(size=(1, *trial.x.shape[1:])).astype(np.float32)
        if view.predict(x).argmax() != trial.y[row]:
            return {"x_adv_init": x}
    raise _Over


def _one_hot(y: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    return np.eye(classes, dtype=np.float32)[y]


def _classifier(trial: Trial, row: int, draws: _Draws, stop: bool) -> Any:
    """An ART estimator that answers for one sample of the trial."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ART names the frameworks it does not find
            from art.estimators.classification.classifier import ClassGradientsMixin, ClassifierMixin
            from art.estimators.estimator import BaseEstimator, LossGradientsMixin, NeuralNetworkMixin
    except ImportError as error:
        raise ToolError(
            "this attack needs the package adversarial-robustness-toolbox", 'pip install "tritmcu[attack]"'
        ) from error

    class View(ClassGradientsMixin, ClassifierMixin, LossGradientsMixin, NeuralNetworkMixin, BaseEstimator):  # type: ignore[misc]
        """See _View, which does the work."""

        estimator_params = (*BaseEstimator.estimator_params, *ClassifierMixin.estimator_params)

        def __init__(self) -> None:
            super().__init__(model=None, clip_values=(0.0, 1.0), channels_first=False)
            self.inner = _View(trial, row, draws, stop)
            self.nb_classes = trial.classes
            self.to_unit, self.to_lattice = self.inner.to_unit, self.inner.to_lattice

        input_shape = property(lambda self: trial.x.shape[1:])

        def predict(self, x: Any, **_: Any) -> Any:
            return self.inner.predict(x)

        def loss_gradient(self, x: Any, y: Any, **_: Any) -> Any:
            return self.inner.loss_gradient(x)

        def class_gradient(self, x: Any, label: Any = None, **_: Any) -> Any:
            return self.inner.class_gradient(x, label)

        def fit(self, *_: Any, **__: Any) -> None:
            raise NotImplementedError

        def get_activations(self, *_: Any, **__: Any) -> Any:
            raise NotImplementedError

    return View()


class _View:
    """What ART asks for, for one sample."""

    def __init__(self, trial: Trial, row: int, draws: _Draws, stop: bool) -> None:
        self.trial, self.row, self.draws, self.stop = trial, row, draws, stop
        q = trial.budget.quantization
        self.low, self.span = q.qmin, q.qmax - q.qmin

    def to_unit(self, q: NDArray[Any]) -> NDArray[np.float32]:
        return ((q.astype(np.float32) - self.low) / self.span).astype(np.float32)

    def predict(self, x: Any) -> NDArray[np.float32]:
        """Real logits (n, classes) of the integer answers."""
        rows = self._rows(x)
        with self.draws.lent():
            answers = self.trial.ask(self.to_lattice(x), rows, free=True)
        self._leave()
        return (answers.astype(np.float32)) * np.float32(self.trial.oracle.logit_scale)

    def loss_gradient(self, x: Any) -> NDArray[np.float32]:
        with self.draws.lent():
            found = self.trial.gradient(self.to_lattice(x), self._rows(x), CrossEntropy(), free=True)
        self._leave()
        return found.gradient * np.float32(self.span)

    def class_gradient(self, x: Any, label: Any) -> NDArray[np.float32]:
        """(n, classes, *shape), or (n, 1, *shape) of one class each, of the logits."""
        wanted = range(self.trial.classes) if label is None else [int(np.ravel(label)[0])]
        z, rows = self.to_lattice(x), self._rows(x)
        with self.draws.lent():
            parts = [self.trial.gradient(z, rows, _Logit(number), free=True).gradient for number in wanted]
        self._leave()
        return np.stack(parts, axis=1) * np.float32(self.span)

    def to_lattice(self, x: Any) -> NDArray[np.float64]:
        return np.asarray(x, np.float64) * self.span + self.low

    def _rows(self, x: Any) -> Rows:
        return np.full(len(x), self.row, np.int64)

    def _leave(self) -> None:
        if self.stop and self.trial.fooled[self.row]:
            raise _Over


class _Logit:
    """The logit of one class."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, logits: Any, y: Any) -> tuple[Any, Any]:
        slope = np.zeros_like(logits)
        slope[:, self.number] = 1.0
        return logits[:, self.number], slope


_TURN = threading.Lock()
"""Held by the attack that may draw from NumPy's global generator."""


class _Draws:
    """NumPy's global generator, from which ART draws: seeded as long as the block, and as it was before outside.
    Attacks in several threads take turns, so that none draws what another one would have drawn."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __enter__(self) -> Self:
        _TURN.acquire()
        self._before = np.random.get_state()
        np.random.seed(self._seed)
        return self

    def __exit__(self, *_: object) -> None:
        np.random.set_state(self._before)
        _TURN.release()

    @contextmanager
    def lent(self) -> Iterator[None]:
        """As long as the block, which draws nothing, it is the others' turn."""
        mine = np.random.get_state()
        self.__exit__()
        try:
            yield
        finally:
            _TURN.acquire()
            np.random.set_state(mine)
