"""Data sets from files of a user's own: what becomes of them, and one line about every file that is wrong."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import datasets
from pipeline.config import dataset as tables
from pipeline.config.dataset import DatasetConfig, MfccConfig
from pipeline.core import registry, schema
from pipeline.core.errors import ConfigError, ToolError
from pipeline.core.nouns import Dataset, Quantization
from pipeline.datasets import _mfcc, _split, npz
from pipeline.training import augment
from tests.support import own_files

PIXELS = Quantization(1 / 255, -128)
SPLITS = ("train", "validation", "test")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written lies in the current folder."""
    monkeypatch.chdir(tmp_path)


def load(name: str, path: str | Path, progress=lambda *shown: None, **settings) -> Dataset:
    table = {"name": name, "path": str(path), **settings}
    return datasets.load(schema.validate(DatasetConfig, table, "dataset"), cache=Path("cache"), progress=progress)


def refused(name: str, path: str | Path, **settings) -> str:
    with pytest.raises(ConfigError) as caught:
        load(name, path, **settings)
    assert "\n" not in str(caught.value)
    return f"{caught.value}\n{caught.value.hint}"


def save(path: str = "data.npz", **arrays) -> Path:
    np.savez(path, **arrays)
    return Path(path)


# The table


def test_an_option_that_a_data_set_does_not_use_is_refused_and_all_it_uses_exist():
    for table, said in (
        ({"name": "digits", "path": "x"}, "path: data set 'digits' does not use it; it has no settings"),
        (
            {"name": "npz", "path": "x", "size": [8, 8]},
            "size: data set 'npz' does not use it; it uses augment, classes",
        ),
        ({"name": "npz"}, "path: data set 'npz' needs the file or folder"),
        ({"name": "npz", "path": "x", "range": [1.0, 0.0]}, "range: the first number must be smaller"),
        ({"name": "npz", "path": "x", "classes": ["a", "a"]}, "classes: one is named twice"),
        ({"name": "images", "path": "x", "split": {"test": 0.9}}, "leave nothing to train with"),
        ({"name": "images", "path": "x", "size": [8, 0]}, "key 'size.1' = 0"),
        ({"name": "wav", "path": "x", "mfcc": {"high_hz": 9000}}, "high_hz <= 8000, half the sample_rate"),
        ({"name": "wav", "path": "x", "mfcc": {"seconds": 0.01}}, "a clip has 160 samples, a window 480"),
        ({"name": "wav", "path": "x", "mfcc": {"coefficients": 50}}, "at most mel_bins = 40"),
    ):
        with pytest.raises(ConfigError) as caught:
            schema.validate(DatasetConfig, table, "job: dataset")
        assert said in str(caught.value)


def test_what_may_be_asked_of_augmentation_is_what_there_is():
    (known, _) = DatasetConfig.model_fields["augment"].annotation.__args__
    assert set(known.__args__) == set(augment.MODES)


