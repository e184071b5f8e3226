"""One training run: epochs of compiled steps, validation, checkpoints."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.statistics import wilson
from pipeline.config.job import Job, TrainConfig, eps_value
from pipeline.core import registry
from pipeline.core.digest import digest_of
from pipeline.core.errors import ConfigError, DivergedError
from pipeline.core.nouns import Dataset, Int8Array, Progress, Split
from pipeline.training import augment, blocks, checkpoint, initial, keras_model
from pipeline.training.keras_backend import BFLOAT16, compiled, has_bfloat16, keras, to_numpy, value_and_gradients
from pipeline.training.objective import Objective, survives

ops = keras.ops


SETTLING_BATCHES = 30


MEASURES = ("loss", "accuracy", "jacobian")
"""What a step answers and the history averages."""
OVERFITTING = "overfitting"
"""Key of the epoch in which the guard saw it, the last one."""


@dataclass(frozen=True)
class _Done:
    """What whole epochs have left behind. best: the model's variables after the best one."""

    history: tuple[dict[str, float], ...] = ()
    best: tuple[NDArray[Any], ...] = ()
    best_score: tuple[float, float] = (-1.0, 0.0)

    @property
    def epoch(self) -> int:
        return len(self.history)

    @property
    def overfits(self) -> bool:
        """Whether the guard saw catastrophic overfitting in the last epoch."""
        return bool(self.history) and OVERFITTING in self.history[-1]


