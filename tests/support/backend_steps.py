"""What a training step, averaged weights, settled statistics and inference do under one backend, from given states.

python -m tests.support.backend_steps OUT.npz [REFERENCE.npz]: without a reference it trains and keeps the states it
began each part in; with one it begins every part in the reference's state, so that nothing but this part's own rounding
can differ. KERAS_BACKEND and the instruction sets are the environment's.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.job import AdversarialConfig, DatasetConfig, Job, ModelConfig, TrainConfig
from pipeline.core import registry
from pipeline.training import keras_model
from pipeline.training.keras_backend import to_numpy
from pipeline.training.run import MEASURES, Run

STEPS = 4
GRID = 2.0**-12
"""Weights on this grid have sums without rounding, in any order: so have their ternary codes, and those of their
averages by halves. Else a weight beside its threshold has another code on another processor, and all that follows
differs by far more than rounding."""

States = Mapping[str, NDArray[Any]]


def recipe() -> Job:
    """Adversarial training without noise, with averaged weights."""
    attack = AdversarialConfig(method="pgd", eps="8/255", steps=2, random_start=False)
    settings: dict[str, Any] = {"epochs": 1, "batch_size": 32, "learning_rate": 3e-3, "jacobian_lambda": 0}
    return Job(
        name="steps",
        dataset=DatasetConfig(name="digits", limit_train=192),
        model=ModelConfig(name="digits_cnn", width=0.5),
        train=TrainConfig(**settings, stochastic=False, adversarial=attack, ema=0.5),
        calibration=64,
    )


class Parts:
    """A Run taken apart. found: arrays by "part/begin/variable" and "part/end/variable", and "logits"."""

    def __init__(self, folder: Path, given: States | None) -> None:
        job = recipe()
        assert job.train is not None
        self.data = registry.load("datasets", "digits").load(None, cache=folder / "cache")
        self.run = Run(job, job.train, self.data, folder / "checkpoint")
        self.variables = [*self.run.model.variables, *self.run.optimizer.variables]
        self.names = [f"{number} {v.path}" for number, v in enumerate(self.variables)]
        self.given = given
        self.found: dict[str, NDArray[Any]] = {}

    def all(self) -> None:
        batches = self.run.batches(0)
        for number in range(1, STEPS + 1):
            self.begin(f"step {number}")
            self.run.sums.assign(np.zeros(len(MEASURES), np.float32))
            self.found[f"measures {number}"] = to_numpy(self.run.step(*next(batches)))
            self.end(f"step {number}")
        self.begin("average")
        self.run.optimizer.finalize_variable_values(self.run.model.trainable_variables)
        self.end("average")
        self.begin("settle")
        self.run._settle_statistics()
        self.end("settle")
        self.begin("infer")
        x = self.data.splits["validation"].x
        self.found["logits"] = keras_model.predict(self.run.run_model, x, self.data.input.quantization)

    def begin(self, part: str) -> None:
        if self.given is None:
            averaged = [v for v in self.run.optimizer.variables if v.path.endswith("_average")]
            for variable in (*self.run.model.trainable_variables, *averaged):
                variable.assign(np.round(to_numpy(variable.value) / GRID) * GRID)
        else:
            self.run.assign(self.variables, [self.given[f"{part}/begin/{name}"] for name in self.names])
        self._keep(f"{part}/begin")

    def end(self, part: str) -> None:
        self._keep(f"{part}/end")

    def _keep(self, where: str) -> None:
        for name, variable in zip(self.names, self.variables, strict=True):
            self.found[f"{where}/{name}"] = to_numpy(variable.value).copy()


def main() -> None:
    out, *reference = map(Path, sys.argv[1:])
    parts = Parts(out.parent, np.load(reference[0]) if reference else None)
    parts.all()
    np.savez(out, **parts.found)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
