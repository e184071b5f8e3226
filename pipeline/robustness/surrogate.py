"""The surrogate: a QModel's own integers, with gradients. What a white-box attack of a deployed network asks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import Int8Array, QModel, TensorSpec
from pipeline.robustness import straight_through
from pipeline.robustness.compiled import States, Workspace
from pipeline.robustness.losses import Loss
from pipeline.robustness.oracle import LossGradient
from pipeline.robustness.straight_through import Variant


class Surrogate:
    """A GradientOracle of a QModel alone: its answers are the deployed integers, its gradients straight-through.

    variant: what is differentiated (straight_through.Variant). Takes all cores; several threads may ask at
    once. ConfigError: an unknown variant; UnsupportedError: a layer kind without a gradient.
    """

    def __init__(self, model: QModel, variant: Variant = "clip") -> None:
        straight_through.require_variant(variant)
        straight_through.require_gradients(model)
        self.model, self.variant = model, variant
        self._exact = _Workspaces(model, "clip")
        self._passes = _Workspaces(model, variant) if variant == "smooth" else self._exact
        if variant not in ("clip", "smooth"):
            self._passes = _Workspaces(model, variant)

    @property
    def input(self) -> TensorSpec:
        return self.model.input

    @property
    def classes(self) -> int:
        return len(self.model.classes)

    @property
    def logit_scale(self) -> float:
        """Real value of one step of a logit."""
        return self.model.output.quantization.scale

    def logits(self, x: Int8Array) -> Int8Array:
        """int8 (n, classes) for x int8 (n, *shape): the deployed integers, in every variant."""
        answers = np.empty((len(x), self.classes), np.int8)

        def chunk(part: slice, workspace: Workspace) -> None:
            answers[part] = workspace.forward(x[part], workspace.own_states)[1]

        self._exact.each(len(x), chunk)
        return answers

    def gradient(self, x: Int8Array, y: NDArray[np.int64], loss: Loss) -> LossGradient:
        """Of the loss at lattice samples x int8 (n, *shape) with labels y (n,); the loss is called once, with all n.

        Takes, for that long, a byte for every activation of every sample.
        """
        n = len(x)
        states = [np.empty((n, size), np.uint8) for size in self._passes.state_bytes]
        logits, answers = np.empty((n, self.classes), np.float32), np.empty((n, self.classes), np.int8)
        gradient = np.empty((n, *self.input.shape), np.float32)

        def forward(part: slice, workspace: Workspace) -> None:
            logits[part], answers[part] = workspace.forward(x[part], _rows(states, part))

        self._passes.each(n, forward)
        value, slope = loss(logits, y)

        def backward(part: slice, workspace: Workspace) -> None:
            workspace.backward(slope[part], _rows(states, part), gradient[part])

        self._passes.each(n, backward)
        return LossGradient(value, gradient, logits, self.logits(x) if self.variant == "smooth" else answers)


def _rows(states: States, part: slice) -> States:
    return [state[part] for state in states]


class _Workspaces:
    """Workspaces of a model and a variant: as many as threads ever asked for one at once."""

    def __init__(self, model: QModel, variant: Variant) -> None:
        self._model, self._variant = model, variant
        self._free = [Workspace(model, variant)]
        self._samples, self.state_bytes = self._free[0].samples, self._free[0].state_bytes

    @contextmanager
    def one(self) -> Iterator[Workspace]:
        """A workspace that nobody else has."""
        try:
            workspace = self._free.pop()
        except IndexError:
            workspace = Workspace(self._model, self._variant)
        yield workspace
        self._free.append(workspace)

    def each(self, n: int, work: Callable[[slice, Workspace], None]) -> None:
        """work(slice, workspace) for chunks that make up n samples, on all cores."""
        parts = [slice(start, min(start + self._samples, n)) for start in range(0, n, self._samples)]
        threads = min(os.cpu_count() or 1, len(parts))

        def take(first: int) -> None:
            with self.one() as workspace:
                for part in parts[first::threads]:
                    work(part, workspace)

        if threads <= 1:
            take(0) if parts else None
            return
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(take, range(threads)))
