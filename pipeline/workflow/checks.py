"""What is checked of data sets and stored networks before any stage works on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.core import store
from pipeline.core.errors import ConfigError, PipelineError
from pipeline.core.nouns import Dataset, QModel, TensorSpec
from pipeline.network import validity


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


def check_match(model: QModel, dataset: Dataset) -> None:
    """ConfigError unless the network was made for samples like these."""
    if model.input != dataset.input or len(model.classes) != len(dataset.classes):
        raise ConfigError(
            f"network {model.name!r} takes {_about_input(model.input)} and knows {len(model.classes)} classes; "
            f"data set {dataset.name!r} has {_about_input(dataset.input)} and {len(dataset.classes)}",
            "name its own with --dataset",
        )


def _about_input(spec: TensorSpec) -> str:
    q = spec.quantization
    return f"{'x'.join(map(str, spec.shape))} samples (scale {q.scale:.6g}, zero point {q.zero_point})"
