"""Data sets: each module has DESCRIPTION and `load(root, *, cache, progress) -> Dataset`; an underscore: a helper.

One that reads files of a user's own lists in SETTINGS which keys of the job's [dataset] it uses, and its load takes
that table too: `load(root, *, cache, progress, config)`. One whose samples are made from sound has FRONT_END, the
settings of its features, or uses the key mfcc; and `recordings(root, index)`, the sound itself, int16 (n, samples), of
samples by their positions in the official split, again with `config` where load takes it. One of few samples has FOLDS,
True, and its load takes `fold`, a label such as "1/5" or None, for cross-validation.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.config.dataset import DatasetConfig, MfccConfig, dataset_settings
from pipeline.core import paths, registry
from pipeline.core.nouns import Dataset, FloatArray, Progress, no_progress
from pipeline.datasets import _mfcc

LOG_OFFSET = _mfcc.LOG_OFFSET
"""Added to a mel bin before its logarithm."""


def load(config: DatasetConfig, *, cache: Path, progress: Progress = no_progress) -> Dataset:
    """The whole data set that a job names, limits aside. cache: folder for what is computed once. ConfigError: files
    missing or not what they must be."""
    given: dict[str, object] = {"config": config} if dataset_settings(config.name) else {}
    if config.fold is not None:
        given["fold"] = config.fold
    module = registry.load("datasets", config.name)
    loaded: Dataset = module.load(paths.data_folder(), cache=cache, progress=progress, **given)
    return loaded


def front_end(config: DatasetConfig) -> MfccConfig | None:
    """How the data set's samples are made from sound; None where they are something else."""
    if "mfcc" in dataset_settings(config.name):
        return config.mfcc
    found: MfccConfig | None = getattr(registry.load("datasets", config.name), "FRONT_END", None)
    return found


def features(pcm: NDArray[np.int16], front: MfccConfig) -> FloatArray:
    """float32 (n, frames, coefficients, 1): what the front end makes of recordings (n, samples), in real units."""
    return _mfcc.mfcc(_mfcc.normalized(pcm), front)


def has_recordings(config: DatasetConfig) -> bool:
    """Whether the data set offers the sound that its samples are made from."""
    return hasattr(registry.load("datasets", config.name), "recordings")


def recordings(config: DatasetConfig, index: NDArray[np.int64]) -> NDArray[np.int16]:
    """int16 (n, samples): the recordings that samples of the data set were made from, by their positions in the
    official split. ConfigError: files missing or not what they must be."""
    given = {"config": config} if dataset_settings(config.name) else {}
    found = registry.load("datasets", config.name).recordings(paths.data_folder(), index, **given)
    return np.asarray(found, np.int16)
