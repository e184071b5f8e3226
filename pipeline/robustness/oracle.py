"""Oracles: who answers an attack. The network as deployed, on this machine or on a board, with or without gradients."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import FloatArray, Int8Array, QModel, TensorSpec
from pipeline.network.twin import Twin
from pipeline.robustness.losses import Loss


class Oracle(Protocol):
    """Answers lattice samples as the device does."""

    @property
    def input(self) -> TensorSpec: ...

    @property
    def classes(self) -> int: ...

    @property
    def logit_scale(self) -> float:
        """Real value of one step of a logit."""
        ...

    def logits(self, x: Int8Array) -> Int8Array:
        """int8 (n, classes) for x int8 (n, *shape): the deployed integers."""
        ...


@dataclass(frozen=True)
class LossGradient:
    """What a white-box attack learns of n samples."""

    value: FloatArray
    """float32 (n,): the loss."""
    gradient: FloatArray
    """float32 (n, *shape): of the loss by the input, per lattice step."""
    logits: FloatArray
    """float32 (n, classes): real logits, the last layer neither rounded nor clamped."""
    answers: Int8Array
    """int8 (n, classes): the deployed integers."""


class GradientOracle(Oracle, Protocol):
    """An oracle that also gives gradients."""

    def gradient(self, x: Int8Array, y: NDArray[np.int64], loss: Loss) -> LossGradient:
        """Of the loss at lattice samples x int8 (n, *shape) with labels y (n,)."""
        ...


class TwinOracle:
    """A network's twin: its answers on this machine, without gradients. Several threads may ask."""

    def __init__(self, model: QModel) -> None:
        self.model = model
        self._twin = Twin(model)

    @property
    def input(self) -> TensorSpec:
        return self.model.input

    @property
    def classes(self) -> int:
        return len(self.model.classes)

    @property
    def logit_scale(self) -> float:
        return self.model.output.quantization.scale

    def logits(self, x: Int8Array) -> Int8Array:
        return self._twin.run(x).reshape(len(x), -1)


@dataclass(frozen=True)
class Transfer:
    """Gradients of one network, answers of another."""

    source: GradientOracle
    """Whose gradients."""
    target: Oracle
    """Whose answers."""

    @property
    def input(self) -> TensorSpec:
        return self.target.input

    @property
    def classes(self) -> int:
        return self.target.classes

    @property
    def logit_scale(self) -> float:
        return self.target.logit_scale

    def logits(self, x: Int8Array) -> Int8Array:
        return self.target.logits(x)

    def gradient(self, x: Int8Array, y: NDArray[np.int64], loss: Loss) -> LossGradient:
        found = self.source.gradient(x, y, loss)
        return LossGradient(found.value, found.gradient, found.logits, self.target.logits(x))


def shards(oracle: Oracle) -> tuple[Oracle, ...]:
    """The oracles of which it is made, which answer at the same time, each asked by one thread; none for an oracle that
    any number of threads may ask."""
    if isinstance(oracle, Transfer):
        return tuple(replace(oracle, target=shard) for shard in shards(oracle.target))
    found: tuple[Oracle, ...] = getattr(oracle, "shards", ())
    return found
