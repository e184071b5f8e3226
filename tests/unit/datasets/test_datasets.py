"""Data sets: official layouts written here in small, bad files, features against NumPy; the real files if present."""

from __future__ import annotations

import pickle
import struct
import wave
from pathlib import Path

import numpy as np
import pytest

from pipeline import datasets
from pipeline.config.dataset import DatasetConfig, fold_of
from pipeline.core import paths, schema
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Quantization
from pipeline.datasets import _mfcc, _split, cifar10, digits, speech_commands, svhn
from pipeline.training import augment

DATA = paths.data_folder()
needs_data = pytest.mark.skipif(DATA is None, reason="TRITMCU_DATA is not set")
PIXELS = Quantization(1 / 255, -128)


# digits


def test_digits_keep_their_sixteen_levels(tmp_path):
    data = digits.load(None, cache=tmp_path)
    values = np.unique(np.concatenate([split.x.ravel() for split in data.splits.values()]))
    assert [round((int(v) + 128) * 16 / 255, 1) for v in values] == list(range(17))


def test_digits_splits_are_stratified_disjoint_and_fixed(tmp_path):
    first, again = (digits.load(None, cache=tmp_path) for _ in range(2))
    assert first.digest == again.digest
    indices = np.concatenate([split.index for split in first.splits.values()])
    assert sorted(indices) == list(range(1797))
    assert len(first.splits["test"]) >= 350
    counts = np.bincount(first.splits["test"].y)
    assert counts.max() - counts.min() <= 2


# Folds of a cross-validation


def test_over_all_folds_every_digit_is_tested_once(tmp_path):
    folds = [datasets.load(DatasetConfig(name="digits", fold=f"{i}/5"), cache=tmp_path) for i in range(1, 6)]
    tested = [fold.splits["test"] for fold in folds]
    assert sorted(np.concatenate([split.index for split in tested])) == list(range(1797))
    for split in tested:
        counts = np.bincount(split.y)
        assert counts.max() - counts.min() <= 3  # classes have 174 to 183 digits
    for fold in folds:
        indices = [set(fold.splits[name].index.tolist()) for name in _split.SPLITS]
        assert sum(map(len, indices)) == len(set.union(*indices)) == 1797
        assert [round(len(found) / 1797, 2) for found in indices] == [0.7, 0.1, 0.2]
    assert len({fold.digest for fold in [*folds, digits.load(None, cache=tmp_path)]}) == 6


def test_a_group_stays_in_one_split():
    rng = np.random.default_rng(0)
    y, groups = rng.integers(0, 3, 300), [f"{g}" for g in rng.integers(0, 40, 300)]
    for fold in ("1/3", "2/3", "3/3"):
        rows = _split.folded(y, groups, fold, "here")
        speakers = [{groups[row] for row in rows[name]} for name in _split.SPLITS]
        assert sum(map(len, speakers)) == len(set.union(*speakers)) == len(set(groups))
    with pytest.raises(ConfigError, match="here: class 1 has no sample in the test split of fold 1/2"):
        _split.folded(np.array([0, 0, 0, 0, 0, 1]), list("abcdef"), "1/2", "here")


@pytest.mark.parametrize("label", ["0/5", "6/5", "1/1", "1/21", "a", "1/5/2", "01/5", "\u0661/5"])
def test_a_fold_that_cannot_be_is_refused(label):
    with pytest.raises(ValueError, match="must be one of 2 to 20 folds"):
        fold_of(label)
    with pytest.raises(ConfigError, match=r"job: key 'fold' = .*must be one of 2 to 20 folds"):
        schema.validate(DatasetConfig, {"name": "digits", "fold": label}, "job")


def test_a_data_set_without_folds_says_so():
    with pytest.raises(ConfigError, match="fold: data set 'cifar10' has splits of its own and no folds"):
        schema.validate(DatasetConfig, {"name": "cifar10", "fold": "1/5"}, "job")


# SVHN


def write_svhn(folder: Path, **changes) -> None:
    """The official files in small: 20 digits to train with, 5 to test; digit k of train is k % 10."""
    from scipy.io import savemat

    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for name, n in ((svhn.TRAIN_FILE, 20), (svhn.TEST_FILE, 5)):
        images = rng.integers(0, 256, (32, 32, 3, n)).astype(np.uint8)
        labels = np.array([[k % 10 or 10] for k in range(n)], np.uint8)
        savemat(folder / name, {"X": images, "y": labels, **changes.get(name.partition("_")[0], {})})


