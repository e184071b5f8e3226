"""SVHN, format 2: house numbers, colour images 32x32 of one digit (Netzer et al. 2011).

Two layouts of root/svhn are read, the official one if any of its files is there:

train_32x32.mat, test_32x32.mat   the official files: 73,257 and 26,032 digits. The last 6,000 training digits are the
                                  validation split.
first1083.npz                     an excerpt: the first 1,083 training digits, x uint8 (n, 32, 32, 3), y (n,) and
                                  src_image (n,), the photograph of each. Too few to train with: for transfer attacks
                                  and as data from another distribution. Photographs, not digits, are divided among the
                                  splits, as neighbouring digits show parts of each other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Dataset, Progress, Quantization, Split, TensorSpec, no_progress
from pipeline.datasets import _split

DESCRIPTION = "house numbers, colour images 32x32 of ten digits (SVHN, official train_32x32.mat and test_32x32.mat)"

FOLDER = "svhn"
TRAIN_FILE, TEST_FILE, EXCERPT = "train_32x32.mat", "test_32x32.mat", "first1083.npz"
CLASSES = tuple("0123456789")
SHAPE = (32, 32, 3)
VALIDATION = 6000
QUANTIZATION = Quantization(scale=1 / 255, zero_point=-128)
ORIGIN = "http://ufldl.stanford.edu/housenumbers"
Part = tuple[NDArray[np.uint8], NDArray[np.int64]]


def load(root: Path | None, *, cache: Path, progress: Progress = no_progress) -> Dataset:
    """The Dataset, 32x32x3: pixel p in 0..255 becomes int8 p - 128, real p / 255; class k is the digit k.

    ConfigError: files missing, damaged or of another shape. cache: not used.
    """
    if root is None:
        raise ConfigError("svhn: no data folder", f"set TRITMCU_DATA to a folder that holds {FOLDER}/{TRAIN_FILE}")
    folder = root / FOLDER
    official = [folder / name for name in (TRAIN_FILE, TEST_FILE)]
    if (folder / EXCERPT).exists() and not any(path.exists() for path in official):
        splits = _excerpt(folder / EXCERPT)
        told = f"svhn: {EXCERPT} alone, {TRAIN_FILE} and {TEST_FILE} are missing"
    else:
        splits = _official(*(_read(path) for path in official))
        told = "svhn: official files"
    progress("data", 1, 1, told)
    return Dataset("svhn", TensorSpec(SHAPE, QUANTIZATION), CLASSES, splits, augment="crop")


def _official(train: Part, test: Part) -> dict[str, Split]:
    cut = max(len(train[0]) - VALIDATION, len(train[0]) // 2)
    rows = np.arange(len(train[0]))
    return {
        "train": _part(train, rows[:cut]),
        "validation": _part(train, rows[cut:]),
        "test": _part(test, np.arange(len(test[0]))),
    }


def _part(images: Part, rows: NDArray[np.int64]) -> Split:
    pixels, labels = images
    return Split((pixels[rows] ^ np.uint8(0x80)).view(np.int8), labels[rows], rows.astype(np.int64))


def _read(path: Path) -> Part:
    """Images (n, 32, 32, 3) uint8 and digits (n,) of an official file: X (32, 32, 3, n), y (n, 1) with 10 for 0."""
    from scipy.io import loadmat

    hint = f"{TRAIN_FILE} and {TEST_FILE} of {ORIGIN} go into {path.parent}, TRITMCU_DATA names the folder above it"
    if not path.exists():
        raise ConfigError(f"{path}: missing", hint)
    try:
        content = loadmat(path, variable_names=["X", "y"])
        pixels, labels = np.moveaxis(content["X"], -1, 0), content["y"].reshape(-1)
    except Exception as error:  # a damaged file raises almost anything
        raise ConfigError(f"{path}: not an official SVHN file ({error})", hint) from error
    if labels.dtype.kind in "ui" and len(labels) and labels.min() >= 1 and labels.max() <= 10:
        labels = labels.astype(np.int64) % 10
    return _checked(pixels, labels, path)


def _excerpt(path: Path) -> dict[str, Split]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            pixels, labels, photographs = (archive[name] for name in ("x", "y", "src_image"))
    except Exception as error:  # a damaged archive raises almost anything
        raise ConfigError(f"{path}: not an excerpt of SVHN ({error})", "restore it, or move it away") from error
    images = _checked(pixels, labels.astype(np.int64), path)
    rows = _split.folded(images[1], [f"{number}" for number in photographs], "1/5", str(path))
    return {name: _part(images, found) for name, found in rows.items()}


def _checked(pixels: NDArray[Any], labels: NDArray[Any], path: Path) -> Part:
    if pixels.dtype != np.uint8 or pixels.shape != (len(labels), *SHAPE) or not len(labels):
        found = f"images {pixels.dtype} {pixels.shape} for {len(labels)} labels"
        raise ConfigError(f"{path}: {found}, expected uint8 (n, 32, 32, 3)", f"get it again from {ORIGIN}")
    if labels.dtype != np.int64 or labels.min() < 0 or labels.max() > 9:
        raise ConfigError(f"{path}: labels must be digits, 10 standing for 0", f"get it again from {ORIGIN}")
    return np.ascontiguousarray(pixels), labels
