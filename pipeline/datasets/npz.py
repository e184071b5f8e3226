"""Arrays of a user's own: x and y in an .npz file, with or without splits, as NumPy and Keras write them."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.dataset import DatasetConfig
from pipeline.core import schema, text
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Dataset, Int8Array, Progress, Quantization, Split, TensorSpec, no_progress
from pipeline.datasets import _lattice, _split

DESCRIPTION = "arrays of your own in an .npz file (x, y, or x_train, y_train, x_test, y_test as in Keras' mnist.npz)"
SETTINGS = ("path", "classes", "split", "lattice", "range", "augment")

SPELLINGS = (
    {"": ("x", "y")},
    {"train": ("x_train", "y_train"), "validation": ("x_validation", "y_validation"), "test": ("x_test", "y_test")},
    {"train": ("x_train", "y_train"), "validation": ("x_val", "y_val"), "test": ("x_test", "y_test")},
    {
        "train": ("train_images", "train_labels"),
        "validation": ("val_images", "val_labels"),
        "test": ("test_images", "test_labels"),
    },
)
"""Names of samples and labels by split, "" for one that is to be drawn: NumPy's habit, Keras', MedMNIST's."""
MOST_BYTES = 1 << 32
"""Of all arrays of a file: more is refused before it is unpacked."""
MOST_CLASSES = 1 << 16
"""A larger label is a mistake."""
RANKS = (2, 3, 4)
"""Of samples: (n, features), (n, height, width), (n, height, width, channels)."""


@dataclass(frozen=True)
class Part:
    """One pair of arrays."""

    split: str
    """A name of _split.SPLITS; "" for one that is to be drawn."""
    x_name: str
    """What the file calls the samples."""
    x: NDArray[Any]
    """(n, *shape)."""
    y_name: str
    """What the file calls the labels."""
    y: NDArray[Any]
    """(n,) integers from 0, or names of classes."""


def load(root: Path | None, *, cache: Path, progress: Progress = no_progress, config: DatasetConfig) -> Dataset:
    """The Dataset. x uint8: pixels, 0 and 255 stand for the job's range; int8: points of the lattice, which the job
    states; others: real values, on the job's lattice or the one that covers the training samples.

    (n, h, w) becomes (n, h, w, 1). ConfigError names the file, the array and what is wrong: no such arrays, types,
    shapes, lengths, NaN, labels, a class without samples.
    """
    path = Path(str(config.path))
    parts = _parts(path)
    progress("data", 1, 1, f"npz: {path.name}")
    x = np.concatenate([part.x for part in parts])
    x = x[..., np.newaxis] if x.ndim == 3 else x
    kept, y, classes = _classes(np.concatenate([part.y for part in parts]), config, path)
    own = np.concatenate([np.full(len(part.y), part.split, dtype="U10") for part in parts])
    rows = _split.divided(y[kept], own[kept].tolist(), config.split, classes, str(path))
    rows = {name: kept[places] for name, places in rows.items()}
    quantized, quantization = _quantized(x, rows["train"], config, path)
    splits = {name: Split(quantized[places], y[places], places) for name, places in rows.items()}
    shown = _lattice.spread(splits["train"].x, quantization)
    spec = TensorSpec(x.shape[1:], quantization)
    return Dataset("npz", spec, classes, splits, augment=config.augment or "none", spread=shown)


def _parts(path: Path) -> list[Part]:
    """The arrays of the file, checked against each other."""
    arrays = _read(path)
    for names in SPELLINGS:
        pairs = {split: pair for split, pair in names.items() if set(pair) <= set(arrays)}
        if pairs and next(iter(names)) in pairs and not _halves(names, arrays):
            parts = [Part(split, x, arrays[x], y, arrays[y]) for split, (x, y) in pairs.items()]
            break
    else:
        raise ConfigError(
            f"{path}: holds {', '.join(sorted(arrays)) or 'no arrays'}",
            "needed: x and y, or x_train, y_train, x_test, y_test",
        )
    return [_checked(part, parts[0], path) for part in parts]


