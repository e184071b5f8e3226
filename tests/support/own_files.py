"""Files as users have them: digits as PNGs in folders, tones named as in FSDD, arrays as in Keras' mnist.npz."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from pipeline.config.dataset import DatasetConfig

WORDS = ("down", "left", "up")


def digits(classes: int = 10, each: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """uint8 images (n, 8, 8) and labels (n,) of scikit-learn's digits, so many of each class, mixed."""
    data = load_digits()
    rows = np.sort(np.concatenate([np.flatnonzero(data.target == label)[:each] for label in range(classes)]))
    return np.rint(data.images[rows] * 255 / 16).astype(np.uint8), data.target[rows].astype(np.int64)


def write_images(folder: Path, classes: int = 10, each: int = 20, suffix: str = ".png") -> Path:
    """folder/<class>/<number>.png."""
    for number, (image, label) in enumerate(zip(*digits(classes, each), strict=True)):
        path = folder / str(label) / f"{number}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


def write_wav(path: Path, pitch: float, *, rate: int = 8000, seconds: float = 0.5, seed: int = 0, **form: int) -> Path:
    """A tone with some noise; form: channels, bytes."""
    channels, width = form.get("channels", 1), form.get("bytes", 2)
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    tone = np.sin(2 * np.pi * pitch * time) * 8000 + rng.normal(0, 400, len(time))
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        file.writeframes(np.repeat(tone.astype(f"<i{max(width, 2)}"), channels).tobytes())
    return path


def write_wavs(folder: Path, classes: int = 3, each: int = 10) -> Path:
    """folder/<digit>_<speaker>_<number>.wav, a pitch for every digit."""
    for label in range(classes):
        for number in range(each):
            name = f"{label}_{('jackson', 'nicolas')[number % 2]}_{number}.wav"
            write_wav(folder / name, 300 * 2**label + 10 * number, seed=100 * label + number)
    return folder


def write_npz(path: Path, test: int = 60) -> Path:
    """x_train, y_train, x_test, y_test as in Keras' mnist.npz, eight pixels wide."""
    x, y = digits()
    np.savez(path, x_train=x[test:], y_train=y[test:], x_test=x[:test], y_test=y[:test])
    return path


def config(name: str, folder: Path) -> DatasetConfig:
    """The table of a job for a small data set of this name, whose files are written into the folder."""
    if name == "images":
        return DatasetConfig(name=name, path=str(write_images(folder / "images")), colour="grey")
    if name == "wav":
        mfcc = {"sample_rate": 8000, "seconds": 0.5}
        table = {"name": name, "path": str(write_wavs(folder / "wav")), "labels": "names", "mfcc": mfcc}
        return DatasetConfig.model_validate(table)
    return DatasetConfig(name=name, path=str(write_npz(folder / "mnist.npz")))