def test_a_table_of_a_toml_file_stands_for_a_name():
    Path("data.toml").write_text('[dataset]\nname = "npz"\npath = "x.npz"\n', encoding="utf-8")
    assert tables.named("data.toml") == DatasetConfig(name="npz", path="x.npz")
    assert tables.named("digits") == DatasetConfig(name="digits")
    assert tables.named(str(save(x=[[1]], y=[0]))) == DatasetConfig(name="npz", path="data.npz")
    Path("digits").mkdir()
    assert tables.named("digits") == DatasetConfig(name="digits"), "a name is a name, whatever lies here"
    Path("photos/cat").mkdir(parents=True)
    assert tables.named("photos") == DatasetConfig(name="images", path="photos")
    Path("photos/cat/1.wav").touch()
    assert tables.named("photos") == DatasetConfig(name="wav", path="photos")
    with pytest.raises(ConfigError, match=r"--dataset: .*unknown data set 'photo'"):
        tables.named("photo")
    Path("none.toml").write_text("dataset = 3\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"none\.toml: no table \[dataset\]"):
        tables.named("none.toml")
    with pytest.raises(ConfigError, match=r"--dataset: .*unknown data set 'digit'"):
        tables.named("digit")


# Arrays


def test_an_npz_in_the_format_of_mnist():
    data = load("npz", own_files.write_npz(Path("mnist.npz")))
    x, y = own_files.digits()
    assert data.input.shape == (8, 8, 1) and data.input.quantization == PIXELS
    assert data.classes == tuple("0123456789")
    test = data.splits["test"]
    np.testing.assert_array_equal(test.x[..., 0].astype(int) + 128, x[:60][np.argsort(test.index)])
    np.testing.assert_array_equal(test.y, y[:60])
    assert {name: len(data.splits[name]) for name in SPLITS} == {"train": 127, "validation": 13, "test": 60}
    assert data.digest == load("npz", "mnist.npz").digest
    other = load("npz", "mnist.npz", split={"seed": 1}).splits
    assert not np.array_equal(other["validation"].x, data.splits["validation"].x)
    np.testing.assert_array_equal(other["test"].x, test.x)


def test_splits_are_drawn_evenly_and_are_the_samples():
    x, y = own_files.digits()
    data = load("npz", save(x=x, y=y))
    index = np.concatenate([data.splits[name].index for name in SPLITS])
    assert sorted(index) == list(range(200))
    for name, each in zip(SPLITS, (14, 2, 4), strict=True):
        assert np.bincount(data.splits[name].y).tolist() == [each] * 10
        np.testing.assert_array_equal(data.splits[name].y, y[data.splits[name].index])
    many = load("npz", "data.npz", split={"test": 0.5, "validation": 0.25})
    assert [len(many.splits[name]) for name in SPLITS] == [50, 50, 100]


def test_real_values_get_the_lattice_that_covers_the_training_samples():
    x, y = own_files.digits()
    real = (x / 100 - 1).astype(np.float32)
    data = load("npz", save(x=real, y=y))
    q, train = data.input.quantization, data.splits["train"]
    assert (train.x.min(), train.x.max()) == (-128, 127)
    assert np.abs(q.dequantize(train.x)[..., 0] - real[train.index]).max() <= q.scale
    assert data.spread is not None
    np.testing.assert_allclose(data.spread[..., 0], real[train.index].std(axis=0), atol=q.scale)
    stated = load("npz", "data.npz", lattice={"scale": 0.0125, "zero_point": 0}).input.quantization
    assert stated == Quantization(0.0125, 0)


def test_pixels_stand_for_the_range_and_the_lattice_the_job_states():
    x, y = own_files.digits()
    path = save(x=x, y=y)
    raw = load("npz", path, range=[0.0, 255.0])
    assert raw.input.quantization == Quantization(1.0, -128)
    both = load("npz", path, range=[-1.0, 1.0], lattice={"scale": 1 / 128, "zero_point": 0})
    train = both.splits["train"]
    wanted = np.clip(np.rint((x[train.index] / 127.5 - 1) * 128), -128, 127)
    np.testing.assert_array_equal(train.x[..., 0], wanted)


def test_int8_samples_are_taken_as_they_are_and_features_need_no_image():
    x = np.random.default_rng(0).integers(-128, 128, (30, 5)).astype(np.int8)
    names = np.array(["cat", "dog", "owl"])[np.arange(30) % 3]
    path = save(x=x, y=names)
    assert "nothing says what they stand for" in refused("npz", path)
    data = load("npz", path, lattice={"scale": 0.5, "zero_point": 3})
    assert (data.input.shape, data.input.quantization, data.classes) == (
        (5,),
        Quantization(0.5, 3),
        ("cat", "dog", "owl"),
    )
    np.testing.assert_array_equal(data.splits["test"].x, x[data.splits["test"].index])
    two = load("npz", path, lattice={"scale": 0.5, "zero_point": 3}, classes=["owl", "cat"])
    assert two.classes == ("owl", "cat")
    assert {names[i] for i in two.splits["train"].index[two.splits["train"].y == 0]} == {"owl"}


def test_arrays_are_found_under_the_names_of_medmnist():
    x, y = own_files.digits()
    images = {f"{name}_images": x for name in ("train", "val", "test")}
    labels = {f"{name}_labels": y[:, None] for name in ("train", "val", "test")}
    assert len(load("npz", save(**images, **labels)).splits["validation"]) == 200


Y = np.arange(30) % 3
X = np.broadcast_to(np.arange(30, dtype=np.float32)[:, None, None], (30, 4, 4))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": X}, "holds x\nneeded: x and y"),
        ({"x_train": X, "y_train": Y, "x_test": X}, "holds x_test, x_train, y_train"),
        ({"x": X, "y": Y[:20]}, "30 samples in x, 20 labels in y"),
        ({"x": X[:, 0, 0], "y": Y}, "x float32 (30,)"),
        ({"x": X[:0], "y": Y[:0]}, "x float32 (0, 4, 4)"),
        ({"x": X.astype("U4"), "y": Y}, "x <U4 (30, 4, 4)"),
        ({"x": X, "y": np.eye(3)[Y]}, "y float64 (30, 3)\none class per sample, (n,); of one-hot rows: y.argmax"),
        ({"x": X, "y": Y - 1}, "y[0] = -1"),
        ({"x": X, "y": Y + 0.5}, "y[0] = 0.5"),
        ({"x": X, "y": Y * 2}, "no sample of class 1, labels go from 0 to 4"),
        ({"x": X, "y": Y * 10**12}, "y[1] = 1000000000000"),
        ({"x": X, "y": Y * 1e300}, "y[1] = 1e+300"),
        ({"x": X, "y": np.where(Y == 1, np.nan, Y)}, "y[1] = nan"),
        ({"x": X, "y": Y * 0}, "only the class 0"),
        ({"x": X[:1], "y": Y[:1]}, "only the class 0; a classifier needs at least two classes"),
        ({"x": X[:3], "y": Y[:3]}, "class '0' has 1 sample to train with and to draw splits from; it needs 3"),
        (
            {"x": X, "y": np.where(np.arange(30) == 7, 3, Y)},
            "class '3' has 1 sample to train with and to draw splits from; it needs 3",
        ),
        ({"x": np.where(np.arange(30)[:, None, None] == 4, np.nan, X), "y": Y}, "x[4] holds NaN or infinity"),
        ({"x_train": X, "y_train": Y, "x_test": X[:, :3], "y_test": Y}, "x_test float32 (30, 3, 4), but x_train"),
        ({"x_train": X, "y_train": Y, "x_test": X, "y_test": Y % 2}, "class '2' has no sample in the test split"),
        ({"x": X * 0, "y": Y}, "all training values are 0"),
        ({"x": X, "y": np.array([["a\nb", "c", "d"][i] for i in Y])}, "class 'a\\nb' must be one line"),
    ],
)
def test_wrong_arrays_are_named(arrays, said):
    assert f"data.npz: {said}" in refused("npz", save(**arrays))