def _halves(names: Mapping[str, tuple[str, str]], arrays: Mapping[str, Any]) -> bool:
    """Whether the file has only one array of some pair."""
    return any(len(set(pair) & set(arrays)) == 1 for pair in names.values())


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        _require_small(path)
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except ConfigError:
        raise
    except OSError as error:
        if error.strerror:
            raise ConfigError(f"{path}: {error.strerror}", "dataset.path names an .npz file") from error
        raise ConfigError(f"{path}: not an .npz file ({error})", "write one with numpy.savez") from error
    except Exception as error:  # a damaged archive or header raises almost anything
        why = "holds one array" if isinstance(error, (TypeError, AttributeError)) else str(error)
        raise ConfigError(f"{path}: not an .npz file that can be read ({why})", "write one with numpy.savez") from error


def _require_small(path: Path) -> None:
    """ConfigError for what is no file, and for arrays that take more than MOST_BYTES."""
    size = schema.file_size(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = max(size, sum(part.file_size for part in archive.infolist()))
    if size > MOST_BYTES:
        raise ConfigError(
            f"{path}: its arrays take {text.size(size)}, more than {text.size(MOST_BYTES)}",
            "store pixels as uint8, or fewer samples",
        )


def _checked(part: Part, first: Part, path: Path) -> Part:
    x, y = part.x, part.y.reshape(len(part.y)) if part.y.ndim == 2 and part.y.shape[1] == 1 else part.y
    here = f"{path}: {part.x_name} {x.dtype} {x.shape}"
    if x.ndim not in RANKS or 0 in x.shape or x.dtype.kind not in "uifb":
        raise ConfigError(here, "numbers (n, features), (n, height, width) or (n, height, width, channels)")
    if x.shape[1:] != first.x.shape[1:] or x.dtype != first.x.dtype:
        raise ConfigError(f"{here}, but {first.x_name} {first.x.dtype} {first.x.shape}", "one shape and type for all")
    if y.ndim != 1 or y.dtype.kind not in "uifU":
        raise ConfigError(
            f"{path}: {part.y_name} {y.dtype} {y.shape}",
            "one class per sample, (n,); of one-hot rows: y.argmax(axis=1)",
        )
    if len(x) != len(y):
        raise ConfigError(f"{path}: {len(x)} samples in {part.x_name}, {len(y)} labels in {part.y_name}")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        bad = int(np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(axis=1))[0])
        raise ConfigError(f"{path}: {part.x_name}[{bad}] holds NaN or infinity", "leave out such samples")
    if y.dtype.kind != "U":
        wrong = np.flatnonzero((y != np.floor(y)) | (y < 0) | (y > MOST_CLASSES))
        if len(wrong):
            raise ConfigError(f"{path}: {part.y_name}[{wrong[0]}] = {y[wrong[0]]}", "classes are integers from 0")
    return Part(part.split, part.x_name, x, part.y_name, y)


def _classes(
    labels: NDArray[Any], config: DatasetConfig, path: Path
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[str, ...]]:
    """(rows that are used, class index of every row, names of the classes)."""
    if labels.dtype.kind == "U":
        classes = _split.ordered_classes(labels.tolist(), config.classes, str(path))
        number = {name: place for place, name in enumerate(classes)}
        y = np.array([number.get(label, -1) for label in labels.tolist()], dtype=np.int64)
        return np.flatnonzero(y >= 0), y, classes
    y = labels.astype(np.int64)
    count = int(y.max()) + 1
    if config.classes and len(config.classes) != count:
        raise ConfigError(f"{path}: labels 0 to {count - 1}, dataset.classes names {len(config.classes)}")
    missing = sorted(set(range(min(count, len(y) + 1))) - set(y.tolist()))
    if missing:
        what = f"{path}: no sample of class {missing[0]}, labels go from {y.min()} to {y.max()}"
        raise ConfigError(what, "number the classes from 0 on")
    if count < 2:
        raise ConfigError(f"{path}: only the class 0; a classifier needs at least two classes")
    return np.arange(len(y)), y, config.classes or tuple(map(str, range(count)))


def _quantized(
    x: NDArray[Any], training: NDArray[np.int64], config: DatasetConfig, path: Path
) -> tuple[Int8Array, Quantization]:
    if x.dtype == np.uint8:
        return _lattice.of_pixels(x, config)
    if x.dtype == np.int8:
        if config.lattice is None:
            raise ConfigError(
                f"{path}: int8 samples, but nothing says what they stand for",
                "lattice = { scale = 0.00392157, zero_point = -128 } in [dataset], for pixels in [0, 1]",
            )
        return x, config.lattice.quantization
    quantization = _lattice.chosen(x[training], config, str(path))
    return quantization.quantize(x), quantization
