"""What a training step, averaged weights, settled statistics and inference do under one backend, from given states.

python -m tests.support.backend_steps OUT.npz [REFERENCE.npz]: without a reference it trains and keeps the states it
began each part in; with one it begins every part in the reference's state, so that nothing but this part's own rounding
can differ. KERAS_BACKEND and the instruction sets are the environment's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.dataset import DatasetConfig
from pipeline.config.job import AdversarialConfig, Job, ModelConfig, TrainConfig
from pipeline.core import registry
from pipeline.training import keras_model, quantizers
from pipeline.training.keras_backend import compiled, input_gradient, keras, to_numpy
from pipeline.training.run import Run

ops = keras.ops

STEPS = 4
"""The first one is the reference's alone: from moments that are zero, Adam moves a weight by the sign of its gradient,
and that of a gradient near zero is rounding's."""
GRID = 2.0**-12
"""Weights on this grid have sums without rounding, in any order: so have their ternary codes, and those of their
averages by halves. Else a weight beside its threshold has another code on another processor, and all that follows
differs by far more than rounding."""
SPREAD = np.linspace(-10, 10, 4001, dtype=np.float32)
"""Inputs of the quantizers: below, on and above every range, halves of their steps among them."""
ATTACK = AdversarialConfig(method="pgd", eps="8/255", steps=2, random_start=False)

States = Mapping[str, NDArray[Any]]


def recipe(**more: Any) -> Job:
    """Training without noise, with averaged weights."""
    settings: dict[str, Any] = {"epochs": 1, "batch_size": 32, "learning_rate": 3e-3, "jacobian_lambda": 0, **more}
    return Job(
        name="steps",
        dataset=DatasetConfig(name="digits", limit_train=192),
        model=ModelConfig(name="digits_cnn", width=0.5),
        train=TrainConfig(**settings, stochastic=False, ema=0.5),
        calibration=64,
    )


def without_rounding() -> None:
    """Activations clip as ever but are not rounded: a sum that lies beside a half would round to the other neighbour on
    another processor, and one code moves a gradient by a hundredth. What rounding does is compared by itself."""

    def relu(self: Any, x: Any) -> Any:
        return ops.clip(x, 0.0, 2.0**self.integer - 2.0 ** (self.integer - self.bits))

    def linear(self: Any, x: Any) -> Any:
        return ops.clip(x, -(2.0**self.integer), 2.0**self.integer - 2.0 ** (self.integer - self.bits + 1))

    quantizers.QuantizedRelu.__call__, quantizers.QuantizedLinear.__call__ = relu, linear


def quantized() -> dict[str, NDArray[Any]]:
    """What every quantizer makes of the same numbers, and its gradient: values without sums, so equal to the bit."""
    found = {}
    for bits in (2, 8):
        for kind in (quantizers.QuantizedRelu(bits, 2), quantizers.QuantizedLinear(bits, 2, alpha=1.0)):
            name = f"{type(kind).__name__} {bits}"
            act = compiled(lambda x, kind=kind: input_gradient(lambda z: ops.sum(kind(z)), x), ((None,), "float32"))
            found[f"gradient of {name}"] = to_numpy(act(SPREAD))
            found[name] = to_numpy(kind(ops.convert_to_tensor(SPREAD)))
    weights = (np.round(np.random.default_rng(0).normal(size=(3, 3, 4, 8)) / GRID) * GRID).astype(np.float32)
    for bits in (1, 2, 3, 8):
        codes, _ = quantizers.weight_codes(quantizers.of_width(bits, stochastic=False), weights)
        found[f"codes of {bits} bits"] = codes
    return found


class Parts:
    """A Run taken apart. found: arrays by "part/begin/variable" and "part/end/variable", "attacked" and "logits"."""

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
            x, y = next(batches)
            if number > 1 or self.given is None:
                self.part(f"step {number}", lambda x=x, y=y: self.run.step(x, y))
        self.part("average", lambda: self.run.optimizer.finalize_variable_values(self.run.model.trainable_variables))
        self.part("settle", self.run._settle_statistics)
        self.part("attack", lambda: self.keep("attacked", self.attacked(x, y)))
        split, quantization = self.data.splits["validation"], self.data.input.quantization
        self.part("infer", lambda: self.keep("logits", keras_model.predict(self.run.run_model, split.x, quantization)))

    def attacked(self, x: Any, y: Any) -> NDArray[Any]:
        """Adversarial copies of a batch, as adversarial training makes them."""
        train = recipe(adversarial=ATTACK).train
        assert train is not None
        attacker = replace(self.run.objective, recipe=train)
        shape = ((self.run.batch, *self.data.input.shape), "int8"), ((self.run.batch,), "int64")
        graph = compiled(lambda x, y: attacker.attacked(self.run._real(x), y), *shape, state=self.run.model.variables)
        return to_numpy(graph(x, y))

    def part(self, name: str, act: Callable[[], Any]) -> None:
        """Does one part from its given state, and keeps the states before and after it."""
        self.begin(name)
        act()
        self._keep_state(f"{name}/end")

    def keep(self, name: str, value: NDArray[Any]) -> None:
        self.found[name] = value

    def begin(self, part: str) -> None:
        if self.given is None:
            averaged = [v for v in self.run.optimizer.variables if v.path.endswith("_average")]
            for variable in (*self.run.model.trainable_variables, *averaged):
                variable.assign(np.round(to_numpy(variable.value) / GRID) * GRID)
        else:
            self.run.assign(self.variables, [self.given[f"{part}/begin/{name}"] for name in self.names])
        self._keep_state(f"{part}/begin")

    def _keep_state(self, where: str) -> None:
        for name, variable in zip(self.names, self.variables, strict=True):
            self.found[f"{where}/{name}"] = to_numpy(variable.value).copy()


def main() -> None:
    out, *reference = map(Path, sys.argv[1:])
    codes = quantized()
    without_rounding()
    parts = Parts(out.parent, np.load(reference[0]) if reference else None)
    parts.all()
    np.savez(out, **parts.found, **codes)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
