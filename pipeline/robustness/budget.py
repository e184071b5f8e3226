"""Budgets: how far an attack may move a sample, in the steps of the lattice that the device receives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.job import WAVEFORM_UNITS, AttackConfig, eps_value
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import AttackInfo, Dataset, FloatArray, Quantization
from pipeline.robustness.projection import SLACK, Lattice, project_l2, project_linf
from pipeline.robustness.waveform import PCM, Sound


@dataclass(frozen=True)
class Budget:
    """A ball around each sample; every point of it that an attack may use is a lattice point: int8, of a waveform
    int16."""

    norm: str
    """"linf" or "l2"."""
    label: str
    """eps as the job writes it, with its unit where that is not real."""
    eps: float
    """As the job says it, in `unit`."""
    radius: NDArray[np.float64]
    """In lattice steps: for linf whole numbers, of each element (*shape) or of all (); for l2 one number ()."""
    quantization: Quantization
    """Of what is attacked."""
    unit: str = "real"
    """Of eps, see AttackConfig."""
    relative: bool = False
    """The radius is a share of each sample's own Euclidean length, of all that the sample differs from silence."""

    @staticmethod
    def of(config: AttackConfig, label: str, dataset: Dataset, place: str, sound: Sound | None = None) -> Budget:
        """The budget of one eps of a job's attack. place: where it is written, for messages; sound: the recordings of
        the data set. ConfigError: smaller than one lattice step, larger than the whole input range, in sigma for a data
        set that states none, or of a waveform where there are no recordings."""
        if config.on_waveform:
            return _of_waveform(config, label, dataset, place, sound)
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
        return Budget(config.norm, f"{label}{unit}", eps, steps, quantization, config.unit)

    @property
    def steps(self) -> int:
        """Largest change of any element in lattice steps."""
        return math.floor(float(self.radius.max()) * (1 + SLACK))

    def radii(self, clean: Lattice) -> NDArray[np.float64]:
        """In lattice steps, to be multiplied with samples like clean (n, *shape): of each element, of each sample or of
        all."""
        if not self.relative:
            return self.radius
        length = np.linalg.norm(clean.reshape(len(clean), -1).astype(np.float64), axis=1)
        return np.asarray(self.radius * length).reshape(-1, *[1] * (clean.ndim - 1))

    def low(self, clean: Lattice) -> FloatArray:
        """float32 like clean: the smallest value of each element inside the budget and the input range."""
        return np.maximum(clean - self._reach(clean), self.quantization.qmin).astype(np.float32)

    def high(self, clean: Lattice) -> FloatArray:
        """float32 like clean: the largest value of each element inside the budget and the input range."""
        return np.minimum(clean + self._reach(clean), self.quantization.qmax).astype(np.float32)

    def _reach(self, clean: Lattice) -> NDArray[np.float64]:
        return np.asarray(np.floor(self.radii(clean) * (1 + SLACK)))

    def project(self, z: NDArray[Any], clean: Lattice) -> Lattice:
        """The lattice points near z (n, *shape), lattice coordinates, inside the budget around `clean`."""
        if self.norm == "linf":
            return project_linf(z, clean, self.radius, self.quantization)
        return project_l2(z, clean, self.radii(clean).reshape(-1), self.quantization)

    def distance(self, q: Lattice, clean: Lattice) -> NDArray[np.float64]:
        """float64 (n,): the share of the budget that each q uses, 1 on its boundary; inf where it moves an element that
        may not move."""
        change = np.abs(q.astype(np.float64) - clean).reshape(len(q), -1)
        if self.norm == "l2":
            change, reach = np.linalg.norm(change, axis=1, keepdims=True), self.radii(clean).reshape(-1, 1)
        else:
            reach = np.broadcast_to(self.radius, clean.shape[1:]).reshape(-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(change > 0, change / reach, 0.0)
        return np.asarray(share.max(axis=1))

    def info(self, name: str, params: dict[str, Any], variant: str = "") -> AttackInfo:
        """What an adversarial Dataset made inside this budget says of its making."""
        steps = None if self.unit in WAVEFORM_UNITS else self.steps
        return AttackInfo(name, self.norm, self.eps, self.label, steps, params, variant, self.unit)


def _of_waveform(config: AttackConfig, label: str, dataset: Dataset, place: str, sound: Sound | None) -> Budget:
    """Of recordings: eps dB is the Euclidean radius of 10^(-eps / 20) times the length of a sample."""
    if sound is None:
        what = f"{place}: unit {config.unit} is one of waveforms, data set {dataset.name} offers no recordings"
        raise ConfigError(what, 'use unit = "real", or a data set of sound: speech_commands, wav')
    eps = eps_value(label)
    if config.unit == "int16":
        if not 1 <= eps <= PCM.qmax - PCM.qmin:
            raise ConfigError(f"{place} = {label}: not 1 to {PCM.qmax - PCM.qmin} steps of a 16-bit sample")
        return Budget(config.norm, f"{label} int16 steps", eps, np.floor(np.asarray(eps)), PCM, config.unit)
    most = 20 * math.log10(-PCM.qmin * math.sqrt(sound.front.samples))
    if eps > most:
        what = f"{place} = {label}: a noise so far below the signal changes no 16-bit sample of the loudest recording"
        raise ConfigError(what, f"eps is the signal-to-noise ratio in dB, at most {most:.0f}; 20 to 40 are usual")
    radius = np.asarray(10 ** (-eps / 20))
    return Budget(config.norm, f"{label} dB", eps, radius, PCM, config.unit, relative=True)


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
    return np.asarray(eps * _unit(config, dataset) / dataset.input.quantization.scale)
