"""The papers' network: its published size, its bit widths, and that the device computes what Keras trained."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.analysis import agreement
from pipeline.config import board
from pipeline.config import job as jobs
from pipeline.core import paths, registry
from pipeline.core.nouns import Dataset, QLayer, QModel, Quantization, Split, TensorSpec
from pipeline.datasets import cifar10, cifar10_grey
from pipeline.stages import lower, render
from pipeline.training import keras_model
from pipeline.training.keras_backend import keras
from tests.unit.datasets.test_datasets import write_cifar

PARAMETERS, NOMINAL_BYTES = 1_141_064, 418_500
"""Of the layer list; 418,500 bytes are the 408.7 KiB that the papers round to 410 KB."""
TERNARY_WEIGHTS = 71_968
BIAS_BITS = {2: 4, 3: 3, 4: 3, 8: 32}
"""There, by weight bits of the layer; here every bias is an int32."""
WITHOUT_BIAS = "sep_dw"


@pytest.fixture(scope="module")
def data() -> Dataset:
    rng = np.random.default_rng(0)
    split = Split(rng.integers(-128, 128, (24, 32, 32, 1)).astype(np.int8), rng.integers(0, 10, 24), np.arange(24))
    spec = TensorSpec((32, 32, 1), Quantization(1 / 255, -128))
    return Dataset("noise", spec, tuple("abcdefghij"), {"train": split, "test": split})


@pytest.fixture(scope="module")
def model(data):
    """That of the job, with normalization statistics as after some training, so that no tensor is trivial."""
    keras.utils.set_random_seed(3)
    job = jobs.load(paths.RESOURCES / "jobs" / "cifar10_stq_net.toml")
    made = registry.load("models", "stq_net").build(data.input, len(data.classes), job.model, job.train)
    for _ in range(20):
        made(data.input.quantization.dequantize(data.splits["train"].x), training=True)
    return made


@pytest.fixture(scope="module")
def qmodel(model, data) -> QModel:
    return lower.lower(keras_model.describe(model, data, 16))


def weighted(qmodel: QModel) -> list[QLayer]:
    return [layer for layer in qmodel.layers if layer.weights is not None]


def test_it_has_the_parameters_of_the_layer_list(model, qmodel):
    assert model.count_params() == PARAMETERS
    assert sum(layer.weights.size for layer in weighted(qmodel) if layer.weight_bits == 2) == TERNARY_WEIGHTS


def test_it_packs_to_the_published_size(qmodel):
    """Weights at their widths, plus biases at the papers' 3 and 4 bits: 408.7 KiB."""
    bits = sum(layer.weights.size * layer.weight_bits for layer in weighted(qmodel))
    biases = [layer for layer in weighted(qmodel) if layer.name != WITHOUT_BIAS]
    bits += sum(layer.bias.size * BIAS_BITS[layer.weight_bits] for layer in biases)
    assert -(-bits // 8) == NOMINAL_BYTES


def test_on_the_device_only_the_requantization_comes_on_top(qmodel):
    """The tables of a firmware: packed weights within a percent of the nominal ones, and 9 bytes a channel."""
    sources = render.render(qmodel, board.load("netduinoplus2"), "reference")
    channels = sum(layer.bias.size for layer in weighted(qmodel))
    weights = sum(sources.layer_table_bytes.values()) - 9 * channels
    nominal = sum(layer.weights.size * layer.weight_bits for layer in weighted(qmodel)) / 8
    assert nominal <= weights < 1.01 * nominal
    assert sources.arena_bytes <= 66 * 1024


def test_the_twin_computes_what_keras_trained(model, qmodel, data):
    x = data.splits["test"].x[:8]
    outputs = keras_model.layer_outputs(
        model, x, data.input.quantization, [layer.keras_name for layer in qmodel.layers]
    )
    steps = agreement.agreement(qmodel, x, outputs)
    coarse = [layer.name for layer in qmodel.layers if layer.output.quantization.bits == 2]
    assert len(coarse) == 8
    assert steps["b_concat"]["mean_lsb"] < 0.01, "halves are not rounded as on the device"
    assert max(steps[name]["mean_lsb"] for name in ("b_add", "pool")) < 0.2


def test_grey_images_are_the_luminance_of_the_coloured_ones(tmp_path):
    write_cifar(tmp_path / cifar10.FOLDER)
    coloured, grey = (module.load(tmp_path, cache=tmp_path) for module in (cifar10, cifar10_grey))
    pixels = coloured.splits["test"].x[3].astype(float) + 128
    wanted = 0.299 * pixels[..., 0] + 0.587 * pixels[..., 1] + 0.114 * pixels[..., 2]
    found = grey.splits["test"].x[3, ..., 0].astype(float) + 128
    assert np.abs(found - wanted).max() <= 0.5 + 1e-3
    assert grey.input.shape == (32, 32, 1) and grey.input.quantization == coloured.input.quantization
    assert {name: len(split) for name, split in grey.splits.items()} == {"train": 50, "validation": 5000, "test": 6}
