"""What is checked of data sets and stored networks before any stage works on them."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from pipeline import datasets
from pipeline.config.dataset import DatasetConfig
from pipeline.config.job import Job, eps_value
from pipeline.core import shell, store
from pipeline.core.errors import ConfigError, PipelineError
from pipeline.core.nouns import Dataset, Progress, QModel
from pipeline.network import validity


def load_data(config: DatasetConfig, progress: Progress) -> Dataset:
    """The whole data set, checked. ConfigError: it is missing, or not what a Dataset promises."""
    loaded = datasets.load(config, cache=shell.cache_folder() / "data", progress=progress)
    check_samples(loaded)
    return loaded


def check_samples(dataset: Dataset) -> None:
    """ConfigError that names the split whose arrays are not what a Dataset promises."""
    for name, split in dataset.splits.items():
        found = f"x {split.x.dtype} {split.x.shape}, y {split.y.dtype} {split.y.shape}"
        shaped = split.x.shape == (len(split.y), *dataset.input.shape) and split.y.ndim == 1 and len(split.y) > 0
        if not shaped or split.x.dtype != np.int8 or split.y.dtype != np.int64:
            wanted = f"x int8 (n, {', '.join(map(str, dataset.input.shape))}), y int64 (n,), n above 0"
            raise ConfigError(f"data set {dataset.name!r}, split {name!r}: {found}; it must be {wanted}")
        if split.y.min() < 0 or split.y.max() >= len(dataset.classes):
            labels = f"labels {split.y.min()} to {split.y.max()}"
            raise ConfigError(f"data set {dataset.name!r}, split {name!r}: {labels}, classes {len(dataset.classes)}")


def check_layers(model: QModel, folder: Path) -> None:
    """ConfigError unless the stored network can be computed: a kernel in C trusts its sizes and numbers."""
    try:
        validity.require(model)
    except PipelineError:
        raise
    # Whatever the NumPy specification makes of numbers it was not written for.
    except Exception as error:
        why = str(error) or type(error).__name__
        raise ConfigError(f"{folder}: damaged QModel, its layers do not fit together ({why})", store.REPAIR) from error


def check_job(job: Job, dataset: Dataset) -> None:
    """ConfigError that names a setting of the job which the data set cannot mean: an eps beyond the input range, more
    samples than there are."""
    q = dataset.input.quantization
    span = (q.qmax - q.qmin) * q.scale
    for key, label in _budgets(job):
        if eps_value(label) > span:
            whole = Fraction(label).denominator == 1 and Fraction(label) / 255 <= span
            meant = f'did you mean "{label}/255"?' if whole else "eps is in the units of the input, not in its steps"
            raise ConfigError(f"{key} = {label}: more than the whole range of an input, {span:.6g}", meant)
    for key, wanted, split in _wanted_samples(job):
        present = len(dataset.splits[split]) if split in dataset.splits else wanted
        if key.startswith("attacks."):
            present = min(present, job.dataset.limit_test or present)
        if wanted > present:
            what = f"data set {dataset.name!r} has {present} samples for {split}"
            raise ConfigError(f"{key} = {wanted}: {what}", f"at most {present}, or leave it out for all of them")


def check_limit(limit: int | None, dataset: Dataset) -> None:
    """ConfigError when --limit asks for more test samples than there are."""
    present = len(dataset.splits["test"])
    if limit is not None and limit > present:
        what = f"data set {dataset.name!r} has {present} samples for test"
        raise ConfigError(f"--limit {limit}: {what}", f"at most {present}, or leave it out for all of them")


def _budgets(job: Job) -> Iterator[tuple[str, str]]:
    """(key, eps) of every budget that is the largest change of an element in real input units."""
    for number, attack in enumerate(job.attacks):
        if (attack.norm, attack.unit) == ("linf", "real"):
            yield from ((f"attacks.{number}.eps", label) for label in attack.eps)
    if job.train.adversarial is not None:
        yield "train.adversarial.eps", job.train.adversarial.eps
    if job.train.robust_eps is not None:
        yield "train.robust_eps", job.train.robust_eps
    if job.layerwise is not None:
        yield "layerwise.eps", job.layerwise.eps


def _wanted_samples(job: Job) -> Iterator[tuple[str, int, str]]:
    """(key, number, split) of every setting that says how many samples are used."""
    for number, attack in enumerate(job.attacks):
        yield f"attacks.{number}.samples", attack.samples or 0, "test"
    yield "dataset.limit_test", job.dataset.limit_test or 0, "test"
    yield "dataset.limit_train", job.dataset.limit_train or 0, "train"
    yield "train.robust_samples", job.train.robust_samples, "validation"