class Run:
    """One training run: model, optimizer and random state, and how far it has come.

    Everything that decides how training goes on changes inside a compiled step only, all of it or nothing: so a run can
    be broken off anywhere. `at_rest` keeps that state while validation borrows the model.
    """

    def __init__(self, job: Job, recipe: TrainConfig, dataset: Dataset, path: Path) -> None:
        if recipe.precision == "bfloat16" and not has_bfloat16():
            what = 'train.precision = "bfloat16": this processor has no instructions for it'
            raise ConfigError(f"{what} ({', '.join(BFLOAT16)})", 'precision = "float32", the default')
        keras.utils.set_random_seed(job.seed)
        self.job, self.recipe, self.dataset, self.path = job, recipe, dataset, path
        self.done = _Done()
        self.seconds = {"input": 0.0, "steps": 0.0, "validation": 0.0}
        self.at_rest: list[NDArray[Any]] | None = None
        builder = registry.load("models", job.model.name)
        self.model = builder.build(dataset.input, len(dataset.classes), job.model, recipe)
        blocks.check_layer_names(self.model, job.model)
        initial.start(self.model, job, recipe, builder, dataset)
        self.batch = min(recipe.batch_size, len(dataset.splits["train"]))
        self.steps = len(dataset.splits["train"]) // self.batch
        self.optimizer = _optimizer(recipe, self.steps * recipe.epochs)
        self.optimizer.build(self.model.trainable_variables)
        self.seed = keras.random.SeedGenerator(job.seed)
        self.sums = keras.Variable(np.zeros(len(MEASURES), np.float32), trainable=False, name="sums")
        teacher = initial.teacher(self.model, job.model, recipe, dataset.input) if recipe.distill else None
        self.objective = Objective(self.model, recipe, self._bounds(), self.seed, teacher)
        self._compile()

    def _compile(self) -> None:
        samples, labels = ((self.batch, *self.dataset.input.shape), "int8"), ((self.batch,), "int64")
        state = [*self._state(), self.sums]
        self.step = compiled(self._step, samples, labels, state=state)
        self.settle = compiled(self._settle, samples, labels, state=state)
        any_number = ((None, *self.dataset.input.shape), "int8"), ((None,), "int64")
        self.survives = compiled(self._survives, *any_number, state=state)
        one_step = functools.partial(self._survives, one_step=True)
        self.survives_one_step = compiled(one_step, *any_number, state=state)
        self.run_model = keras_model.inference(self.model)

    def train(self, progress: Progress) -> None:
        """All epochs that are left."""
        try:
            while self.done.epoch < self.recipe.epochs and not self.done.overfits:
                self._steps(progress)
                self.close_epoch()
                self._save()
        except KeyboardInterrupt:
            if np.all(np.isfinite(to_numpy(self.sums.value))):
                self._save()
            raise

    def _steps(self, progress: Progress) -> None:
        """The steps of this epoch that are left."""
        first = int(self.optimizer.iterations) - self.done.epoch * self.steps
        if first == 0:
            self.sums.assign(np.zeros(len(MEASURES), np.float32))
        total = self.steps * self.recipe.epochs
        batches = self.batches(first)
        for number in range(first + 1, self.steps + 1):
            with self._timed("input"):
                x, y = next(batches)
            with self._timed("steps"):
                values = to_numpy(self.step(x, y))
            if not np.all(np.isfinite(values)):
                raise self._diverged(number)
            progress("train", self.done.epoch * self.steps + number, total, self._info(number))

    def close_epoch(self) -> None:
        """Validates; appends to the history and updates the best weights. Leaves the state of training as it was."""
        self.at_rest = [*_values(self._state())]
        if self.recipe.ema:
            self.optimizer.finalize_variable_values(self.model.trainable_variables)
        with self._timed("validation"):
            record = {"epoch": self.done.epoch + 1, **self._means(self.steps), **self.validate()}
        score = (record[f"validation_{self.recipe.best_by}"], -record["validation_loss"])
        best, best_score = self.done.best, self.done.best_score
        if self.recipe.overfitting_guard and overfits(record, self.done.history, self._robust_count()):
            record[OVERFITTING] = 1.0
        elif score >= best_score:
            best, best_score = _values(self.model.variables), score
        self.assign(self._state(), self.at_rest)
        self.done = _Done((*self.done.history, record), best, best_score)
        self.at_rest = None

    def _save(self) -> None:
        facts = {
            "epoch": self.done.epoch,
            "history": self.done.history,
            "best_score": self.done.best_score,
            "sums": [float(v) for v in to_numpy(self.sums.value)],
        }
        state = self.at_rest or _values(self._state())
        checkpoint.save(self.path, self._key(), facts, [*state, *self.done.best])

    def restore(self) -> None:
        """Continues where the checkpoint stopped; without a checkpoint nothing happens."""
        if not self.path.exists():
            return
        facts, values = checkpoint.load(self.path, self._key())
        state, best = self._state(), self.model.variables if facts["epoch"] else []
        if [value.shape for value in values] != [tuple(variable.shape) for variable in [*state, *best]]:
            raise ConfigError(f"{self.path}: the checkpoint of another version of the model", "delete it to start over")
        self.assign(state, values[: len(state)])
        self.sums.assign(np.array(facts.get("sums", np.zeros(len(MEASURES))), np.float32))
        self.done = _Done(tuple(facts["history"]), tuple(values[len(state) :]), tuple(facts["best_score"]))

    def metrics(self) -> dict[str, Any]:
        """What a card says of the training; its shares are of the time that this process spent on it."""
        total = sum(self.seconds.values())
        sound = [record for record in self.done.history if OVERFITTING not in record]
        best = max(sound, key=lambda h: (h[f"validation_{self.recipe.best_by}"], -h["validation_loss"]))
        return {
            "epochs": self.done.epoch,
            **{key: value for key, value in best.items() if key.endswith("_accuracy")},
            "parameters": int(self.model.count_params()),
            "initial": self.recipe.initial,
            "teacher": self.recipe.distill or "none",
            **{f"{what}_share": round(self.seconds[what] / total, 4) for what in ("input", "validation") if total},
        }

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[what] += time.perf_counter() - started

    @staticmethod
    def assign(variables: Sequence[Any], values: Sequence[NDArray[Any]]) -> None:
        """Sets the variables, in order."""
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    def _step(self, x: Any, y: Any) -> Any:
        """One optimizer step on int8 x and labels y; its MEASURES, a vector."""
        real = self._real(x)
        total = self.steps * self.recipe.epochs
        variables = self.model.trainable_variables
        noise = self.objective.noise(ops.cast(self.optimizer.iterations, "float32") / total)
        with blocks.precision(self.model, self.recipe.precision), noise:
            attacked = self.objective.attacked(real, y)

            def loss() -> tuple[Any, Any]:
                values = self.objective.loss(real, y, attacked)
                return values[0], ops.stack(values)

            with self.objective.perturbed(real, y, attacked):
                values, gradients = value_and_gradients(loss, variables)
        self.optimizer.apply(gradients, variables)
        self.sums.assign_add(values)
        return values

    def batches(self, first: int) -> Iterator[tuple[Int8Array, NDArray[np.int64]]]:
        """Batches of one epoch from number `first` on: order and augmentation depend on seed and epoch only."""
        split: Split = self.dataset.splits["train"]
        rng = np.random.default_rng((self.job.seed, self.done.epoch))
        order = rng.permutation(len(split))[: self.steps * self.batch].reshape(self.steps, self.batch)
        vary = augment.MODES[self.dataset.augment if self.recipe.augment else "none"]
        for number, index in enumerate(order):
            x = vary(split.x[index], self.dataset.input.quantization, rng)
            if number >= first:
                yield x, split.y[index]

    def _settle_statistics(self) -> None:
        """Moves the statistics of batch normalization from the noisy weights of training to those of inference, on
        samples as training sees them: attacked ones in adversarial training."""
        split = self.dataset.splits["train"]
        for number in range(SETTLING_BATCHES):
            start = number * self.batch % (len(split) - self.batch + 1)
            part = slice(start, start + self.batch)
            self.settle(split.x[part], split.y[part])

    def _settle(self, x: Any, y: Any) -> Any:
        real = self._real(x)
        with blocks.deterministic(self.model):
            inputs = self.objective.inputs(real, self.objective.attacked(real, y))
            return self.model(inputs, training=True)

    def _real(self, x: Any) -> Any:
        quantization = self.dataset.input.quantization
        return (ops.cast(x, "float32") - float(quantization.zero_point)) * quantization.scale

    def _bounds(self) -> tuple[float, float]:
        quantization = self.dataset.input.quantization
        low, high = quantization.dequantize(np.array([quantization.qmin, quantization.qmax]))
        return float(low), float(high)

    def validate(self) -> dict[str, float]:
        """Accuracy and cross-entropy of deterministic inference on the validation split; accuracy on its first samples
        under attack, if the recipe asks for it. Moves the normalization statistics to those of inference before."""
        self._settle_statistics()
        split = self.dataset.splits["validation"]
        logits = keras_model.predict(self.run_model, split.x, self.dataset.input.quantization)
        entropy = keras.losses.sparse_categorical_crossentropy(split.y, logits, from_logits=True)
        found = {
            "validation_accuracy": float(np.mean(logits.argmax(axis=1) == split.y)),
            "validation_loss": float(ops.mean(entropy)),
        }
        few = split.subset(self.recipe.robust_samples, self.job.seed)
        if len(few):
            found["validation_robust_accuracy"] = self._kept(self.survives, few)
            if self.recipe.overfitting_guard:
                found["validation_fgsm_accuracy"] = self._kept(self.survives_one_step, few)
        return found

    @staticmethod
    def _kept(survives: Callable[[Any, Any], Any], few: Split) -> float:
        """Share of the samples that survive."""
        parts = [slice(i, i + keras_model.BATCH) for i in range(0, len(few), keras_model.BATCH)]
        return float(np.mean(np.concatenate([to_numpy(survives(few.x[part], few.y[part])) for part in parts])))

    def _robust_count(self) -> int:
        return min(self.recipe.robust_samples, len(self.dataset.splits["validation"]))

    def _survives(self, x: Any, y: Any, one_step: bool = False) -> Any:
        eps, loss = eps_value(self.recipe.robust_budget or "1"), self.recipe.robust_loss
        setting = (self.model, self._real(x), y, eps, self._bounds(), self.job.seed, loss)
        return survives(*setting, one_step=one_step)

    def _means(self, steps: int) -> dict[str, float]:
        return dict(zip(MEASURES, (float(v) / steps for v in to_numpy(self.sums.value)), strict=True))

    def _info(self, steps: int) -> str:
        means = self._means(steps)
        text = f"epoch {self.done.epoch + 1}/{self.recipe.epochs} loss {means['loss']:.3f} acc {means['accuracy']:.3f}"
        if self.done.history:
            last = self.done.history[-1]
            text += f" val {last['validation_accuracy']:.3f}"
            if "validation_robust_accuracy" in last:
                text += f" robust {last['validation_robust_accuracy']:.3f}"
        return text

    def _diverged(self, step: int) -> DivergedError:
        kept = f"; the checkpoint of epoch {self.done.epoch} is kept" if self.done.epoch else ""
        strength, regularized = self.recipe.jacobian_lambda, self.recipe.regularized
        levers = "train.learning_rate" + (" or train.jacobian_lambda" if regularized else "")
        now = f"{self.recipe.learning_rate:g}" + (f", {strength}" if regularized else "")
        return DivergedError(
            f"{self.job.name}: the loss is not finite at step {step} of epoch {self.done.epoch + 1}{kept}",
            f"lower {levers} (now {now})",
        )

    def _state(self) -> list[Any]:
        """Every variable that determines how training continues."""
        return [*self.model.variables, *self.optimizer.variables, self.seed.state]

    def _key(self) -> str:
        recipe = {key: value for key, value in self.recipe.identity().items() if key != "epochs"}
        sources = initial.digests(self.job)
        return digest_of(self.job.seed, self.job.model.identity(), recipe, self.dataset.digest, *sources)


