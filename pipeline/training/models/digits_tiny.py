"""A convolutional network for 8x8 digits that leaves room for the rest of the firmware in 2 KB of RAM.

Strides instead of pooling, 10 k weights, 77 k multiply-accumulates, an activation arena of 1.2 KB.
"""

from __future__ import annotations

from typing import Any

from pipeline.config.job import ModelConfig, TrainConfig
from pipeline.core.nouns import TensorSpec
from pipeline.training.blocks import Blocks
from pipeline.training.keras_backend import keras


def build(dataset_input: TensorSpec, classes: int, config: ModelConfig, train: TrainConfig) -> Any:
    """A keras.Model (batch, h, w, c) -> logits (batch, classes), images of at least 4x4; filters times config.width."""
    blocks = Blocks(config, train)
    inputs = keras.Input(dataset_input.shape, name="input")
    x = blocks.conv(inputs, blocks.channels(12), 3, "conv1", first=True)
    x = blocks.relu(x, "conv1_relu")
    x = blocks.conv(x, blocks.channels(24), 3, "conv2", strides=2)
    x = blocks.relu(x, "conv2_relu")
    x = blocks.conv(x, blocks.channels(32), 3, "conv3", strides=2)
    x = blocks.relu(x, "conv3_relu")
    x = keras.layers.Flatten(name="flatten")(x)
    return keras.Model(inputs, blocks.logits(x, classes), name="digits_tiny")
