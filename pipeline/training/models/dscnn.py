"""DS-CNN, the keyword spotter of MLPerf-Tiny: 23 k weights, 2.7 M multiply-accumulates for 49x10."""

from __future__ import annotations

from typing import Any

from pipeline.config.job import ModelConfig, TrainConfig
from pipeline.core.nouns import TensorSpec
from pipeline.training.blocks import Blocks
from pipeline.training.keras_backend import keras

DROPOUT_FIRST, DROPOUT_LAST = 0.2, 0.4


def build(dataset_input: TensorSpec, classes: int, config: ModelConfig, train: TrainConfig) -> Any:
    """A keras.Model (batch, time, frequency, 1) -> logits (batch, classes).

    The layer list of the benchmark: a 10x4 convolution of 64 filters with stride 2, four depthwise separable blocks
    (3x3 depthwise, 1x1 pointwise of 64 filters), average pooling, dense; filters times config.width.
    """
    blocks = Blocks(config, train)
    filters = blocks.channels(64)
    inputs = keras.Input(dataset_input.shape, name="input")
    x = blocks.conv(inputs, filters, (10, 4), "stem", strides=2, first=True)
    x = keras.layers.Dropout(DROPOUT_FIRST, name="stem_dropout")(blocks.relu(x, "stem_relu"))
    for number in range(1, 5):
        x = blocks.relu(blocks.depthwise(x, 3, f"block{number}_dw"), f"block{number}_dw_relu")
        x = blocks.relu(blocks.conv(x, filters, 1, f"block{number}_pw"), f"block{number}_pw_relu")
    x = keras.layers.Dropout(DROPOUT_LAST, name="dropout")(x)
    x = keras.layers.AveragePooling2D(x.shape[1:3], name="pool")(x)
    x = blocks.relu(x, "pool_q")
    x = keras.layers.Flatten(name="flatten")(x)
    return keras.Model(inputs, blocks.logits(x, classes), name="dscnn")
