"""What is checked of data sets and stored networks before any stage works on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Dataset, QLayer, QModel, TensorSpec
from pipeline.network import twin


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
    """ConfigError unless the layers of a stored network fit together: a kernel in C trusts its sizes."""
    shapes = [layer.output.shape for layer in model.layers]
    for layer in model.layers:
        _check_integers(layer, folder)
    try:
        computed = twin.specification(model, np.zeros((1, *model.input.shape), np.int8))
        fits = [output.shape[1:] for output in computed] == shapes
        why = "" if fits else f"outputs {[output.shape[1:] for output in computed]}, not {shapes}"
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        why = str(error) or type(error).__name__
    if why:
        raise ConfigError(f"{folder}: damaged QModel, its layers do not fit together ({why})", "store it again")


def _check_integers(layer: QLayer, folder: Path) -> None:
    """ConfigError that names an array of another type than a QLayer promises: a table of it would be cut to size."""
    promised = {"weights": np.int8, "bias": np.int32, "multiplier": np.int32, "shift": np.int8}
    for name, dtype in promised.items():
        array = getattr(layer, name)
        if array is not None and array.dtype != dtype:
            found = f"{name} of layer {layer.name!r} are {array.dtype}, not {np.dtype(dtype)}"
            raise ConfigError(f"{folder}: damaged QModel, {found}", "store it again")


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
