"""CIFAR-10 in grey: 60,000 images 32x32 of ten classes, luminance only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.core import registry
from pipeline.core.nouns import Dataset, Int8Array, Progress, Split, TensorSpec, no_progress

DESCRIPTION = "grey images 32x32 of ten classes (CIFAR-10's luminance)"

SOURCE = "cifar10"
SHAPE = (32, 32, 1)
LUMINANCE = np.array([0.299, 0.587, 0.114])
"""Shares of red, green and blue (ITU-R BT.601)."""


def load(root: Path | None, *, cache: Path, progress: Progress = no_progress) -> Dataset:
    """The Dataset, 32x32x1: the luminance of the data set cifar10, rounded to its lattice (int8 p - 128, real p / 255).

    Splits, labels and errors are those of cifar10.
    """
    coloured: Dataset = registry.load("datasets", SOURCE).load(root, cache=cache, progress=progress)
    splits = {name: Split(_grey(split.x), split.y, split.index) for name, split in coloured.splits.items()}
    return replace(coloured, name="cifar10_grey", input=TensorSpec(SHAPE, coloured.input.quantization), splits=splits)


def _grey(x: Int8Array) -> Int8Array:
    """int8 (n, h, w, 1) from int8 (n, h, w, 3); the shares add up to 1, so the zero point stays where it is."""
    luminance = np.rint(x.astype(np.float32) @ LUMINANCE.astype(np.float32))
    return np.asarray(luminance[..., np.newaxis], dtype=np.int8)
