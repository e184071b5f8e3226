"""scikit-learn's digits: 1,797 real 8x8 images of handwritten digits, shipped with the package, no download."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.core.errors import ToolError
from pipeline.core.nouns import Dataset, Progress, Quantization, Split, TensorSpec, no_progress
from pipeline.datasets import _split

DESCRIPTION = "handwritten digits 8x8 (scikit-learn, 1,797 images, no download)"

LEVELS = 16
"""Pixels are integers 0..16."""
QUANTIZATION = Quantization(scale=1 / 255, zero_point=-128)
SHARES = {"test": 0.20, "validation": 0.10}
FOLDS = True


def load(root: Path | None, *, cache: Path, progress: Progress = no_progress, fold: str | None = None) -> Dataset:
    """The Dataset, 8x8x1: pixel k becomes real k/16 on the lattice of an 8-bit image, q = round(255 k / 16) - 128.

    Fixed splits, stratified by class: 20 % test, 10 % validation, the rest training; with a fold those of the fold
    (_split.folded). root, cache: not used.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ToolError("scikit-learn is not installed", "pip install scikit-learn") from error
    digits = load_digits()
    x = QUANTIZATION.quantize(digits.images[..., np.newaxis] / LEVELS)
    y = digits.target.astype(np.int64)
    rows = _split.folded(y, [f"{i}" for i in range(len(y))], fold, "digits") if fold else None
    rows = rows or _split.stratified(y, SHARES, seed=0)
    splits = {name: Split(x[index], y[index], index) for name, index in rows.items()}
    progress("data", 1, 1, f"digits: {len(x)} images")
    return Dataset("digits", TensorSpec((8, 8, 1), QUANTIZATION), tuple("0123456789"), splits, augment="none")
