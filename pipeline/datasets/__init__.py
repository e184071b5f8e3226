"""Data sets: each module has DESCRIPTION and `load(root, *, cache, progress) -> Dataset`; an underscore: a helper.

One that reads files of a user's own lists in SETTINGS which keys of the job's [dataset] it uses, and its load takes
that table too: `load(root, *, cache, progress, config)`. One whose samples are made from sound has FRONT_END, the
settings of its features, or uses the key mfcc. One of few samples has FOLDS, True, and its load takes `fold`, a label
such as "1/5" or None, for cross-validation.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.config.dataset import DatasetConfig, MfccConfig, dataset_settings
from pipeline.core import paths, registry
from pipeline.core.nouns import Dataset, Progress, no_progress


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
