"""CIFAR-10: 60,000 colour images 32x32 of ten classes (Krizhevsky 2009)."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Dataset, Int8Array, Progress, Quantization, Split, TensorSpec, no_progress

DESCRIPTION = "colour images 32x32 of ten classes (CIFAR-10, 60,000 images, 170 MB)"

FOLDER = "cifar-10-batches-py"
TRAIN_FILES = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST_FILE = "test_batch"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHAPE = (32, 32, 3)
PIXELS = 3072
VALIDATION = 5000
"""The last so many training images are the validation split."""
QUANTIZATION = Quantization(scale=1 / 255, zero_point=-128)
Part = tuple[NDArray[np.uint8], NDArray[np.int64]]


def load(root: Path | None, *, cache: Path, progress: Progress = no_progress) -> Dataset:
    """The Dataset, 32x32x3: pixel p in 0..255 becomes int8 p - 128, real p / 255.

    From the official files in root/cifar-10-batches-py, else by keras.datasets' own download into Keras' cache.
    ConfigError: files missing, damaged or of another shape.
    """
    train, test = _downloaded(progress) if root is None else _official(root / FOLDER, progress)
    x, y = _int8(train[0]), train[1]
    cut = max(len(x) - VALIDATION, 0)
    index = np.arange(len(x), dtype=np.int64)
    splits = {
        "train": Split(x[:cut], y[:cut], index[:cut]),
        "validation": Split(x[cut:], y[cut:], index[cut:]),
        "test": Split(_int8(test[0]), test[1], np.arange(len(test[0]), dtype=np.int64)),
    }
    return Dataset("cifar10", TensorSpec(SHAPE, QUANTIZATION), CLASSES, splits, augment="crop_flip")


def _int8(pixels: NDArray[np.uint8]) -> Int8Array:
    return np.asarray(pixels ^ np.uint8(0x80)).view(np.int8)


def _official(folder: Path, progress: Progress) -> tuple[Part, Part]:
    parts = []
    for number, name in enumerate((*TRAIN_FILES, TEST_FILE), start=1):
        parts.append(_read(folder / name))
        progress("data", number, len(TRAIN_FILES) + 1, f"cifar10: {name}")
    train = tuple(np.concatenate(arrays) for arrays in zip(*parts[:-1], strict=True))
    return (train[0], train[1]), parts[-1]


def _read(path: Path) -> Part:
    """Images (n, 32, 32, 3) uint8 and labels (n,) of one official file: a pickled dict, pixels channel by channel."""
    try:
        with path.open("rb") as file:
            content = _ArrayUnpickler(file, encoding="bytes").load()
        pixels = np.asarray(content[b"data"])
        labels = np.asarray(content[b"labels"], dtype=np.int64)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: missing",
            f"TRITMCU_DATA must name the folder that holds {FOLDER}/; unset it to download instead",
        ) from error
    except Exception as error:  # a damaged pickle raises almost anything
        raise ConfigError(f"{path}: not an official CIFAR-10 file ({error})", f"unpack {FOLDER} again") from error
    if pixels.dtype != np.uint8 or pixels.shape != (len(labels), PIXELS):
        raise ConfigError(
            f"{path}: pixels {pixels.dtype} {pixels.shape} for {len(labels)} labels, expected uint8 (n, {PIXELS})",
            f"unpack {FOLDER} again",
        )
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= len(CLASSES):
        raise ConfigError(f"{path}: labels must be 0 to {len(CLASSES) - 1}, at least one", f"unpack {FOLDER} again")
    return np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles NumPy arrays and plain values, and nothing that could run code of the file."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = name in {"ndarray", "dtype", "_reconstruct", "scalar"} and module.split(".", maxsplit=1)[0] == "numpy"
        if allowed or (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"refuses {module}.{name}")


def _downloaded(progress: Progress) -> tuple[Part, Part]:
    from pipeline.training.keras_backend import keras

    progress("data", 0, 1, "cifar10: download (170 MB, once)")
    try:
        (x, y), (x_test, y_test) = keras.datasets.cifar10.load_data()
    except Exception as error:  # whatever the network and Keras' reader raise
        raise ConfigError(
            f"cifar10: download failed ({error})",
            f"set TRITMCU_DATA to a folder that holds the official {FOLDER}/",
        ) from error
    progress("data", 1, 1, "cifar10")
    return (x, y.reshape(-1).astype(np.int64)), (x_test, y_test.reshape(-1).astype(np.int64))
