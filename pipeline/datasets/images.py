"""Images of a user's own: a folder of files, brought to one size, grey or in colour."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipeline.config.dataset import DatasetConfig
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Dataset, Progress, Split, TensorSpec, no_progress
from pipeline.datasets import _files, _lattice

DESCRIPTION = "a folder of images of your own (path, labels, size, colour)"
SETTINGS = ("path", "labels", "classes", "split", "lattice", "range", "size", "colour", "fit", "augment")

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".pgm", ".ppm", ".tif", ".tiff")
MODES = {"rgb": "RGB", "grey": "L"}
"""Pillow's names of the colours."""
LARGEST = 512
"""Pixels of an edge, where no size is given."""
VERSION = 1
"""Of how pixels are made from files: part of the key of what is kept."""
Pixels = NDArray[np.uint8]


def load(root: Path | None, *, cache: Path, progress: Progress = no_progress, config: DatasetConfig) -> Dataset:
    """The Dataset, (height, width, 1 or 3): pixels 0 to 255 stand for the job's range, by default [0, 1], where pixel p
    is int8 p - 128.

    Of an animation the first image; transparent pixels over black; turned as the camera says. Pixels are kept in
    `cache` until a file changes. ConfigError: no or other files, images that cannot be read or differ in size, a class
    with too few.
    """
    listed = _files.listing(config, SUFFIXES, "image")
    settings = [VERSION, config.size, config.colour, config.fit]
    pixels = _files.read_all(listed, settings, cache, "images", lambda files: _stacked(files, config), progress)
    x, quantization = _lattice.of_pixels(np.asarray(pixels, np.uint8), config)
    y = listed.y
    splits = {name: Split(x[rows], y[rows], rows) for name, rows in listed.rows.items()}
    spec = TensorSpec(x.shape[1:], quantization)
    return Dataset("images", spec, listed.classes, splits, augment=config.augment or "none")


def _stacked(files: Iterator[_files.File], config: DatasetConfig) -> Pixels:
    """(n, height, width, channels) of the files."""
    rows: list[Pixels] = []
    for file in files:
        row = _pixels(file, config)
        if rows and row.shape != rows[0].shape:
            sizes = [f"{shape[0]}x{shape[1]}" for shape in (row.shape, rows[0].shape)]
            raise ConfigError(
                f"{file.path}: {sizes[0]} pixels (height x width), earlier images have {sizes[1]}",
                "give size = [height, width] in [dataset]",
            )
        rows.append(row)
    return np.stack(rows)


def _pixels(file: _files.File, config: DatasetConfig) -> Pixels:
    """(height, width, channels) of one file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file.content) as image:
                shown = _resized(_coloured(image, config.colour), config)
    except (ConfigError, MemoryError):
        raise
    except Exception as error:  # a damaged file raises almost anything
        raise ConfigError(
            f"{file.path}: not an image that can be read ({error})", "convert it, or move it away"
        ) from error
    if config.size is None and max(shown.size) > LARGEST:
        raise ConfigError(
            f"{file.path}: {shown.height}x{shown.width} pixels", "give size = [height, width] in [dataset]"
        )
    array = np.asarray(shown, np.uint8)
    return array.reshape(*array.shape[:2], -1)


def _coloured(image: Any, colour: str) -> Any:
    """The upright image in the wanted colours, 8 bits each."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):  # Pillow would saturate
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    if upright.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {upright.mode}, not of 8 or 16 bits")
    if "A" in upright.getbands() or "transparency" in upright.info:
        clear = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", clear.size, (0, 0, 0, 255)), clear)
    return upright.convert(MODES[colour])


def _resized(image: Any, config: DatasetConfig) -> Any:
    """The image in the job's size, by bilinear interpolation over all pixels that fall together."""
    if config.size is None:
        return image
    size, method = (config.size[1], config.size[0]), Image.Resampling.BILINEAR
    if config.fit == "crop":
        return ImageOps.fit(image, size, method)
    return ImageOps.pad(image, size, method) if config.fit == "pad" else image.resize(size, method)