def test_svhn_in_the_official_files(tmp_path):
    from scipy.io import loadmat

    write_svhn(tmp_path / "svhn")
    data = svhn.load(tmp_path, cache=tmp_path)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 10, "validation": 10, "test": 5}
    raw = loadmat(tmp_path / "svhn" / svhn.TEST_FILE)["X"]
    assert data.splits["test"].x[3, 5, 7, 1] == int(raw[5, 7, 1, 3]) - 128
    assert data.splits["test"].y.tolist() == [0, 1, 2, 3, 4]
    assert data.splits["validation"].index.tolist() == list(range(10, 20))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"X": np.zeros((32, 32, 3, 20))}, "images float64"),
        ({"y": np.ones((3, 1), np.uint8)}, "for 3 labels"),
        ({"y": np.full((20, 1), 11, np.uint8)}, "labels must be digits"),
        ({"y": np.full((20, 1), 0, np.uint8)}, "labels must be digits"),
    ],
)
def test_wrong_svhn_files_are_named(tmp_path, change, said):
    write_svhn(tmp_path / "svhn", train=change)
    with pytest.raises(ConfigError, match=rf"train_32x32\.mat: .*{said}"):
        svhn.load(tmp_path, cache=tmp_path)


def test_missing_and_damaged_svhn_files(tmp_path):
    write_svhn(tmp_path / "svhn")
    path = tmp_path / "svhn" / svhn.TEST_FILE
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ConfigError, match=r"test_32x32\.mat: not an official SVHN file"):
        svhn.load(tmp_path, cache=tmp_path)
    path.unlink()
    with pytest.raises(ConfigError, match=r"test_32x32\.mat: missing") as caught:
        svhn.load(tmp_path, cache=tmp_path)
    assert f"go into {tmp_path / 'svhn'}" in caught.value.hint


