"""store: what is saved comes back equal; damage is found and named; nothing is half-written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.core import store
from pipeline.core.digest import digest_of
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import AttackInfo, Dataset, QModel, Quantization, Split, TensorSpec, TrainedModel
from tests.support import tiny


@pytest.fixture
def dataset() -> Dataset:
    rng = np.random.default_rng(0)
    split = Split(rng.integers(-128, 128, (5, 4, 4, 3)).astype(np.int8), np.arange(5), np.arange(5) * 2)
    info = AttackInfo("pgd", "linf", 8 / 255, "8/255", 8, {"steps": 20, "step_size": 0.125})
    spec = TensorSpec((4, 4, 3), Quantization(1 / 255, -128))
    return Dataset("toy", spec, ("a", "b"), {"test": split}, "none", "ab12", info, rng.random((4, 4, 3)).astype("f4"))


def test_a_qmodel_comes_back_with_the_same_digest(tmp_path):
    model = tiny.qmodel()
    store.save(tmp_path / "q", model, "key")
    again = store.load(tmp_path / "q", QModel)
    assert again.digest == model.digest
    assert again.layers[0].weights.dtype == np.int8


def test_a_trained_model_comes_back_equal(tmp_path):
    model = tiny.trained()
    store.save(tmp_path / "t", model, "key")
    assert digest_of(store.load(tmp_path / "t", TrainedModel)) == digest_of(model)


def test_a_dataset_comes_back_equal_with_its_attack(tmp_path, dataset):
    store.save(tmp_path / "d", dataset, "key")
    again = store.load(tmp_path / "d", Dataset)
    assert again.digest == dataset.digest
    assert again.attack == dataset.attack
    assert again.label == "pgd eps=8/255"
    np.testing.assert_array_equal(again.spread, dataset.spread)


def test_the_key_says_what_it_was_made_from(tmp_path, dataset):
    assert store.key_of(tmp_path / "d") == ""
    store.save(tmp_path / "d", dataset, "abc")
    assert store.key_of(tmp_path / "d") == "abc"


def test_files_of_its_own_are_stored_with_a_noun(tmp_path, dataset):
    def make(folder):
        (folder / "extra").write_text("more")
        return dataset

    assert store.create(tmp_path / "d", "key", make) is dataset
    assert (tmp_path / "d" / "extra").read_text() == "more"


def test_a_failure_leaves_the_old_folder_and_nothing_else(tmp_path, dataset):
    store.save(tmp_path / "d", dataset, "old")

    def fail(folder):
        (folder / "half").write_text("x")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store.create(tmp_path / "d", "new", fail)
    assert store.key_of(tmp_path / "d") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ConfigError, match="nothing stored here"):
        store.load(tmp_path / "none", QModel)


def test_another_noun_is_named(tmp_path, dataset):
    store.save(tmp_path / "d", dataset, "key")
    with pytest.raises(ConfigError, match="holds a Dataset, a QModel is needed"):
        store.load(tmp_path / "d", QModel)


@pytest.mark.parametrize(
    "damage", ["truncate arrays", "no arrays", "garbage meta", "list meta", "missing field", "format"]
)
def test_damage_is_a_config_error_that_names_the_folder(tmp_path, dataset, damage):
    folder = tmp_path / "d"
    store.save(folder, dataset, "key")
    meta = json.loads((folder / "meta.json").read_text())
    arrays = folder / "arrays.npz"
    match damage:
        case "truncate arrays":
            arrays.write_bytes(arrays.read_bytes()[:100])
        case "no arrays":
            arrays.unlink()
        case "garbage meta":
            (folder / "meta.json").write_text("{")
        case "list meta":
            (folder / "meta.json").write_text("[1]")
        case "missing field":
            del meta["value"]["classes"]
            (folder / "meta.json").write_text(json.dumps(meta))
        case "format":
            (folder / "meta.json").write_text(json.dumps({**meta, "format": 99}))
    with pytest.raises(ConfigError) as caught:
        store.load(folder, Dataset)
    assert str(folder) in str(caught.value)
    assert caught.value.hint


def test_digests_do_not_depend_on_the_order_of_a_mapping():
    assert digest_of({"a": 1, "b": (2, 3)}) == digest_of({"b": [2, 3], "a": 1})
    assert digest_of(np.arange(3)) != digest_of(np.arange(3).astype(np.int32))
    assert digest_of("a", "bc") != digest_of("ab", "c")


def test_a_folder_is_not_written_as_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in (Path(), tmp_path):
        with pytest.raises(IsADirectoryError):
            store.write_text(place, "text")
    assert not list(tmp_path.iterdir())
