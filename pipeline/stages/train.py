"""The train stage: Dataset -> TrainedModel, by quantization-aware training of a Keras model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pipeline.config.job import Job
from pipeline.core.nouns import Dataset, Progress, TrainedModel, no_progress
from pipeline.training import keras_model
from pipeline.training.run import Run

CHECKPOINTS = "checkpoints"
CHECKPOINT = "last.npz"
CHECKED_SAMPLES = 16
"""Training samples from which the untrained network's ranges are taken."""


def train(
    job: Job,
    dataset: Dataset,
    folder: Path,
    *,
    resume: bool = False,
    epochs: int | None = None,
    check: Callable[[TrainedModel], object] | None = None,
    progress: Progress = no_progress,
) -> TrainedModel:
    """The trained network; writes folder/model.keras and, after every epoch and when interrupted (KeyboardInterrupt),
    folder/checkpoints/last.npz.

    The weights are those of the epoch that did best on the validation split: accuracy, or what train.best_by says; of
    equals the one with the smaller loss there. resume: continue from the checkpoint if there is one, in the middle of
    an epoch too; the weights then equal those of an unbroken run. epochs: instead of the job's. check: is called with
    the untrained network before the first step, so that what it refuses is not trained first.
    ConfigError: the loss is no longer finite (the last good checkpoint is kept), a checkpoint of another job.
    UnsupportedError: a layer or a setting of the model that the device does not compute.
    """
    recipe = job.train if epochs is None else job.train.model_copy(update={"epochs": epochs})
    run = Run(job, recipe, _limited(dataset, job.dataset.limit_train, job.seed), folder / CHECKPOINTS / CHECKPOINT)
    untrained = keras_model.describe(run.model, dataset, CHECKED_SAMPLES)
    if check is not None:
        check(untrained)
    if resume:
        run.restore()
    run.train(progress)
    run.assign(run.model.variables, run.done.best)
    keras_model.save(run.model, folder)
    trained = keras_model.describe(run.model, dataset, job.calibration)
    return replace(trained, name=job.name, history=run.done.history, metrics=run.metrics())


def _limited(dataset: Dataset, samples: int | None, seed: int) -> Dataset:
    return replace(dataset, splits={**dataset.splits, "train": dataset.splits["train"].subset(samples, seed)})
