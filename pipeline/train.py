"""The train stage: Dataset -> TrainedModel, by quantization-aware training of a Keras model."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import jacobian, registry
from pipeline.backend import compiled, keras, to_numpy, value_and_gradients
from pipeline.datasets import _augment
from pipeline.errors import ConfigError, ToolError
from pipeline.job import Job, TrainConfig
from pipeline.models import _blocks, _keras
from pipeline.types import Dataset, Int8Array, Progress, Split, TrainedModel, digest_of, no_progress

ops = keras.ops

CHECKPOINTS = "checkpoints"
CHECKPOINT = "last.npz"
CHECKPOINT_FORMAT = 1
SETTLING_BATCHES = 30
WARM_SAMPLES = 512
"""Training samples that show a warm start the ranges of its tensors."""


def train(
    job: Job,
    dataset: Dataset,
    folder: Path,
    *,
    resume: bool = False,
    epochs: int | None = None,
    progress: Progress = no_progress,
) -> TrainedModel:
    """The trained network; writes folder/model.keras and, after every epoch, folder/checkpoints/last.npz.

    The weights are those of the epoch with the best validation accuracy, of equals the one with the smaller loss there.
    resume: continue from the checkpoint if there is one; the weights then equal those of an unbroken run. epochs:
    instead of the job's.
    ConfigError: the loss is no longer finite (the last good checkpoint is kept), a checkpoint of another job.
    """
    recipe = job.train if epochs is None else job.train.model_copy(update={"epochs": epochs})
    run = _Run(job, recipe, _limited(dataset, job.dataset.limit_train), folder / CHECKPOINTS / CHECKPOINT)
    if resume:
        run.restore()
    while run.epoch < recipe.epochs:
        run.train_epoch(progress)
        run.save()
    run.assign(run.model.variables, run.best)
    _keras.save(run.model, folder)
    trained = _keras.describe(run.model, dataset, job.calibration)
    metrics = {
        "epochs": run.epoch,
        "validation_accuracy": run.best_score[0],
        "parameters": int(run.model.count_params()),
    }
    return replace(trained, name=job.name, history=tuple(run.history), metrics=metrics)


def _limited(dataset: Dataset, samples: int | None) -> Dataset:
    return replace(dataset, splits={**dataset.splits, "train": dataset.splits["train"].take(samples)})


@dataclass
class _Run:
    """One training run: model, optimizer and random state, and how far it has come."""

    job: Job
    recipe: TrainConfig
    dataset: Dataset
    path: Path
    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: list[NDArray[Any]] = field(default_factory=list)
    best_score: tuple[float, float] = (-1.0, 0.0)

    def __post_init__(self) -> None:
        keras.utils.set_random_seed(self.job.seed)
        builder = registry.load("models", self.job.model.name)
        self.model = builder.build(self.dataset.input, len(self.dataset.classes), self.job.model, self.recipe)
        if self.recipe.initial != "random":
            self._warm_start(builder)
        self.projections = keras.random.SeedGenerator(self.job.seed)
        self.batch = min(self.recipe.batch_size, len(self.dataset.splits["train"]))
        self.steps = len(self.dataset.splits["train"]) // self.batch
        self.optimizer = _optimizer(self.recipe, self.steps * self.recipe.epochs)
        self.optimizer.build(self.model.trainable_variables)
        self.step = compiled(self._step, ((self.batch, *self.dataset.input.shape), "int8"), ((self.batch,), "int64"))
        self.settle = compiled(self._settle, ((self.batch, *self.dataset.input.shape), "int8"))
        self.run_model = _keras.inference(self.model)

    def _warm_start(self, builder: Any) -> None:
        if not hasattr(builder, "warm_start"):
            what = f"train.initial: model {self.job.model.name!r} has no reference weights"
            raise ConfigError(what, 'set train.initial = "random"')
        root = os.environ.get("TRITMCU_DATA")
        x = self.dataset.splits["train"].x[:WARM_SAMPLES]
        builder.warm_start(self.model, Path(root) if root else None, self.dataset.input.quantization.dequantize(x))

    def train_epoch(self, progress: Progress) -> None:
        """One pass over the training split, then validation; appends to the history and updates the best weights."""
        sums = np.zeros(3)
        total = self.steps * self.recipe.epochs
        for number, (x, y) in enumerate(self._batches(), start=1):
            values = np.array([float(v) for v in self.step(x, y)])
            if not np.all(np.isfinite(values)):
                raise self._diverged(number)
            sums += values
            progress("train", self.epoch * self.steps + number, total, self._info(sums / number))
        loss, accuracy, penalty = (float(v) for v in sums / self.steps)
        self._settle_statistics()
        validation, validation_loss = self._validate()
        self.epoch += 1
        self.history.append(
            {
                "epoch": self.epoch,
                "loss": loss,
                "accuracy": accuracy,
                "jacobian": penalty,
                "validation_accuracy": validation,
                "validation_loss": validation_loss,
            }
        )
        if (validation, -validation_loss) >= self.best_score:
            self.best_score, self.best = (validation, -validation_loss), _values(self.model.variables)

    def save(self) -> None:
        """Writes the checkpoint beside its place and moves it there: a full disk leaves the previous one intact."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_name(f".{os.getpid()}.{self.path.name}")
        meta = {
            "format": CHECKPOINT_FORMAT,
            "key": self._key(),
            "epoch": self.epoch,
            "history": self.history,
            "best_score": self.best_score,
        }
        arrays = {f"{i}": value for i, value in enumerate(_values(self._state()) + self.best)}
        try:
            np.savez(fresh, meta=np.array(json.dumps(meta)), **arrays)
            fresh.replace(self.path)
        except OSError as error:
            raise ToolError(
                f"{self.path}: cannot be written ({error.strerror or error})", "make room; --resume continues"
            ) from error
        finally:
            fresh.unlink(missing_ok=True)

    def restore(self) -> None:
        """Continues where the checkpoint stopped; without a checkpoint nothing happens."""
        if not self.path.exists():
            return
        try:
            with np.load(self.path, allow_pickle=False) as archive:
                meta = json.loads(str(archive["meta"]))
                values = [archive[str(i)] for i in range(len(archive.files) - 1)]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ConfigError(f"{self.path}: damaged checkpoint ({error})", "delete it to start over") from error
        if meta.get("format") != CHECKPOINT_FORMAT or meta.get("key") != self._key():
            raise ConfigError(
                f"{self.path}: the checkpoint of another job, data set or version",
                "delete it, or train without --resume, to start over",
            )
        variables = [*self._state(), *self.model.variables]
        if [value.shape for value in values] != [tuple(variable.shape) for variable in variables]:
            raise ConfigError(f"{self.path}: the checkpoint of another version of the model", "delete it to start over")
        count = len(self._state())
        self.assign(self._state(), values[:count])
        self.best = values[count:]
        self.epoch, self.history = int(meta["epoch"]), meta["history"]
        self.best_score = tuple(meta["best_score"])

    @staticmethod
    def assign(variables: Sequence[Any], values: Sequence[NDArray[Any]]) -> None:
        """Sets the variables, in order."""
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    def _step(self, x: Any, y: Any) -> tuple[Any, Any, Any]:
        """One optimizer step on int8 x and labels y; (loss, accuracy, Jacobian penalty) as scalars."""
        real = self._real(x)

        def loss() -> tuple[Any, tuple[Any, Any, Any]]:
            logits, penalty = self._logits(real)
            entropy = ops.mean(keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True))
            total = entropy + self.recipe.jacobian_lambda * penalty
            correct = ops.mean(ops.cast(ops.equal(ops.argmax(logits, axis=1), y), "float32"))
            return total, (total, correct, penalty)

        variables = self.model.trainable_variables
        values, gradients = value_and_gradients(loss, variables)
        self.optimizer.apply(gradients, variables)
        return values  # type: ignore[no-any-return]

    def _logits(self, real: Any) -> tuple[Any, Any]:
        if self.recipe.jacobian_lambda == 0:
            return self.model(real, training=True), ops.zeros(())
        return jacobian.penalty(
            lambda x: self.model(x, training=True), real, self.recipe.jacobian_projections, self.projections
        )

    def _batches(self) -> Iterator[tuple[Int8Array, NDArray[np.int64]]]:
        """Batches of one epoch: order and augmentation depend on seed and epoch only."""
        split: Split = self.dataset.splits["train"]
        rng = np.random.default_rng((self.job.seed, self.epoch))
        order = rng.permutation(len(split))[: self.steps * self.batch].reshape(self.steps, self.batch)
        vary = _augment.MODES[self.dataset.augment if self.recipe.augment else "none"]
        for index in order:
            yield vary(split.x[index], self.dataset.input.quantization, rng), split.y[index]

    def _settle_statistics(self) -> None:
        """Moves the statistics of batch normalization from the noisy weights of training to those of inference."""
        split = self.dataset.splits["train"]
        for number in range(SETTLING_BATCHES):
            start = number * self.batch % (len(split) - self.batch + 1)
            self.settle(split.x[start : start + self.batch])

    def _settle(self, x: Any) -> Any:
        with _blocks.deterministic(self.model):
            return self.model(self._real(x), training=True)

    def _real(self, x: Any) -> Any:
        quantization = self.dataset.input.quantization
        return (ops.cast(x, "float32") - float(quantization.zero_point)) * quantization.scale

    def _validate(self) -> tuple[float, float]:
        """(accuracy, cross-entropy) of deterministic inference on the validation split."""
        split = self.dataset.splits["validation"]
        logits = _keras.predict(self.run_model, split.x, self.dataset.input.quantization)
        entropy = keras.losses.sparse_categorical_crossentropy(split.y, logits, from_logits=True)
        return float(np.mean(logits.argmax(axis=1) == split.y)), float(ops.mean(entropy))

    def _info(self, means: NDArray[Any]) -> str:
        text = f"epoch {self.epoch + 1}/{self.recipe.epochs} loss {means[0]:.3f} acc {means[1]:.3f}"
        return f"{text} val {self.history[-1]['validation_accuracy']:.3f}" if self.history else text

    def _diverged(self, step: int) -> ConfigError:
        kept = f"; the checkpoint of epoch {self.epoch} is kept" if self.epoch else ""
        levers = "train.learning_rate" + (" or train.jacobian_lambda" if self.recipe.jacobian_lambda else "")
        return ConfigError(
            f"{self.job.name}: the loss is not finite at step {step} of epoch {self.epoch + 1}{kept}",
            f"lower {levers} (now {self.recipe.learning_rate:g}"
            + (f", {self.recipe.jacobian_lambda:g})" if self.recipe.jacobian_lambda else ")"),
        )

    def _state(self) -> list[Any]:
        """Every variable that decides how training goes on."""
        return [*self.model.variables, *self.optimizer.variables, self.projections.state]

    def _key(self) -> str:
        recipe = self.recipe.model_dump(exclude={"epochs"})
        return digest_of(self.job.seed, self.job.model.model_dump(), recipe, self.dataset.digest)


def _optimizer(recipe: TrainConfig, steps: int) -> Any:
    """Adam, with decoupled weight decay if asked for, and a cosine schedule over all steps."""
    floor = recipe.final_learning_rate / recipe.learning_rate
    schedule = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, max(steps, 1), alpha=floor)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _values(variables: Sequence[Any]) -> list[NDArray[Any]]:
    return [to_numpy(v.value if hasattr(v, "value") else v).copy() for v in variables]