def overfits(now: Mapping[str, float], before: Sequence[Mapping[str, float]], samples: int) -> bool:
    """Whether an epoch shows catastrophic overfitting (Wong, Rice, Kolter 2020, arXiv 2001.03994): of the epoch before
    it that withstood PGD best, its PGD accuracy lies below that one's by more than 95 % intervals at so many samples
    leave open, and its FGSM accuracy does not."""
    if not before:
        return False
    best = max(before, key=lambda record: record["validation_robust_accuracy"])

    def fell(name: str) -> bool:
        (_, high), (low, _) = (wilson(round(record[name] * samples), samples) for record in (now, best))
        return high < low

    return fell("validation_robust_accuracy") and not fell("validation_fgsm_accuracy")


def _optimizer(recipe: TrainConfig, steps: int) -> Any:
    """Adam, with decoupled weight decay if wanted, and a cosine schedule over all steps."""
    floor = recipe.final_learning_rate / recipe.learning_rate
    rising = round(recipe.warmup * steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if rising else recipe.learning_rate,
        max(steps - rising, 1),
        alpha=floor,
        warmup_target=recipe.learning_rate if rising else None,
        warmup_steps=rising,
    )
    averaged = {"use_ema": True, "ema_momentum": recipe.ema} if recipe.ema else {}
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay, **averaged)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _values(variables: Sequence[Any]) -> tuple[NDArray[Any], ...]:
    return tuple(to_numpy(v.value if hasattr(v, "value") else v).copy() for v in variables)
