"""A wider network starts as the narrower one, and no two of its repeated channels stay the same."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.config.dataset import DatasetConfig
from pipeline.config.job import Job, ModelConfig, TrainConfig
from pipeline.core import paths, registry
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Dataset, Quantization, Split, TensorSpec
from pipeline.training import initial, widening
from pipeline.training.keras_backend import keras, to_numpy

pytestmark = pytest.mark.slow

SHAPES = {"digits_cnn": (8, 8, 1), "resnet8": (16, 16, 3), "dscnn": (49, 10, 1), "stq_net": (16, 16, 3)}


def build(name: str, width: float, seed: int):
    """The network with float weights and the statistics of some noise."""
    keras.utils.set_random_seed(seed)
    settings = ModelConfig(name=name, width=width, weight_bits=32)
    spec = TensorSpec(SHAPES[name], Quantization(1 / 255, -128))
    model = registry.load("models", name).build(spec, 10, settings, TrainConfig(epochs=1))
    for _ in range(3):
        model(samples(name, 32), training=True)
    return model


def samples(name: str, n: int) -> np.ndarray:
    return np.random.default_rng(0).random((n, *SHAPES[name])).astype(np.float32)


@pytest.mark.parametrize("name, factor", [("digits_cnn", 1.5), ("resnet8", 2), ("dscnn", 1.75), ("stq_net", 2)])
def test_both_compute_the_same(name, factor):
    narrow, wide = build(name, 0.25, seed=1), build(name, 0.25 * factor, seed=2)
    initial.copy_weights(narrow, wide, "narrow", seed=3)
    x = samples(name, 16)
    expected, found = (to_numpy(model(x, training=False)) for model in (narrow, wide))
    assert np.ptp(expected, axis=0).max() > 0, "not the same for every sample"
    assert np.isclose(found, expected).mean() > 0.9, "a value between two steps of a lattice may go to either"


@pytest.mark.skipif(paths.data_folder() is None, reason="TRITMCU_DATA is not set")
def test_reference_weights_go_with_any_width():
    """resnet8 of width 1 and of width 2, both from MLPerf-Tiny's reference model; noise sets the ranges."""
    x = np.random.default_rng(0).integers(-128, 128, (16, 32, 32, 3)).astype(np.int8)
    spec, split = TensorSpec(x.shape[1:], Quantization(1 / 255, -128)), Split(x, np.arange(16) % 10, np.arange(16))
    data = Dataset("noise", spec, tuple("0123456789"), {"train": split})
    builder, recipe = registry.load("models", "resnet8"), TrainConfig(epochs=1, initial="mlperf_tiny")
    networks = []
    for width in (1, 2):
        config = ModelConfig(name="resnet8", width=width, weight_bits=32)
        job = Job(name="wide", dataset=DatasetConfig(name="cifar10"), model=config, train=recipe)
        networks.append(builder.build(spec, 10, config, recipe))
        initial.start(networks[-1], job, recipe, builder, data)
    expected, found = (to_numpy(model(spec.quantization.dequantize(x), training=False)) for model in networks)
    assert np.ptp(expected, axis=0).max() > 0, "not the same for every sample"
    assert np.isclose(found, expected).mean() > 0.9


def test_shares_add_up_and_none_is_like_another():
    layer = keras.layers.Dense(3, name="dense")
    keras.Sequential([keras.Input((6,), name="x"), layer])
    sources = {"x": np.array([0, 1, 2, 3, 0, 1]), "dense": np.array([0, 1, 0])}
    kernel = np.arange(1.0, 9).reshape(4, 2)
    wide = widening.widen(layer, kernel, (6, 3), sources, np.random.default_rng(1))
    assert np.allclose(wide[:2] + wide[4:], kernel[:2][:, [0, 1, 0]])
    assert np.array_equal(wide[2:4], kernel[2:][:, [0, 1, 0]]), "an input that is alone keeps its weight"
    assert len({*wide[[0, 1, 4, 5]].ravel()}) == 12


def test_a_narrower_network_is_refused():
    with pytest.raises(ConfigError, match=r"layer 'conv1' of 'wide' and of the job: \[\(3, 3, 1, 12\)\] and"):
        initial.copy_weights(build("digits_cnn", 0.5, seed=1), build("digits_cnn", 0.25, seed=2), "wide", seed=3)
