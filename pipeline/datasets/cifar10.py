"""CIFAR-10 (Krizhevsky 2009): 60,000 colour images 32x32 in 10 classes, from the official Python batches."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.types import Dataset, Int8Array, Progress, Quantization, Split, TensorSpec, no_progress

DESCRIPTION = "CIFAR-10 colour images 32x32 (60,000; official batches or the framework's download)"

FOLDER = "cifar-10-batches-py"
QUANTIZATION = Quantization(scale=1 / 255, zero_point=-128)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCH = 10_000
VALIDATION = 5_000
"""The last training images are for validation."""


def load(root: Path | None, *, cache: Path, progress: Progress = no_progress) -> Dataset:
    """The Dataset, 32x32x3: q = pixel - 128, so real values are pixel / 255 in [0, 1].

    Read from root/cifar-10-batches-py; without root, Keras downloads it into its own cache. Splits: the first 45,000
    training images, the last 5,000 as validation, the 10,000 test images. ConfigError names a missing or foreign file.
    """
    x, y, test_x, test_y = _downloaded(progress) if root is None else _read(root / FOLDER, progress)
    train = np.arange(len(x) - VALIDATION)
    validation = np.arange(len(x) - VALIDATION, len(x))
    splits = {
        "train": Split(x[train], y[train], train),
        "validation": Split(x[validation], y[validation], validation),
        "test": Split(test_x, test_y, np.arange(len(test_x))),
    }
    return Dataset("cifar10", TensorSpec((32, 32, 3), QUANTIZATION), CLASSES, splits, augment="crop_flip")


def _read(folder: Path, progress: Progress) -> tuple[Int8Array, NDArray[np.int64], Int8Array, NDArray[np.int64]]:
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    parts = []
    for done, name in enumerate(names, 1):
        parts.append(_batch(folder / name))
        progress("data", done, len(names), f"cifar10: {name}")
    x, y = (np.concatenate(column) for column in zip(*parts[:-1], strict=True))
    return x, y, *parts[-1]


def _batch(path: Path) -> tuple[Int8Array, NDArray[np.int64]]:
    """(x, y) of one official batch: a pickled dict of bytes keys, data uint8 (10000, 3072) in planes R, G, B."""
    hint = f"TRITMCU_DATA must hold {FOLDER}; unset it to download CIFAR-10"
    try:
        with path.open("rb") as file:
            content: dict[bytes, Any] = pickle.load(file, encoding="bytes")
        data, labels = np.asarray(content[b"data"]), np.asarray(content[b"labels"])
    except (OSError, pickle.UnpicklingError, EOFError, KeyError, ValueError, TypeError) as error:
        raise ConfigError(f"{path}: no CIFAR-10 batch ({error})", hint) from error
    if data.shape != (BATCH, 3072) or data.dtype != np.uint8 or labels.shape != (BATCH,):
        raise ConfigError(
            f"{path}: holds data {data.dtype}{data.shape} and labels {labels.shape}, expected uint8 (10000, 3072) "
            "and (10000,)",
            hint,
        )
    return _lattice(data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels.astype(np.int64)


def _downloaded(progress: Progress) -> tuple[Int8Array, NDArray[np.int64], Int8Array, NDArray[np.int64]]:
    from pipeline.backend import keras

    progress("data", 0, 1, "cifar10: download")
    try:
        (x, y), (test_x, test_y) = keras.datasets.cifar10.load_data()
    except Exception as error:  # Keras wraps whatever its HTTP stack raises in a bare Exception
        hint = f"put the official {FOLDER} into a folder and set TRITMCU_DATA to it"
        raise ConfigError(f"cifar10: the download failed ({error})", hint) from error
    progress("data", 1, 1, "cifar10")
    return _lattice(x), y.ravel().astype(np.int64), _lattice(test_x), test_y.ravel().astype(np.int64)


def _lattice(pixels: NDArray[np.uint8]) -> Int8Array:
    return np.ascontiguousarray(pixels ^ np.uint8(0x80)).view(np.int8)