def test_wrong_files_of_arrays_are_named():
    assert "none.npz: No such file" in refused("npz", "none.npz")
    Path("text.npz").write_text("hello", encoding="utf-8")
    assert "text.npz: not an .npz file" in refused("npz", "text.npz")
    np.save("one.npy", X)
    assert "one.npy: not an .npz file that can be read (holds one array)" in refused("npz", "one.npy")
    np.savez("objects.npz", x=np.array([{}] * 3), y=Y[:3])
    assert "objects.npz: not an .npz file" in refused("npz", "objects.npz")
    own_files.write_npz(Path("cut.npz"))
    Path("cut.npz").write_bytes(Path("cut.npz").read_bytes()[:5000])
    assert "cut.npz: not an .npz file" in refused("npz", "cut.npz")
    save(x=X, y=Y)
    assert "labels 0 to 2, dataset.classes names 2" in refused("npz", "data.npz", classes=["a", "b"])
    outside = refused("npz", "data.npz", lattice={"scale": 1 / 255, "zero_point": -128})
    assert "the lattice covers 0 to 1, but 9" in outside and "which go from" in outside


def test_arrays_that_unpack_without_end_are_refused_before_they_are_unpacked(monkeypatch):
    np.savez_compressed("bomb.npz", x=np.zeros((1 << 12, 64)), y=np.arange(1 << 12) % 3)
    assert Path("bomb.npz").stat().st_size < 1 << 16
    monkeypatch.setattr(npz, "MOST_BYTES", 1 << 20)
    assert "bomb.npz: its arrays take 2.0 MiB, more than 1.0 MiB\nstore pixels as uint8" in refused("npz", "bomb.npz")
    Path("endless.npz").symlink_to("/dev/zero")
    assert "endless.npz: not a file" in refused("npz", "endless.npz")


