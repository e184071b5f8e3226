"""The blocks of a network: where they begin and end, and that together they are the network."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.config.job import ModelConfig, TrainConfig
from pipeline.core import registry
from pipeline.core.nouns import Quantization, TensorSpec
from pipeline.training.keras_backend import keras, to_numpy
from pipeline.training.segments import segments

RESIDUAL = ["stem", "stack1", "stack2", "stack3", "logits"]


@pytest.mark.parametrize(
    "name, shape, wanted",
    [
        ("digits_cnn", (8, 8, 1), ["conv1", "conv2", "conv3", "logits"]),
        ("resnet8", (32, 32, 3), RESIDUAL),
        ("dscnn", (49, 10, 1), ["stem", *(f"block{i}_{kind}" for i in range(1, 5) for kind in ("dw", "pw")), "logits"]),
    ],
)
def test_blocks_in_order(name, shape, wanted):
    keras.utils.set_random_seed(1)
    config, recipe = ModelConfig(name=name, width=0.25), TrainConfig(epochs=1)
    model = registry.load("models", name).build(TensorSpec(shape, Quantization(1 / 255, -128)), 5, config, recipe)
    blocks = segments(model)
    assert [block.name for block in blocks] == wanted
    x = answer = np.random.default_rng(0).random((2, *shape)).astype(np.float32)
    for block in blocks:
        answer = block.model(answer, training=False)
    assert np.array_equal(to_numpy(answer), to_numpy(model(x, training=False)))
    owned = [id(v) for block in blocks for v in block.model.trainable_variables]
    assert len(owned) == len(set(owned)) == len(model.trainable_variables)
