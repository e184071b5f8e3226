"""The contract of every plug-in that is there: whoever adds a file to a plug-in folder has it tested here unasked."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from pipeline import datasets
from pipeline.config import job as jobs
from pipeline.config.dataset import DatasetConfig, dataset_settings, has_folds
from pipeline.config.job import ModelConfig, TrainConfig
from pipeline.core import paths, registry
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Dataset, Quantization, Split, TensorSpec
from pipeline.network import twin
from pipeline.stages import lower
from tests.support import own_files

DATA = paths.data_folder()
OWN = {name for name in registry.names("datasets") if dataset_settings(name)}
"""Data sets that read a user's files."""
SHIPPED = {"digits", *OWN}
"""Data sets that need no files in TRITMCU_DATA."""
SHAPE, CLASSES = (32, 32, 3), 7
RECIPE = TrainConfig(epochs=1)


def noise(n: int = 12) -> Dataset:
    rng = np.random.default_rng(0)
    split = Split(rng.integers(-128, 128, (n, *SHAPE)).astype(np.int8), rng.integers(0, CLASSES, n), np.arange(n))
    spec = TensorSpec(SHAPE, Quantization(1 / 255, -128))
    splits = dict.fromkeys(("train", "validation", "test"), split)
    return Dataset("noise", spec, tuple(f"class{i}" for i in range(CLASSES)), splits)


# Data sets: load(root, *, cache, progress) -> Dataset; with SETTINGS, load takes config too, with FOLDS fold


@pytest.mark.parametrize("name", registry.names("datasets"))
def test_a_dataset_describes_itself(name):
    module = registry.load("datasets", name)
    assert module.DESCRIPTION and "\n" not in module.DESCRIPTION
    parameters = inspect.signature(module.load).parameters
    assert list(parameters) == [
        "root",
        "cache",
        "progress",
        *(["config"] if name in OWN else []),
        *(["fold"] if has_folds(name) else []),
    ]
    assert all(parameters[key].kind is inspect.Parameter.KEYWORD_ONLY for key in list(parameters)[1:])
    assert set(dataset_settings(name)) <= set(DatasetConfig.model_fields)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [name if name in SHIPPED else pytest.param(name, marks=pytest.mark.data) for name in registry.names("datasets")],
)
def test_a_dataset_is_integers_in_three_disjoint_splits(name, tmp_path_factory):
    if name not in SHIPPED and DATA is None:
        pytest.skip("TRITMCU_DATA is not set")
    seen: list[int] = []
    folder = tmp_path_factory.mktemp(name)
    data = datasets.load(
        own_files.config(name, folder) if name in OWN else DatasetConfig(name=name),
        cache=folder / "cache",
        progress=lambda what, done, total, info="": seen.append(total - done),
    )
    assert data.name == name and data.attack is None and data.parent == ""
    assert set(data.splits) == {"train", "validation", "test"}
    for split in data.splits.values():
        assert split.x.dtype == np.int8 and split.x.shape[1:] == data.input.shape
        assert split.y.dtype == np.int64 and set(np.unique(split.y)) == set(range(len(data.classes)))
        assert split.index.dtype == np.int64
        assert len(split.x) == len(split.y) == len(split.index) > 0
    low = data.input.quantization
    assert low.qmin <= low.zero_point <= low.qmax and low.scale > 0
    assert len(set(data.classes)) == len(data.classes)
    assert not seen or seen[-1] == 0
    train, validation = data.splits["train"].x, data.splits["validation"].x
    known = {sample.tobytes() for sample in train}
    assert sum(sample.tobytes() in known for sample in validation) < 0.02 * len(validation)


@pytest.mark.parametrize("name", sorted(set(registry.names("datasets")) - SHIPPED))
def test_missing_files_are_named_with_a_remedy(name, tmp_path):
    with pytest.raises(ConfigError) as caught:
        registry.load("datasets", name).load(tmp_path, cache=tmp_path / "cache")
    assert str(tmp_path) in str(caught.value)
    assert "TRITMCU_DATA" in caught.value.hint


# Models: build(dataset_input, classes, config, train) -> keras.Model that answers logits


@pytest.mark.slow
@pytest.mark.parametrize("bits", [2, 8])
@pytest.mark.parametrize("name", sorted(set(registry.names("models")) - {jobs.CLONE}))
def test_a_model_trains_leaves_keras_and_lowers(name, bits):
    from pipeline.training import keras_model

    data = noise()
    config = ModelConfig(name=name, weight_bits=bits, width=0.25)
    model = registry.load("models", name).build(data.input, CLASSES, config, RECIPE)
    assert model.input_shape == (None, *SHAPE) and model.output_shape == (None, CLASSES)
    x = data.input.quantization.dequantize(data.splits["train"].x)
    for _ in range(10):
        model(x, training=True)
    trained = keras_model.describe(model, data, 8)
    widths = {layer.config["bits"] for layer in trained.layers if "codes" in layer.arrays}
    assert widths == {bits}
    logits = keras_model.predict(model, data.splits["test"].x, data.input.quantization)
    assert logits.min() < 0 or logits.max() > 1 or not np.allclose(logits.sum(axis=1), 1)
    device = twin.specification(lower.lower(trained), data.splits["test"].x)[-1]
    scale = trained.layers[-1].config["scale"]
    assert np.abs(device * scale - logits).max() <= 1.0


# Jobs


@pytest.mark.parametrize("path", sorted((paths.RESOURCES / "jobs").glob("*.toml")), ids=lambda path: path.stem)
def test_a_ready_made_job_is_valid_and_bears_its_files_name(path):
    assert jobs.load(path).name == path.stem