# Images


def test_a_folder_of_images_is_its_pixels():
    data = load("images", own_files.write_images(Path("photos")), colour="grey")
    x, y = own_files.digits()
    assert data.input.shape == (8, 8, 1) and data.input.quantization == PIXELS and data.classes == tuple("0123456789")
    order = sorted(range(200), key=lambda n: f"{y[n]}/{n}.png")
    train = data.splits["train"]
    rows = [order[i] for i in train.index]
    np.testing.assert_array_equal(train.x[..., 0].astype(int) + 128, x[rows])
    np.testing.assert_array_equal(train.y, y[rows])
    colours = load("images", "photos", size=[12, 10])
    assert colours.input.shape == (12, 10, 3)
    few = load("images", "photos", classes=["7", "1"])
    assert few.classes == ("7", "1") and sum(len(split) for split in few.splits.values()) == 40


def test_images_come_to_one_size_as_the_job_says():
    wide = np.zeros((4, 12), np.uint8)
    wide[:, :4], wide[:, 8:] = 100, 200
    for name in ("wide/a/0", "wide/a/1", "wide/a/2", "wide/b/0", "wide/b/1", "wide/b/2"):
        Path(name).parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray(wide).save(f"{name}.png")

    def pixels(fit: str) -> np.ndarray:
        data = load("images", "wide", size=[4, 4], fit=fit, colour="grey")
        return data.splits["test"].x[0, :, :, 0].astype(int) + 128

    assert pixels("crop").max() == 0
    assert pixels("stretch")[0, 0] == 100 and pixels("stretch")[0, 3] == 200
    assert pixels("pad")[0].max() == 0 and pixels("pad")[1:3].max() > 0


def test_pixels_of_every_kind_of_image_are_eight_bits():
    kinds = {
        "sixteen.png": Image.fromarray(np.full((4, 4), 0x8040, np.uint16)),
        "palette.gif": Image.fromarray(np.full((4, 4), 128, np.uint8)).convert("P"),
        "clear.png": Image.fromarray(np.full((4, 4, 4), (128, 128, 128, 255), np.uint8)),
        "bilevel.png": Image.fromarray(np.full((4, 4), 255, np.uint8)).convert("1"),
        "hidden.png": Image.fromarray(np.full((4, 4, 4), (200, 200, 200, 0), np.uint8)),
    }
    wanted = dict.fromkeys(kinds, 128) | {"bilevel.png": 255, "hidden.png": 0}
    for label in ("x", "y"):
        Path("all", label).mkdir(parents=True)
        for name, image in kinds.items():
            image.save(Path("all", label, name))
    data = load("images", "all")
    files = sorted(f"{label}/{name}" for label in ("x", "y") for name in kinds)
    for split in data.splits.values():
        for row, index in zip(split.x, split.index, strict=True):
            assert set(np.unique(row.astype(int) + 128)) == {wanted[files[index].partition("/")[2]]}, files[index]


