"""Recordings of a user's own: a folder of WAV files, as mel-frequency cepstral coefficients."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.config.dataset import DatasetConfig, MfccConfig
from pipeline.core.nouns import Dataset, FloatArray, Progress, Split, TensorSpec, no_progress
from pipeline.datasets import _files, _lattice, _mfcc, _sound

DESCRIPTION = "a folder of WAV files of your own, as MFCC (path, labels, mfcc)"
SETTINGS = ("path", "labels", "classes", "split", "lattice", "mfcc", "augment")

SUFFIXES = (".wav",)
BATCH = 512
"""Clips whose features are computed at a time."""
VERSION = 1
"""Of how features are made from files: part of the key of what is kept."""
CONVERT = "convert it to 16-bit PCM, or move it away"


def load(root: Path | None, *, cache: Path, progress: Progress = no_progress, config: DatasetConfig) -> Dataset:
    """The Dataset, (frames, coefficients, 1), int8 on the job's lattice or the one that covers the training features.

    Every clip is divided by its largest sample, cut or filled with zeros at its end. Features are kept in `cache` until
    a file changes. Dataset.spread is that of each coefficient, over all frames. ConfigError: no or other files, no mono
    16-bit PCM of the job's rate, a class with too few.
    """
    listed = _files.listing(config, SUFFIXES, "WAV")
    settings = [VERSION, config.mfcc.model_dump()]
    x = _files.read_all(listed, settings, cache, "wav", lambda files: _features(files, config), progress)
    features = np.asarray(x, np.float32)
    quantization = _lattice.chosen(features[listed.rows["train"]], config, str(listed.folder))
    quantized, y = quantization.quantize(features), listed.y
    splits = {name: Split(quantized[rows], y[rows], rows) for name, rows in listed.rows.items()}
    return Dataset(
        *("wav", TensorSpec(features.shape[1:], quantization), listed.classes, splits),
        augment=config.augment or "shift",
        spread=_lattice.spread(splits["train"].x, quantization, axes=(0, 1)),
    )


def recordings(root: Path | None, index: NDArray[np.int64], *, config: DatasetConfig) -> NDArray[np.int16]:
    """int16 (n, samples): these files, as `load` numbers them, cut or filled with zeros. ConfigError: as for load."""
    listed, front = _files.listing(config, SUFFIXES, "WAV"), config.mfcc
    return np.stack([_pcm(file, front) for file in _files.opened(listed, [listed.samples[i] for i in index])])


def _pcm(file: _files.File, front: MfccConfig) -> NDArray[np.int16]:
    return _sound.read(file.path, front.sample_rate, front.samples, CONVERT, content=file.content)


def _features(files: Iterator[_files.File], config: DatasetConfig) -> FloatArray:
    """(n, frames, coefficients, 1) of the files."""
    front, parts = config.mfcc, []
    while batch := [_pcm(file, front) for file in islice(files, BATCH)]:
        parts.append(_mfcc.mfcc(_mfcc.normalized(np.stack(batch)), front))
    return np.concatenate(parts)
