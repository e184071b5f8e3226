"""The attack stage: clean Dataset -> clean and adversarial Datasets, each with the Keras model's logits.

An attack works on real numbers; what counts is what the device can receive. So every outcome is put onto the input
lattice inside the eps-ball first, and success is measured on that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.job import AttackConfig, Job, eps_value
from pipeline.core import registry
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import AttackInfo, Dataset, FloatArray, Int8Array, Progress, Quantization, Split, no_progress
from pipeline.quantization import layerwise
from pipeline.robustness.attacks import _art
from pipeline.robustness.projection import SLACK, project_l2, project_linf
from pipeline.training import keras_model

BATCH = 128
ONE_STEP = ("fgsm",)
"""Attacks that know no steps and no random starts."""
SENSITIVITY_SAMPLES = 128


def attack(
    job: Job, trained_folder: Path, dataset: Dataset, *, progress: Progress = no_progress
) -> tuple[Dataset, ...]:
    """The clean test split, then one adversarial Dataset per attack and eps of the job; each has only the split "test".

    trained_folder: holds model.keras. Misclassified samples are left as they are; every other one becomes its
    adversarial copy, successful or not. ConfigError: an eps smaller than one lattice step.
    """
    budgets = [_Budget.of(config, label, dataset, i) for i, config in enumerate(job.attacks) for label in config.eps]
    model = keras_model.load(trained_folder)
    run = keras_model.inference(model)
    test = dataset.splits["test"].take(job.dataset.limit_test)
    logits = keras_model.predict(run, test.x, dataset.input.quantization, progress=progress)
    clean = replace(dataset, splits={"test": test}, keras_logits=logits)
    if not budgets:
        return (clean,)
    total = sum(len(budget.samples(test)) for budget in budgets)
    attacker = _Attacker(clean, run, _art.classifier(model, dataset), job.seed, total, progress)
    return (clean, *(attacker.run(budget) for budget in budgets))


def noise_sensitivity(
    job: Job, eps: str, trained_folder: Path, dataset: Dataset, *, progress: Progress = no_progress
) -> dict[str, float]:
    """Adversarial noise sensitivity of every layer of the Keras model with weights, by name (layerwise.quanos): FGSM of
    eps on the first training samples."""
    config = AttackConfig(name="fgsm", eps=(eps,))
    samples = replace(dataset, splits={"test": dataset.splits["train"].take(SENSITIVITY_SAMPLES)})
    clean, attacked = attack(job.model_copy(update={"attacks": (config,)}), trained_folder, samples, progress=progress)
    model, quantization = keras_model.load(trained_folder), dataset.input.quantization
    names = [layer.name for layer in model.layers if hasattr(layer, "get_quantizers")]
    outputs = [keras_model.layer_outputs(model, d.splits["test"].x, quantization, names) for d in (clean, attacked)]
    return layerwise.noise_sensitivity(*outputs)


@dataclass(frozen=True)
class _Budget:
    """One attack at one eps. steps: largest change of an element in lattice steps; eps: largest norm, real units."""

    config: AttackConfig
    label: str
    eps: float
    steps: int

    @staticmethod
    def of(config: AttackConfig, label: str, dataset: Dataset, place: int) -> _Budget:
        scale = dataset.input.quantization.scale
        eps = eps_value(label)
        steps = math.floor(eps / scale * (1 + SLACK))
        if steps < 1:
            raise ConfigError(
                f"attacks.{place}.eps = {label}: smaller than one step of the input lattice of {dataset.name}",
                f"the smallest useful eps is {scale:.6g}",
            )
        return _Budget(config, label, steps * scale if config.norm == "linf" else eps, steps)

    def samples(self, test: Split) -> Split:
        """Those this attack works on."""
        return test.take(self.config.samples)

    def info(self) -> AttackInfo:
        """What the adversarial Dataset says of its making."""
        params = self.config.model_dump(
            include=set() if self.config.name in ONE_STEP else {"steps", "step_size", "restarts"}
        )
        return AttackInfo(self.config.name, self.config.norm, eps_value(self.label), self.label, self.steps, params)

    def project(self, x: FloatArray, clean: Int8Array, quantization: Quantization) -> Int8Array:
        """The lattice point near the real x (n, *shape) inside the ball of this budget around `clean`."""
        if self.config.norm == "linf":
            return project_linf(quantization.quantize(x), clean, self.steps)
        return project_l2(x, clean, self.eps, quantization)


@dataclass
class _Attacker:
    """Runs budgets against one model; `done` of `total` samples are behind it."""

    clean: Dataset
    model: Callable[[Any], Any]
    classifier: Any
    seed: int
    total: int
    progress: Progress
    done: int = 0

    def run(self, budget: _Budget) -> Dataset:
        """The adversarial Dataset of one budget."""
        split, quantization = budget.samples(self.clean.splits["test"]), self.clean.input.quantization
        assert self.clean.keras_logits is not None
        hit = np.flatnonzero(self.clean.keras_logits[: len(split)].argmax(axis=1) == split.y)
        x = split.x.copy()
        fooled = 0
        for start in range(0, len(hit), BATCH):
            index = hit[start : start + BATCH]
            x[index] = self._batch(budget, split.x[index], split.y[index], self.seed + start)
            fooled += int(
                np.sum(keras_model.predict(self.model, x[index], quantization).argmax(axis=1) != split.y[index])
            )
            info = f"{budget.config.name} eps {budget.label}: {fooled} of {start + len(index)} fooled"
            self.progress("attack", self.done + int(index[-1]) + 1, self.total, info)
        self.done += len(split)
        return replace(
            self.clean,
            splits={"test": replace(split, x=x)},
            parent=self.clean.digest,
            attack=budget.info(),
            keras_logits=keras_model.predict(self.model, x, quantization),
        )

    def _batch(self, budget: _Budget, x: Int8Array, y: NDArray[np.int64], seed: int) -> Int8Array:
        """Adversarial copies of x on the lattice, inside the budget."""
        module, quantization = registry.load("attacks", budget.config.name), self.clean.input.quantization
        real = module.run(self.classifier, quantization.dequantize(x), y, budget.config, budget.eps, seed)
        return budget.project(np.asarray(real, dtype=np.float32), x, quantization)
