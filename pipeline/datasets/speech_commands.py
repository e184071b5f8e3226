"""Speech Commands (Warden 2018, arXiv 1804.03209), keyword spotting as in MLPerf-Tiny: MFCC 49x10, twelve classes.

Two layouts are read:

speech_commands_v0.02/            the official archive: <word>/*.wav, _background_noise_/, validation_list.txt,
                                  testing_list.txt. One in ten clips of other words is "unknown"; "silence" is cut from
                                  the background noise.
speech_commands_test_set_v0.02/   the official test-set archive: <word>/*.wav, _silence_/, _unknown_/, with a split.csv
                                  (columns path, split) that divides it into train, validation and test.
"""

from __future__ import annotations

import csv
import re
import wave
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Dataset, FloatArray, Progress, Split, TensorSpec, no_progress
from pipeline.datasets import _cache, _lattice, _mfcc, _sound, _split

DESCRIPTION = "spoken words, twelve classes, MFCC 49x10 (Speech Commands v0.02)"

FULL, TEST_SET = "speech_commands_v0.02", "speech_commands_test_set_v0.02"
SPLIT_FILE = "split.csv"
WORDS = ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes")
CLASSES = (*WORDS, "silence", "unknown")
SILENCE, UNKNOWN = CLASSES.index("silence"), CLASSES.index("unknown")
NOISE_FOLDER = "_background_noise_"
SPLITS = ("train", "validation", "test")
FOLDS = True
SPEAKER = re.compile(r"([0-9a-f]{8})_nohash_")
"""In the name of a clip: who speaks."""

VARIANTS = 4
"""Copies of a training clip: as it is, and three varied ones."""
NOISE_PROBABILITY, NOISE_VOLUME = 0.8, 0.1
"""Of a varied copy: how often noise is mixed in, and how loud at most (MLPerf-Tiny)."""
FRONT_END = _mfcc.MLPERF
SHIFT_SAMPLES = _mfcc.SAMPLE_RATE_HZ // 10
ONE_IN = 10
"""Of the clips of other words, in the full archive."""
SILENCE_SHARE = 0.1
"""Silence clips per clip of a word, in the full archive."""
VERSION = 1
"""Of the features: part of the name of the cached file."""
BATCH = 512
UNPACK = "unpack the official files again"


@dataclass(frozen=True)
class Clip:
    """One second of sound: path below the root, class index, split, first sample (of a longer file)."""

    path: str
    label: int
    split: str
    start: int = 0


def load(root: Path | None, *, cache: Path, progress: Progress = no_progress, fold: str | None = None) -> Dataset:
    """The Dataset, 49x10x1, int8 on the lattice that covers the range of the training features and holds 0.

    The features of one set of files are computed once and kept in `cache`. Training clips come four times: clean, and
    three times moved by up to 100 ms and, with probability 0.8, with up to a tenth of noise mixed in (the background
    noise of the archive; the training clips of silence where there is none). Dataset.spread is that of each
    coefficient, over all frames. fold: splits of a cross-validation over all clips, in which each speaker stays in one
    split (_split.folded). ConfigError: files missing, or no 16 kHz mono 16-bit sound.
    """
    folder, clips = _clips(root)
    name = "speech_commands"
    if fold is not None:
        clips, name = _folded(clips, fold), f"{name}-fold{fold.replace('/', 'of')}"
    features = _cached_features(folder, clips, cache, name, progress)
    low, high = (float(bound(features["train"])) for bound in (np.min, np.max))
    quantization = _lattice.covering(low, high)
    splits = {}
    for name in SPLITS:
        mine = [i for i, clip in enumerate(clips) if clip.split == name]
        copies = len(features[name]) // len(mine)
        index = np.tile(np.array(mine, dtype=np.int64), copies)
        labels = np.array([clips[i].label for i in index], dtype=np.int64)
        splits[name] = Split(quantization.quantize(features[name]), labels, index)
    spec = TensorSpec((_mfcc.FRAMES, _mfcc.COEFFICIENTS, 1), quantization)
    spread = _lattice.spread(splits["train"].x, quantization, axes=(0, 1))
    return Dataset("speech_commands", spec, CLASSES, splits, augment="shift", spread=spread)


def recordings(root: Path | None, index: NDArray[np.int64]) -> NDArray[np.int16]:
    """int16 (n, 16000): the clips of these indices as they were recorded. ConfigError: as for load."""
    folder, clips = _clips(root)
    return np.stack([_read(folder, clips[i]) for i in index])


def _clips(root: Path | None) -> tuple[Path, list[Clip]]:
    """The folder and its clips, in a fixed order."""
    if root is None:
        raise ConfigError(
            "speech_commands: no data folder",
            f"set TRITMCU_DATA to a folder that holds {FULL}/ or {TEST_SET}/ (the official archives, unpacked)",
        )
    if (root / FULL).is_dir():
        return root / FULL, _full_archive(root / FULL)
    if (root / TEST_SET / SPLIT_FILE).is_file():
        return root / TEST_SET, _divided_test_set(root / TEST_SET)
    raise ConfigError(
        f"{root}: neither {FULL}/ nor {TEST_SET}/{SPLIT_FILE}",
        "TRITMCU_DATA must name the folder that holds one of them",
    )


def _divided_test_set(folder: Path) -> list[Clip]:
    path = folder / SPLIT_FILE
    labels = {**{word: i for i, word in enumerate(WORDS)}, "_silence_": SILENCE, "_unknown_": UNKNOWN}
    clips = []
    with path.open(newline="", encoding="utf-8") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            name, split = row.get("path") or "", row.get("split") or ""
            directory = name.split("/")[0]
            if directory not in labels or split not in SPLITS:
                raise ConfigError(
                    f"{path}, line {line}: path {name!r}, split {split!r}",
                    f"folders: {', '.join(labels)}; splits: {', '.join(SPLITS)}",
                )
            clips.append(Clip(name, labels[directory], split))
    return _require_all_splits(clips, path)