def test_folders_called_after_splits_are_the_splits():
    for split, each in (("train", 6), ("val", 3), ("Test", 4)):
        own_files.write_images(Path("photos", split), classes=3, each=each)
    data = load("images", "photos", colour="grey")
    assert {name: len(data.splits[name]) for name in SPLITS} == {"train": 18, "validation": 9, "test": 12}
    Path("photos/validation").mkdir()
    assert "val and validation are both the validation split" in refused("images", "photos")
    Path("photos/validation").rmdir()
    Path("photos/train").rename("photos/.old")
    assert "has folders for test and validation, but none called train" in refused("images", "photos")


def test_a_table_gives_labels_and_splits():
    own_files.write_images(Path("photos"), classes=3, each=8)
    files = sorted(path.relative_to("photos").as_posix() for path in Path("photos").glob("*/*.png"))
    rows = [f"{name}\t{'odd' if name[0] == '1' else 'even'}\t{SPLITS[i % 3]}" for i, name in enumerate(files)]
    Path("photos/labels.tsv").write_text("\n".join(["path\tlabel\tsplit", *rows]) + "\n", encoding="utf-8")
    data = load("images", "photos", labels="labels.tsv", colour="grey")
    assert data.classes == ("even", "odd")
    assert [len(data.splits[name]) for name in SPLITS] == [8, 8, 8]
    for line, said in (
        ("../x.png\teven\ttrain", r"bad.tsv, line 26: path '../x.png'"),
        ("/etc/x.png\teven\ttrain", "line 26: path '/etc/x.png'"),
        (f"{files[0]}\teven\ttrain", f"line 26: '{files[0]}' is already in line 2"),
        ("9.png\t\ttrain", "line 26: '9.png' has no label"),
        ("9.png\teven\ttrial", "line 26: split 'trial'"),
        ("9.png\teven\ttrain", "9.png: No such file"),
    ):
        text = "\n".join(["path\tlabel\tsplit", *rows, line]) + "\n"
        Path("photos/bad.tsv").write_text(text, encoding="utf-8")
        assert said in refused("images", "photos", labels="bad.tsv")
    Path("photos/bad.tsv").write_text("file,class\na,b\n", encoding="utf-8")
    assert "bad.tsv: columns file, class\nneeded: path, label" in refused("images", "photos", labels="bad.tsv")
    assert "photos/none.csv: No such file" in refused("images", "photos", labels="none.csv")


def test_wrong_folders_and_images_are_named():
    assert "photos: no such folder" in refused("images", "photos")
    own_files.write_images(Path("photos"), classes=2, each=4)
    assert "is a file, not a folder" in refused("images", "photos/0/0.png")
    Path("photos/2").mkdir()
    assert "photos/2: class '2' has no samples" in refused("images", "photos")
    Image.new("L", (9, 8)).save("photos/2/0.png")
    assert "class '2' has 1 sample to train with and to draw splits from; it needs 3" in refused("images", "photos")
    for number in (1, 2):
        Image.effect_noise((9, 8), 50).save(f"photos/2/{number}.png")
    said = refused("images", "photos")
    assert "photos/2/0.png: 8x9 pixels (height x width), earlier images have 8x8" in said and "size = [" in said
    Path("photos/2/.DS_Store").write_bytes(b"x")
    Path("photos/2/1.png").write_bytes(Path("photos/2/1.png").read_bytes()[:70])
    assert "photos/2/1.png: not an image that can be read" in refused("images", "photos", size=[8, 8])
    Image.fromarray(np.zeros((4, 4), np.float32)).save("photos/2/1.tif")
    Path("photos/2/1.png").unlink()
    assert "photos/2/1.tif: not an image that can be read (pixels of mode F" in refused("images", "photos", size=[8, 8])
    Path("photos/2/notes.txt").write_text("x", encoding="utf-8")
    assert "photos/2/notes.txt: image files end in .png, .jpg" in refused("images", "photos")
    Path("photos/2/notes.txt").unlink()
    assert "class '9' has no samples\nthere are: 0, 1, 2" in refused("images", "photos", classes=["9", "0"])
    Path("flat").mkdir()
    Image.new("L", (4, 4)).save("flat/0.png")
    assert 'holds no folder for each class\nlabels = "names"' in refused("images", "flat")
    assert "flat/0.png: its name has no class before an underscore" in refused("images", "flat", labels="names")
    Path("flat/0.png").rename("flat/cat_0.png")
    assert "flat: only the class 'cat'" in refused("images", "flat", labels="names")


