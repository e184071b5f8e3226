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
from pipeline.training import keras_model, quantizers, run
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
NOISY = AdversarialConfig(method="n_fgsm", eps="8/255")
ROBUST = {"robust_samples": 32, "robust_eps": "8/255", "overfitting_guard": True}
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "adversarial": {},
    "awp": {"awp": 0.01},
    "robust teacher": {"distill": "a linear one", "distill_robust": True},
}
"""Steps of adversarial training, from one state."""
WARMUP = 0.25

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


def with_given_draws() -> None:
    """Uniform numbers are the same under every backend, whose generators differ: those of `draws`."""

    def uniform(shape: Any, minval: float = 0.0, maxval: float = 1.0, **_: Any) -> Any:
        one = tuple(shape)[1:]  # of any number of samples: attacks that judge an epoch take any
        return ops.broadcast_to(ops.convert_to_tensor(minval + (maxval - minval) * draws(one)), shape)

    keras.random.uniform = uniform


def draws(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Numbers in [0, 1)."""
    return np.random.default_rng(0).random(shape).astype(np.float32)


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


def learning_rates() -> NDArray[Any]:
    """That of each step of a training of 100, its rise and its fall."""
    train = recipe(warmup=WARMUP).train
    assert train is not None
    schedule = run._optimizer(train, 100)._learning_rate
    return np.array([float(schedule(step)) for step in range(101)])


class Parts:
    """A Run taken apart. found: arrays by "part/begin/variable" and "part/end/variable", and what `all` keeps."""

    def __init__(self, folder: Path, given: States | None) -> None:
        job = recipe(**ROBUST)
        assert job.train is not None
        self.data = registry.load("datasets", "digits").load(None, cache=folder / "cache")
        self.run = Run(job, job.train, self.data, folder / "checkpoint")
        self.batches = ((self.run.batch, *self.data.input.shape), "int8"), ((self.run.batch,), "int64")
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
        start = [to_numpy(v.value).copy() for v in self.variables]
        for name, more in OPTIONS.items():
            self.run.assign(self.variables, start)
            self.part(name, lambda more=more: self.step_with(x, y, **more))
        self.part("average", lambda: self.run.optimizer.finalize_variable_values(self.run.model.trainable_variables))
        self.part("settle", self.run._settle_statistics)
        self.part("attack", lambda: self.keep("attacked", self.attacked(x, y, ATTACK)))
        self.part("noisy attack", lambda: self.keep("noisily attacked", self.attacked(x, y, NOISY)))
        self.keep("real", to_numpy(self.run._real(x)))
        self.part("judge", lambda: self.judge(x, y))
        self.keep("learning rates", learning_rates())
        split, quantization = self.data.splits["validation"], self.data.input.quantization
        self.part("infer", lambda: self.keep("logits", keras_model.predict(self.run.run_model, split.x, quantization)))

    def attacked(self, x: Any, y: Any, attack: AdversarialConfig) -> NDArray[Any]:
        """Adversarial copies of a batch, as adversarial training makes them."""
        attacker = replace(self.run.objective, recipe=recipe(adversarial=attack).train)
        state = [*self.run.model.variables, self.run.seed.state]
        graph = compiled(lambda x, y: attacker.attacked(self.run._real(x), y), *self.batches, state=state)
        return to_numpy(graph(x, y))

    def step_with(self, x: Any, y: Any, **more: Any) -> None:
        """A step of adversarial training on given attacked samples, with a linear teacher where one is asked for: an
        attack of each backend's own would differ where a gradient is near zero."""
        weights = draws((int(np.prod(self.data.input.shape)), len(self.data.classes)))
        teacher = (lambda x: ops.reshape(x, (self.run.batch, -1)) @ weights) if "distill" in more else None
        objective = replace(self.run.objective, recipe=recipe(adversarial=ATTACK, **more).train, teacher=teacher)
        objective.attacked = lambda x, y: ops.clip(x + 8 / 255 * (2 * draws(tuple(x.shape)) - 1), 0, 1)
        kept, self.run.objective = self.run.objective, objective
        compiled(self.run._step, *self.batches, state=[*self.run._state(), self.run.sums])(x, y)
        self.run.objective = kept

    def judge(self, x: Any, y: Any) -> None:
        """Which samples survive the attacks that the guard against overfitting compares."""
        for name, survives in (("PGD", self.run.survives), ("FGSM", self.run.survives_one_step)):
            self.keep(f"survive {name}", to_numpy(survives(x, y)))

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
    with_given_draws()
    parts = Parts(out.parent, np.load(reference[0]) if reference else None)
    parts.all()
    np.savez(out, **parts.found, **codes)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