def _full_archive(folder: Path) -> list[Clip]:
    listed = {}
    for split, name in (("validation", "validation_list.txt"), ("test", "testing_list.txt")):
        if not (folder / name).is_file():
            raise ConfigError(f"{folder / name}: missing", "unpack the official archive again")
        listed.update(dict.fromkeys((folder / name).read_text(encoding="utf-8").split(), split))
    clips = []
    for path in sorted(folder.glob("*/*.wav")):
        word, name = path.parent.name, f"{path.parent.name}/{path.name}"
        if word.startswith("_") or (word not in WORDS and zlib.crc32(name.encode()) % ONE_IN):
            continue
        clips.append(Clip(name, WORDS.index(word) if word in WORDS else UNKNOWN, listed.get(name, "train")))
    return _require_all_splits([*clips, *_silence(folder, clips)], folder)


def _silence(folder: Path, clips: Sequence[Clip]) -> Iterator[Clip]:
    """Seconds of background noise, at fixed random places."""
    rng = np.random.default_rng(0)
    noises = sorted((folder / NOISE_FOLDER).glob("*.wav"))
    if not noises:
        raise ConfigError(f"{folder / NOISE_FOLDER}: no sound files", "unpack the official archive again")
    lengths = [_frames(path) for path in noises]
    for split in SPLITS:
        words = sum(clip.split == split and clip.label != UNKNOWN for clip in clips)
        for _ in range(round(SILENCE_SHARE * words)):
            which = int(rng.integers(len(noises)))
            start = int(rng.integers(max(lengths[which] - _mfcc.SAMPLE_RATE_HZ, 1)))
            yield Clip(f"{NOISE_FOLDER}/{noises[which].name}", SILENCE, split, start)


def _require_all_splits(clips: list[Clip], place: Path) -> list[Clip]:
    for split in SPLITS:
        if not any(clip.split == split for clip in clips):
            raise ConfigError(f"{place}: no clip in the {split} split", UNPACK)
    return clips


def _folded(clips: list[Clip], fold: str) -> list[Clip]:
    """The clips with the splits of one fold."""
    y = np.array([clip.label for clip in clips], dtype=np.int64)
    speakers = [found[1] if (found := SPEAKER.search(c.path)) else f"{c.path} {c.start}" for c in clips]
    rows = _split.folded(y, speakers, fold, "speech_commands")
    split = {int(row): name for name, found in rows.items() for row in found}
    return [replace(clip, split=split[number]) for number, clip in enumerate(clips)]


def _cached_features(
    folder: Path, clips: list[Clip], cache: Path, name: str, progress: Progress
) -> Mapping[str, FloatArray]:
    """Features by split, from the cache if they were computed before from the same files."""
    states = _cache.states(folder, (clip.path for clip in clips), UNPACK)
    key = [VERSION, [(c.path, c.label, c.split, c.start, *state) for c, state in zip(clips, states, strict=True)]]
    return _cache.kept(cache, name, key, lambda: _features(folder, clips, progress))


def _features(folder: Path, clips: list[Clip], progress: Progress) -> dict[str, FloatArray]:
    rng = np.random.default_rng(0)
    noise = _noise(folder, clips)
    total = sum((VARIANTS if clip.split == "train" else 1) for clip in clips)
    done = 0
    features = {}
    for split in SPLITS:
        mine = [clip for clip in clips if clip.split == split]
        parts = []
        for variant in range(VARIANTS if split == "train" else 1):
            for start in range(0, len(mine), BATCH):
                batch = _mfcc.normalized(np.stack([_read(folder, clip) for clip in mine[start : start + BATCH]]))
                parts.append(_mfcc.mfcc(_varied(batch, noise, rng) if variant else batch))
                done += len(batch)
                progress("data", done, total, "speech_commands: features")
        features[split] = np.concatenate(parts)
    return features


def _noise(folder: Path, clips: list[Clip]) -> FloatArray:
    """Noise to mix in, (n, 16000), largest sample about 1."""
    sources = [clip for clip in clips if clip.split == "train" and clip.label == SILENCE]
    return _mfcc.normalized(np.stack([_read(folder, clip) for clip in sources]))


def _varied(wave_: FloatArray, noise: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Waveforms moved in time by up to 100 ms, zeros moving in, most of them with noise mixed in."""
    n, length = wave_.shape
    padded = np.pad(wave_, ((0, 0), (SHIFT_SAMPLES, SHIFT_SAMPLES)))
    starts = rng.integers(0, 2 * SHIFT_SAMPLES + 1, n)
    moved = np.stack([row[start : start + length] for row, start in zip(padded, starts, strict=True)])
    volume = rng.uniform(0.0, NOISE_VOLUME, n) * (rng.random(n) < NOISE_PROBABILITY)
    mixed = moved + volume[:, np.newaxis] * noise[rng.integers(len(noise), size=n)]
    return np.asarray(mixed, dtype=np.float32)


def _read(folder: Path, clip: Clip) -> NDArray[np.int16]:
    """One second (16000,) of the file, zeros after its end. ConfigError when it is no 16 kHz mono 16-bit sound."""
    return _sound.read(folder / clip.path, _mfcc.SAMPLE_RATE_HZ, _mfcc.SAMPLE_RATE_HZ, UNPACK, clip.start)


def _frames(path: Path) -> int:
    with wave.open(str(path), "rb") as file:
        return file.getnframes()
