"""Budgets: how far an attack may move a sample, in the steps of the lattice that the device receives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.job import AttackConfig, eps_value
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import AttackInfo, Dataset, FloatArray, Int8Array, Quantization
from pipeline.robustness.projection import SLACK, project_l2, project_linf


@dataclass(frozen=True)
class Budget:
    """A ball around each sample; every point of it that an attack may use is an int8 lattice point."""

    norm: str
    """"linf" or "l2"."""
    label: str
    """eps as the job writes it, with its unit where that is not real."""
    eps: float
    """Radius in the units of the job: real input units, or standard deviations of each element."""
    radius: NDArray[np.float64]
    """In lattice steps: for linf whole numbers, of each element (*shape) or of all (); for l2 one number ()."""
    quantization: Quantization
    """Of the input."""

    @staticmethod
    def of(config: AttackConfig, label: str, dataset: Dataset, place: str) -> Budget:
        """The budget of one eps of a job's attack. place: where it is written, for messages. ConfigError: smaller than
        one lattice step, larger than the whole input range, or in sigma for a data set that states none."""
        quantization, eps = dataset.input.quantization, eps_value(label)
        steps = _steps(config, eps, dataset, place)
        if config.norm == "linf":
            steps = np.floor(steps * (1 + SLACK))
        span = quantization.qmax - quantization.qmin
        if steps.max() < 1:
            least = quantization.scale / float(_unit(config, dataset).max())
            raise ConfigError(
                f"{place} = {label}: smaller than one step of the input lattice of {dataset.name}",
                f"the smallest useful eps is {least:.6g}",
            )
        if config.norm == "linf" and steps.min() > span:
            raise ConfigError(
                f"{place} = {label}: {steps.min():.0f} lattice steps, the whole input range of {dataset.name} is "
                f"{span}",
                f'eps is in real input units, for images in [0, 1]: did you mean "{label}/255"?',
            )
        unit = "" if config.unit == "real" else f" {config.unit}"
        return Budget(config.norm, f"{label}{unit}", eps, steps, quantization)

    @property
    def steps(self) -> int:
        """Largest change of any element in lattice steps."""
        return math.floor(float(self.radius.max()) * (1 + SLACK))

    def low(self, clean: Int8Array) -> FloatArray:
        """float32 like clean: the smallest value of each element inside the budget and the input range."""
        return np.maximum(clean - self._reach(), self.quantization.qmin).astype(np.float32)

    def high(self, clean: Int8Array) -> FloatArray:
        """float32 like clean: the largest value of each element inside the budget and the input range."""
        return np.minimum(clean + self._reach(), self.quantization.qmax).astype(np.float32)

    def _reach(self) -> NDArray[np.float64]:
        return np.asarray(self.radius if self.norm == "linf" else np.float64(self.steps))

    def project(self, z: NDArray[Any], clean: Int8Array) -> Int8Array:
        """The lattice points near z (n, *shape), lattice coordinates, inside the budget around `clean`."""
        if self.norm == "linf":
            return project_linf(z, clean, self.radius, self.quantization)
        return project_l2(z, clean, float(self.radius), self.quantization)

    def distance(self, q: Int8Array, clean: Int8Array) -> NDArray[np.float64]:
        """float64 (n,): the share of the budget that each q uses, 1 on its boundary; inf where it moves an element that
        may not move."""
        change = np.abs(q.astype(np.float64) - clean).reshape(len(q), -1)
        if self.norm == "l2":
            return np.asarray(np.linalg.norm(change, axis=1) / float(self.radius))
        reach = np.broadcast_to(self.radius, clean.shape[1:]).reshape(-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(change > 0, change / reach, 0.0)
        return np.asarray(share.max(axis=1))

    def info(self, name: str, params: dict[str, Any], variant: str) -> AttackInfo:
        """What an adversarial Dataset made inside this budget says of its making."""
        return AttackInfo(name, self.norm, self.eps, self.label, self.steps, params, variant)


def _unit(config: AttackConfig, dataset: Dataset) -> NDArray[np.float64]:
    """What an eps of 1 is in real input units, of each element (*shape) or of all ()."""
    if config.unit == "real":
        return np.asarray(1.0)
    assert dataset.spread is not None
    return np.asarray(np.broadcast_to(dataset.spread, dataset.input.shape), np.float64)


def _steps(config: AttackConfig, eps: float, dataset: Dataset, place: str) -> NDArray[np.float64]:
    if config.unit == "sigma" and dataset.spread is None:
        raise ConfigError(
            f"{place}: unit sigma, but data set {dataset.name} states no standard deviations", 'use unit = "real"'
        )
    if config.unit == "sigma" and config.norm == "l2":
        raise ConfigError(f"{place}: unit sigma goes with norm linf", 'use norm = "linf" or unit = "real"')
    return np.asarray(eps * _unit(config, dataset) / dataset.input.quantization.scale)