def test_an_excerpt_of_svhn_keeps_photographs_apart_and_says_what_is_missing(tmp_path):
    (tmp_path / "svhn").mkdir()
    rng, n = np.random.default_rng(0), 200
    content = {"x": rng.integers(0, 256, (n, 32, 32, 3)).astype(np.uint8), "y": np.arange(n, dtype=np.uint8) % 10}
    np.savez(tmp_path / "svhn" / svhn.EXCERPT, **content, src_image=np.arange(n) // 2)
    told: list[str] = []
    data = svhn.load(tmp_path, cache=tmp_path, progress=lambda what, done, total, info="": told.append(info))
    assert told == ["svhn: first1083.npz alone, train_32x32.mat and test_32x32.mat are missing"]
    photographs = [set((split.index // 2).tolist()) for split in data.splits.values()]
    assert sum(map(len, photographs)) == len(set.union(*photographs)) == n // 2
    np.savez(tmp_path / "svhn" / svhn.EXCERPT, **content)
    with pytest.raises(ConfigError, match=r"first1083\.npz: not an excerpt of SVHN"):
        svhn.load(tmp_path, cache=tmp_path)


# CIFAR-10


def write_cifar(folder: Path, train: int = 1010, test: int = 6, **changes) -> None:
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for name in (*cifar10.TRAIN_FILES, cifar10.TEST_FILE):
        n = test if name == cifar10.TEST_FILE else train
        content = {
            b"data": rng.integers(0, 256, (n, 3072)).astype(np.uint8),
            b"labels": rng.integers(0, 10, n).tolist(),
        }
        (folder / name).write_bytes(pickle.dumps({**content, **changes.get(name, {})}))


def test_cifar10_in_the_official_layout(tmp_path):
    write_cifar(tmp_path / cifar10.FOLDER)
    data = cifar10.load(tmp_path, cache=tmp_path)
    raw = pickle.loads((tmp_path / cifar10.FOLDER / "test_batch").read_bytes())
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 50, "validation": 5000, "test": 6}
    x = data.splits["test"].x
    assert x.dtype == np.int8 and x.shape == (6, 32, 32, 3)
    assert x[2, 5, 7, 1] == int(raw[b"data"][2, 1024 + 5 * 32 + 7]) - 128
    assert data.splits["test"].y.tolist() == raw[b"labels"]
    assert data.splits["validation"].index.tolist() == list(range(50, 5050))
    real = data.input.quantization.dequantize(np.array([-128, 127]))
    assert real.tolist() == pytest.approx([0, 1])


class RunsCode:
    """Unpickled by a careless reader, it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    "name, change, said",
    [
        ("data_batch_3", {b"data": np.zeros((1010, 3072), np.float32)}, "float32"),
        ("test_batch", {b"data": np.zeros((6, 1024), np.uint8)}, r"\(6, 1024\)"),
        ("data_batch_1", {b"labels": [10] * 1010}, "labels must be 0 to 9"),
        ("data_batch_2", {b"labels": [1]}, "for 1 labels"),
    ],
)
def test_wrong_cifar10_files_are_named(tmp_path, name, change, said):
    write_cifar(tmp_path / cifar10.FOLDER, **{name: change})
    with pytest.raises(ConfigError, match=f"{name}: .*{said}"):
        cifar10.load(tmp_path, cache=tmp_path)


def test_missing_and_truncated_cifar10_files(tmp_path):
    with pytest.raises(ConfigError, match="data_batch_1: missing") as caught:
        cifar10.load(tmp_path, cache=tmp_path)
    assert "TRITMCU_DATA" in caught.value.hint
    write_cifar(tmp_path / cifar10.FOLDER)
    path = tmp_path / cifar10.FOLDER / "data_batch_5"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ConfigError, match="data_batch_5: not an official CIFAR-10 file"):
        cifar10.load(tmp_path, cache=tmp_path)


def test_code_in_a_cifar10_file_does_not_run(tmp_path):
    write_cifar(tmp_path / cifar10.FOLDER, test_batch={b"data": RunsCode(tmp_path / "ran")})
    with pytest.raises(ConfigError, match=r"test_batch: .*refuses"):
        cifar10.load(tmp_path, cache=tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.data
@needs_data
def test_the_real_cifar10(tmp_path):
    data = cifar10.load(DATA, cache=tmp_path)
    assert [np.bincount(data.splits["test"].y).tolist()] == [[1000] * 10]
    assert data.splits["test"].y[:5].tolist() == [3, 8, 8, 0, 6]
    mean = data.input.quantization.dequantize(data.splits["train"].x).mean(axis=(0, 1, 2), dtype=np.float64)
    assert mean.tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=0.002)


# Speech Commands


def write_wave(path: Path, seed: int, seconds: float = 1.0, rate: int = 16000, silent: bool = False) -> None:
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(int(seconds * rate)) / rate
    tone = np.sin(2 * np.pi * rng.uniform(200, 2000) * time) * 8000 + rng.normal(0, 200, len(time))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes((0 * tone if silent else tone).astype("<i2").tobytes())


def write_test_set(root: Path) -> Path:
    folder = root / speech_commands.TEST_SET
    lines = ["path,word,split"]
    for number, (directory, split) in enumerate(
        (d, s) for d in ("yes", "no", "_silence_", "_unknown_") for s in speech_commands.SPLITS
    ):
        name = f"{directory}/{number}.wav"
        write_wave(folder / name, number, silent=number == 6, seconds=0.7 if number == 1 else 1.0)
        lines.append(f"{name},word,{split}")
    (folder / "split.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_speech_commands_test_set_layout(tmp_path):
    write_test_set(tmp_path)
    data = speech_commands.load(tmp_path, cache=tmp_path / "cache")
    assert data.input.shape == (49, 10, 1)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 16, "validation": 4, "test": 4}
    labels = [data.classes[i] for i in data.splits["test"].y]
    assert labels == ["yes", "no", "silence", "unknown"]
    train = data.splits["train"]
    of_each = data.input.quantization.dequantize(train.x).std(axis=(0, 1), dtype=np.float64)
    np.testing.assert_allclose(data.spread, np.broadcast_to(of_each, (49, 10, 1)), rtol=1e-5)
    assert train.index.tolist() == [0, 3, 6, 9] * 4
    assert (train.x.min(), train.x.max()) == (-128, 127)
    assert not np.array_equal(train.x[0], train.x[4])
    real = data.input.quantization
    assert real.qmin <= real.zero_point <= real.qmax


def test_a_fold_of_speech_commands_keeps_speakers_apart(tmp_path):
    folder, lines = tmp_path / speech_commands.TEST_SET, ["path,word,split"]
    for number in range(48):
        word = ("yes", "no", "_silence_", "_unknown_")[number % 4]
        speaker = f"{number // 8:08x}_nohash_{number}" if word != "_silence_" else f"{number}"
        write_wave(folder / word / f"{speaker}.wav", number, seconds=0.1)
        lines.append(f"{word}/{speaker}.wav,{word},train")
    for row in (1, 2):
        lines[row] = lines[row].replace("train", ("validation", "test")[row - 1])
    (folder / "split.csv").write_text("\n".join(lines) + "\n")
    tested = []
    for number in (1, 2):
        config = {"root": tmp_path, "cache": tmp_path / "cache", "fold": f"{number}/2"}
        data = speech_commands.load(**config)
        silent = data.classes.index("silence")
        speakers = [set((s.index[s.y != silent] // 8).tolist()) for s in data.splits.values()]
        assert sum(map(len, speakers)) == len(set.union(*speakers)) == 6
        assert speech_commands.load(**config).digest == data.digest
        tested.extend(data.splits["test"].index.tolist())
    assert sorted(tested) == list(range(48))
    assert len(list((tmp_path / "cache").glob("*.npz"))) == 2


def test_speech_features_are_computed_once(tmp_path):
    folder, cache = write_test_set(tmp_path), tmp_path / "cache"
    first = speech_commands.load(tmp_path, cache=cache)
    shown: list[str] = []
    again = speech_commands.load(tmp_path, cache=cache, progress=lambda what, done, total, info="": shown.append(info))
    assert first.digest == again.digest and shown == []
    (path,) = cache.glob("*.npz")
    path.write_bytes(path.read_bytes()[:100])
    assert speech_commands.load(tmp_path, cache=cache).digest == first.digest
    write_wave(folder / "yes/0.wav", 99, seconds=0.9)
    assert speech_commands.load(tmp_path, cache=cache).digest != first.digest


def test_speech_commands_full_archive(tmp_path):
    folder = tmp_path / speech_commands.FULL
    for word in ("yes", "stop", "bed"):
        for number in range(40):
            write_wave(folder / word / f"{number}.wav", number, seconds=0.1)
    write_wave(folder / "_background_noise_" / "hum.wav", 1, seconds=3)
    for name, numbers in (("validation", range(12)), ("testing", range(12, 24))):
        listed = [f"{word}/{number}.wav\n" for word in ("yes", "stop", "bed") for number in numbers]
        (folder / f"{name}_list.txt").write_text("".join(listed))
    data = speech_commands.load(tmp_path, cache=tmp_path / "cache")
    for name, clips, copies in (("validation", 24, 1), ("test", 24, 1), ("train", 32, speech_commands.VARIANTS)):
        counts = dict(zip(data.classes, np.bincount(data.splits[name].y, minlength=12), strict=True))
        assert counts["yes"] + counts["stop"] == clips * copies
        assert counts["silence"] == round(0.1 * clips) * copies
    unknown = sum(int((split.y == speech_commands.UNKNOWN).sum()) for split in data.splits.values())
    assert 0 < unknown < 40
    (folder / "testing_list.txt").unlink()
    with pytest.raises(ConfigError, match=r"testing_list\.txt: missing"):
        speech_commands.load(tmp_path, cache=tmp_path / "cache")


def test_wrong_speech_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match="no data folder") as caught:
        speech_commands.load(None, cache=tmp_path)
    assert "TRITMCU_DATA" in caught.value.hint
    with pytest.raises(ConfigError, match="neither"):
        speech_commands.load(tmp_path, cache=tmp_path)
    folder = write_test_set(tmp_path)
    write_wave(folder / "no/4.wav", 1, rate=8000)
    with pytest.raises(ConfigError, match=r"no/4\.wav: 8000 Hz"):
        speech_commands.load(tmp_path, cache=tmp_path / "cache")
    (folder / "no/4.wav").write_bytes(struct.pack("<4sI4s", b"RIFF", 4, b"WAVE"))
    with pytest.raises(ConfigError, match=r"no/4\.wav: "):
        speech_commands.load(tmp_path, cache=tmp_path / "cache")
    (folder / "no/4.wav").unlink()
    with pytest.raises(ConfigError, match=r"no/4\.wav: No such file"):
        speech_commands.load(tmp_path, cache=tmp_path / "cache")
    (folder / "split.csv").write_text("path,word,split\nmaybe/1.wav,maybe,train\n")
    with pytest.raises(ConfigError, match=r"split\.csv, line 2: path 'maybe/1\.wav'"):
        speech_commands.load(tmp_path, cache=tmp_path / "cache")


def mel(hertz: float) -> float:
    return 1127 * np.log1p(hertz / 700)


def mfcc_by_numpy(signal: np.ndarray) -> np.ndarray:
    """The textbook formula, frame by frame: periodic Hann window, mel triangles, log, DCT-II."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(480) / 480)
    frames = np.stack([signal[i * 320 : i * 320 + 480] * window for i in range(49)])
    spectrum = np.abs(np.fft.rfft(frames, 512))
    edges = np.linspace(mel(20), mel(4000), 42)
    bins = mel(np.arange(257) * 16000 / 512)
    rising = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0, np.minimum(rising, falling))
    triangles[0] = 0
    log = np.log(spectrum @ triangles + 1e-6)
    k, n = np.meshgrid(np.arange(10), np.arange(40), indexing="ij")
    return log @ (2 * np.cos(np.pi * k * (2 * n + 1) / 80)).T / np.sqrt(80)


def test_mfcc_against_the_formula():
    rng = np.random.default_rng(0)
    signal = np.sin(np.arange(16000) * 0.2) + rng.normal(0, 0.1, 16000)
    features = _mfcc.mfcc(signal[np.newaxis].astype(np.float32))
    assert features.shape == (1, 49, 10, 1)
    assert np.abs(features[0, :, :, 0] - mfcc_by_numpy(signal)).max() < 0.01


def test_silence_has_features_too():
    wave_ = _mfcc.normalized(np.zeros((1, 16000), np.int16))
    assert np.isfinite(_mfcc.mfcc(wave_)).all()


@pytest.mark.data
@needs_data
def test_the_real_speech_commands_test_set(tmp_path):
    root, clips = speech_commands._clips(DATA)
    assert root.name == speech_commands.TEST_SET and len(clips) == 3852
    assert min(np.bincount([clip.label for clip in clips])) > 200
    few = _mfcc.normalized(np.stack([speech_commands._read(root, clip) for clip in clips[::200]]))
    assert np.isfinite(_mfcc.mfcc(few)).all()


# augmentation


def images(n: int = 400, size: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(-128, 128, (n, size, size, 1)).astype(np.int8)


def test_crop_moves_by_at_most_an_eighth_and_fills_with_real_zero():
    x = images()
    moved = augment.crop(x, PIXELS, np.random.default_rng(1))
    shifts = set()
    for before, after in zip(x, moved, strict=True):
        padded = np.pad(before[..., 0], 2, constant_values=-128)
        found = [
            (a, b) for a in range(5) for b in range(5) if np.array_equal(padded[a : a + 16, b : b + 16], after[..., 0])
        ]
        shifts.update(found)
        assert len(found) == 1
    assert shifts == {(a, b) for a in range(5) for b in range(5)}


def test_crop_flip_mirrors_about_half():
    x = np.zeros((400, 16, 16, 1), np.int8)
    x[:, :, :8] = 100
    moved = augment.crop_flip(x, PIXELS, np.random.default_rng(1))
    mirrored = moved[:, 8, 4, 0] != 100
    assert 0.4 < mirrored.mean() < 0.6


def test_shift_moves_frames_in_time_only():
    x = np.broadcast_to(np.arange(49, dtype=np.int8)[:, None, None], (300, 49, 10, 1))
    moved = augment.shift(x, PIXELS, np.random.default_rng(1))
    assert np.array_equal(moved, np.broadcast_to(moved[:, :, :1], moved.shape))
    offsets = moved[:, 24, 0, 0].astype(int) - 24
    assert set(offsets) == set(range(-4, 5))
    assert np.array_equal(moved[0, :, 0, 0], np.clip(np.arange(49) + offsets[0], 0, 48))