def test_large_images_need_a_size_and_bombs_are_not_opened(monkeypatch):
    own_files.write_images(Path("photos"), classes=2, each=4)
    Image.new("L", (600, 500)).save("photos/0/0.png")
    assert "photos/0/0.png: 500x600 pixels" in refused("images", "photos")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200_000)
    assert "photos/0/0.png: not an image that can be read" in refused("images", "photos", size=[8, 8])


def test_pixels_are_kept_until_a_file_changes():
    own_files.write_images(Path("photos"), classes=2, each=4)
    shown: list[tuple[int, int]] = []

    def see(what: str, done: int, total: int, info: str = "") -> None:
        shown.append((done, total))

    first = load("images", "photos", see, colour="grey")
    assert shown == [(n, 8) for n in range(1, 9)]
    assert load("images", "photos", see, colour="grey").digest == first.digest and len(shown) == 8
    assert len(list(Path("cache").iterdir())) == 1
    load("images", "photos", see)
    assert len(shown) == 16 and len(list(Path("cache").iterdir())) == 2
    path = Path("photos/0/0.png")
    before = path.stat()
    inverted = np.asarray(Image.open(path)) ^ 1
    Image.fromarray(inverted).save(path, compress_level=6)
    path.write_bytes(path.read_bytes().ljust(before.st_size, b"\0")[: before.st_size + 20])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert load("images", "photos", see, colour="grey").digest != first.digest
    assert len(shown) == 24 and len(list(Path("cache").iterdir())) == 2
    (kept,) = (path for path in Path("cache").iterdir() if path.stat().st_size < 2000)
    kept.write_bytes(kept.read_bytes()[:100])
    load("images", "photos", see, colour="grey")
    assert len(shown) == 32


# Sound


FSDD = {"labels": "names", "mfcc": {"sample_rate": 8000, "seconds": 0.5}}


def test_recordings_named_as_in_fsdd_become_features():
    data = load("wav", own_files.write_wavs(Path("recordings")), **FSDD)
    assert data.classes == ("0", "1", "2") and data.input.shape == (24, 10, 1) and data.augment == "shift"
    assert [len(data.splits[name]) for name in SPLITS] == [21, 3, 6]
    assert (data.splits["train"].x.min(), data.splits["train"].x.max()) == (-128, 127)
    assert data.spread is not None and data.spread.shape == (24, 10, 1)
    real = data.input.quantization.dequantize(data.splits["train"].x)
    wanted = np.broadcast_to(real.std(axis=(0, 1), dtype=np.float64), (24, 10, 1))
    np.testing.assert_allclose(data.spread, wanted, rtol=1e-5)
    other = load("wav", "recordings", labels="names", mfcc={**FSDD["mfcc"], "coefficients": 4, "stride_ms": 40})
    assert other.input.shape == (12, 4, 1)


def test_longer_clips_are_cut_and_shorter_ones_filled():
    for number in range(3):
        own_files.write_wav(Path(f"all/a_{number}.wav"), 300, seconds=0.5)
        own_files.write_wav(Path(f"all/b_{number}.wav"), 300, seconds=0.2 if number else 0.9)
    assert load("wav", "all", **FSDD).input.shape == (24, 10, 1)


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"rate": 16000}, "16000 Hz, 1 channels, 16 bit; expected 8000 Hz, mono, 16 bit\nffmpeg"),
        ({"channels": 2}, "8000 Hz, 2 channels"),
        ({"bytes": 4}, "8000 Hz, 1 channels, 32 bit"),
        ({"seconds": 0.0}, "holds no sound"),
    ],
)
def test_wrong_recordings_are_named(form, said):
    own_files.write_wavs(Path("all"), classes=2, each=3)
    own_files.write_wav(Path("all/1_jackson_1.wav"), 300, **form)
    assert f"all/1_jackson_1.wav: {said}" in refused("wav", "all", **FSDD)


