"""A Keras model made from an integer network computes what the integers do, and training goes on from there."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pipeline.config.dataset import DatasetConfig
from pipeline.config.job import Job, ModelConfig, TrainConfig, stored_training
from pipeline.core import paths, registry, store
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Dataset, QModel, Split
from pipeline.network import twin
from pipeline.training import initial, qmodel_weights
from pipeline.training.keras_backend import to_numpy
from tests.support import tiny

pytestmark = pytest.mark.slow
RECIPE = TrainConfig(epochs=1)
NETWORKS = ("digits_stq_jr", "cifar10_resnet8_at", "cifar10_resnet8_laq", "cifar10_resnet8_float", "kws_dscnn")


def stored(name: str) -> QModel:
    return store.load(paths.shipped("zoo") / name, QModel)


def inputs(qmodel: QModel, n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(-128, 128, (n, *qmodel.input.shape)).astype(np.int8)


@pytest.mark.parametrize("name", NETWORKS)
def test_it_computes_what_the_integers_do(name: str) -> None:
    """All-ternary, between 8-bit ends, with chosen bits, of 8 bits, depthwise. The statistics of normalization change
    nothing. A sum in float32 goes to the other neighbour now and then, which moves logits by a few of their steps."""
    qmodel = stored(name)
    model = qmodel_weights.load(paths.shipped("zoo") / name, RECIPE, "train.initial")
    x = inputs(qmodel, 32)
    real, output = qmodel.input.quantization.dequantize(x), qmodel.output.quantization
    wanted = twin.run(qmodel, x).reshape(len(x), -1).astype(int)
    spread = wanted.std(axis=0).mean()
    assert spread > 1
    for _ in range(2):
        found = to_numpy(model(real, training=False)) / output.scale + output.zero_point
        assert np.abs(found - wanted).mean() < 0.5 + 0.1 * spread
        qmodel_weights.settle(model, real)


def test_normalization_has_the_statistics_of_the_samples() -> None:
    qmodel = stored("digits_stq_jr")
    model = qmodel_weights.load(paths.shipped("zoo") / "digits_stq_jr", RECIPE, "train.initial")
    real = qmodel.input.quantization.dequantize(inputs(qmodel, 64))
    qmodel_weights.settle(model, real)
    norm = next(layer for layer in model.layers if layer.name.endswith("_bn"))
    before = to_numpy(norm.moving_mean), to_numpy(norm.moving_variance)
    norm.momentum = 0.0
    model(real, training=True)
    kept = np.std(before[0])
    assert kept > 0
    assert np.abs(to_numpy(norm.moving_mean) - before[0]).max() < kept, "noise of the weights moves them a little"


def test_a_training_starts_and_learns_from_the_zoo(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, from a folder without runs: kernels are the codes of the stored network, and so is the teacher."""
    monkeypatch.chdir(tmp_path)
    name = "digits_stq_jr"
    qmodel = stored(name)
    kept = Job(**dict(qmodel.metrics["job"]))
    recipe = TrainConfig(epochs=1, initial=name, distill=name)
    builder, x = registry.load("models", kept.model.name), inputs(qmodel, 64)
    data = Dataset("digits", qmodel.input, qmodel.classes, {"train": Split(x, np.arange(64) % 10, np.arange(64))})
    model = builder.build(qmodel.input, len(qmodel.classes), kept.model, recipe)
    initial.start(model, kept, recipe, builder, data)
    layer = qmodel.layers[0]
    assert layer.weights is not None
    kernel = to_numpy(model.get_layer(layer.name).weights[0])
    assert np.array_equal(np.sign(kernel), np.moveaxis(np.sign(layer.weights), 0, -1))
    real = qmodel.input.quantization.dequantize(x)
    answers = initial.teacher(model, kept.model, recipe, qmodel.input)(real)
    np.testing.assert_allclose(to_numpy(answers), to_numpy(model(real, training=False)), atol=1e-3)


def test_a_network_for_other_samples_is_refused() -> None:
    qmodel = stored("digits_stq_jr")
    job = Job(**dict(qmodel.metrics["job"]))
    x = np.zeros((16, *qmodel.input.shape), np.int8)
    data = Dataset("digits", qmodel.input, qmodel.classes, {"train": Split(x, np.zeros(16, int), np.arange(16))})
    for option in ("initial", "distill"):
        recipe = TrainConfig(**{"epochs": 1, option: "kws_dscnn"})
        model = (builder := registry.load("models", job.model.name)).build(data.input, 10, job.model, recipe)
        with pytest.raises(ConfigError, match=rf"train\.{option}: 'kws_dscnn' takes \(49, 10, 1\)"):
            initial.start(model, job, recipe, builder, data)
            initial.teacher(model, job.model, recipe, data.input)


def test_codes_that_no_kernel_gives_are_refused_a_channel_of_zeros_is_not(tmp_path) -> None:
    """The scale of 8-bit weights is that of the largest one: 127, unless the channel is empty."""
    qmodel = stored("cifar10_resnet8_nfgsm")
    *others, logits = qmodel.layers
    assert logits.weights is not None and logits.weight_bits == 8
    for changed, weight in (("zeros", 0), ("ones", 1)):
        weights = logits.weights.copy()
        weights[3] = weight
        layers = (*others, dataclasses.replace(logits, weights=weights))
        store.save(tmp_path / changed, dataclasses.replace(qmodel, layers=layers), "key")
    qmodel_weights.load(tmp_path / "zeros", RECIPE, "train.initial")
    with pytest.raises(
        ConfigError, match=r"train\.initial: no kernel of 'resnet8' gives the weights of layer 'logits'"
    ):
        qmodel_weights.load(tmp_path / "ones", RECIPE, "train.initial")


def test_what_no_job_made_is_refused_by_name(tmp_path) -> None:
    store.save(tmp_path / "imported", tiny.qmodel(), "key")
    assert stored_training(str(tmp_path / "imported")).name == store.META
    with pytest.raises(ConfigError, match=r"train\.initial: .*imported holds an integer network without its job"):
        qmodel_weights.load(tmp_path / "imported", RECIPE, "train.initial")
    recipe = RECIPE.model_copy(update={"initial": "original"})
    job = Job(name="x", dataset=DatasetConfig(name="digits"), model=ModelConfig(file="own.keras"), train=recipe)
    cloned = dataclasses.replace(tiny.qmodel(), metrics={"job": job.model_dump()})
    store.save(tmp_path / "cloned", cloned, "key")
    with pytest.raises(ConfigError, match=r"was cloned from own\.keras"):
        qmodel_weights.load(tmp_path / "cloned", RECIPE, "train.initial")
