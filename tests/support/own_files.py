"""Files as users have them: digits as PNGs in folders, tones named as in FSDD, arrays as in Keras' mnist.npz."""

from __future__ import annotations

import json
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


def write_arrow(folder: Path, splits: dict[str, tuple[list[Path], list[str]]], kind: str = "Image") -> Path:
    """What the library `datasets` saves of these files and their classes, a folder a split; one called "" lies in the
    folder itself. kind: Image or Audio."""
    for split, (files, labels) in splits.items():
        names = sorted(set(labels))
        part = folder / split
        part.mkdir(parents=True, exist_ok=True)
        features = {"file": {"_type": kind}, "n": {"dtype": "int64", "_type": "Value"}}
        features |= {"label": {"names": names, "_type": "ClassLabel"}}
        (part / "dataset_info.json").write_text(json.dumps({"features": features}))
        half = len(files) // 2
        shards = {f"data-0000{i}-of-00002.arrow": rows for i, rows in enumerate((slice(half), slice(half, None)))}
        (part / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in shards]}))
        for name, rows in shards.items():
            contents = [{"bytes": file.read_bytes(), "path": file.name} for file in files[rows]]
            write_table(part / name, contents, [names.index(label) for label in labels[rows]])
    if list(splits) != [""]:
        (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}))
    return folder


def write_table(path: Path, contents: list[object], labels: list[int]) -> None:
    """An Arrow file of the columns file, label and n."""
    import pyarrow
    from pyarrow import ipc

    table = pyarrow.table({"file": contents, "label": labels, "n": list(range(len(labels)))})
    with ipc.new_stream(str(path), table.schema) as stream:
        stream.write_table(table, max_chunksize=7)


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