def test_files_that_are_no_recordings_are_named():
    own_files.write_wavs(Path("all"), classes=2, each=3)
    Path("all/1_jackson_1.wav").write_bytes(b"RIFF")
    assert "all/1_jackson_1.wav: ends before its sound" in refused("wav", "all", **FSDD)
    Path("all/1_jackson_1.wav").write_bytes(b"ID3 not a wave file at all")
    assert "all/1_jackson_1.wav: file does not start with RIFF id" in refused("wav", "all", **FSDD)
    Path("all/1_jackson_1.wav").rename("all/1.mp3")
    assert "all/1.mp3: WAV files end in .wav" in refused("wav", "all", **FSDD)


def test_the_default_front_end_is_that_of_mlperf_tiny():
    front = MfccConfig()
    assert (front.samples, front.window, front.stride, front.frames) == (16000, 480, 320, 49)
    quick = _mfcc.mfcc(np.sin(np.arange(4000) * 0.2, dtype=np.float32)[None], MfccConfig(sample_rate=8000, seconds=0.5))
    assert quick.shape == (1, 24, 10, 1) and np.isfinite(quick).all()


# Splits


def test_every_split_gets_a_sample_of_every_class_however_few():
    y = np.array([0] * 3 + [1] * 5 + [2] * 40)
    rows = _split.divided(y, [""] * len(y), tables.SplitConfig(), ("a", "b", "c"), "here")
    assert {name: np.bincount(y[rows[name]]).tolist() for name in SPLITS} == {
        "train": [1, 3, 28],
        "validation": [1, 1, 4],
        "test": [1, 1, 8],
    }


def test_numbered_classes_are_sorted_by_number():
    assert _split.ordered_classes(["10", "9", "b", "a", "1"], (), "here") == ("1", "9", "10", "a", "b")


def test_every_own_data_set_is_tried_here():
    assert {name for name in registry.names("datasets") if tables.dataset_settings(name)} == {"npz", "images", "wav"}


# Folders that the library `datasets` saved


def saved_images() -> Path:
    """saved/train, saved/test: the digits 0 to 2, nine and three of each."""
    found = sorted(own_files.write_images(Path("photos"), 3, 12).glob("*/*.png"))
    parts = {"test": [f for i, f in enumerate(found) if i % 4 == 0], "train": [f for i, f in enumerate(found) if i % 4]}
    splits = {name: (files, [file.parent.name for file in files]) for name, files in parts.items()}
    return own_files.write_arrow(Path("saved"), splits)


def test_saved_images_are_those_of_the_files():
    pytest.importorskip("pyarrow", reason="the extra [data] is not installed")
    saved, plain = load("images", saved_images(), colour="grey"), load("images", "photos", colour="grey")
    assert saved.classes == plain.classes == ("0", "1", "2")
    assert {name: len(split.y) for name, split in saved.splits.items()} == {"train": 24, "validation": 3, "test": 9}

    def images(data: Dataset) -> set[tuple[bytes, int]]:
        return {(x.tobytes(), int(y)) for split in data.splits.values() for x, y in zip(split.x, split.y, strict=True)}

    assert images(saved) == images(plain)
    other = own_files.write_arrow(
        Path("saved"), {"test": (sorted(Path("photos").glob("*/*.png"))[::4], ["0", "1", "2"] * 3)}
    )
    (other / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert not np.array_equal(load("images", other, colour="grey").splits["test"].y, saved.splits["test"].y)
    numbered = load(
        "images", other, colour="grey", labels="n", classes=["0", "1", "2"], split={"test": 0.3, "validation": 0.3}
    )
    assert numbered.classes == ("0", "1", "2"), "a column that is named holds the classes"


def test_saved_recordings_are_those_of_the_files():
    pytest.importorskip("pyarrow", reason="the extra [data] is not installed")
    found = sorted(own_files.write_wavs(Path("speech")).glob("*.wav"))
    saved = own_files.write_arrow(Path("saved"), {"": (found, [file.name[0] for file in found])}, "Audio")
    mfcc = {"sample_rate": 8000, "seconds": 0.5}
    one, two = load("wav", saved, mfcc=mfcc), load("wav", "speech", labels="names", mfcc=mfcc)
    for name in SPLITS:
        np.testing.assert_array_equal(one.splits[name].x, two.splits[name].x)
    table = schema.validate(DatasetConfig, {"name": "wav", "path": "saved", "mfcc": mfcc}, "dataset")
    assert datasets.recordings(table, np.array([3, 17])).shape == (2, 4000)


def test_wrong_saved_folders_are_named():
    pytest.importorskip("pyarrow", reason="the extra [data] is not installed")
    path = saved_images() / "train"
    assert "columns file (Image), n (Value), label (ClassLabel)\nneeded: one column of type Audio" in refused(
        "wav", "saved"
    )
    assert "no column 'kind', columns file (Image)" in refused("images", "saved", labels="kind")
    table = path / "data-00000-of-00002.arrow"
    whole, files = table.read_bytes(), sorted(Path("photos").glob("*/*.png"))
    good = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    for contents, labels, said in (
        ([None], [0], "00000-of-00002.arrow/000000000: the row holds no image file"),
        ([{"bytes": b"no image", "path": "a"}], [1], "000000000: not an image that can be read"),
        ([{"bytes": b"", "path": "a"}], [-1], "row 0: label -1 is no class"),
    ):
        own_files.write_table(table, [*contents, *good], [*labels, *(int(file.parent.name) for file in files)])
        assert said in refused("images", "saved")
    for damaged in (whole[:100], whole[: len(whole) // 2], b"", bytes(200)):
        table.write_bytes(damaged)
        assert "data-00000-of-00002.arrow: not an Arrow file that can be read" in refused("images", "saved")
    (path.parent / "dataset_dict.json").write_text('{"splits": ["train", "more"]}')
    (path / "state.json").write_text('{"_data_files": []}')
    (path.parent / "test").rename(path.parent / "more")
    assert "split 'more'" in refused("images", "saved")


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        (
            "state.json",
            '{"_data_files": [{"filename": "../x.arrow"}]}',
            "state.json: '../x.arrow' names nothing in its folder",
        ),
        ("state.json", '{"_data_files": "x"}', "state.json: names no files"),
        ("state.json", "[]", "state.json: not an object"),
        ("state.json", "{", "state.json: not valid JSON"),
        ("dataset_dict.json", '{"splits": ["/etc"]}', "'/etc' names nothing in its folder"),
        ("dataset_dict.json", '{"splits": []}', "names no splits"),
        ("dataset_info.json", '{"features": []}', "names no columns"),
        ("dataset_info.json", '{"features": {"a": 1}}', "columns a (None)\nneeded: one column of type Image"),
    ],
)
def test_damaged_descriptions_of_saved_folders_are_named(file, text, said):
    features = {"a": {"_type": "Image"}, "b": {"_type": "ClassLabel", "names": ["x", "y"]}}
    Path("saved").mkdir()
    Path("saved/state.json").write_text('{"_data_files": []}')
    Path("saved/dataset_info.json").write_text(json.dumps({"features": features}))
    Path("saved", file).write_text(text)
    assert said in refused("images", "saved")


def test_without_pyarrow_a_saved_folder_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    features = {"a": {"_type": "Image"}, "b": {"_type": "ClassLabel", "names": ["x", "y"]}}
    Path("saved").mkdir()
    Path("saved/state.json").write_text('{"_data_files": [{"filename": "data.arrow"}]}')
    Path("saved/dataset_info.json").write_text(json.dumps({"features": features}))
    with pytest.raises(ToolError, match=r"data\.arrow: needs the package pyarrow") as caught:
        load("images", "saved")
    assert caught.value.hint == "pip install 'tritmcu[data]'"
