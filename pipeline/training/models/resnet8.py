"""ResNet-8, the image classifier of MLPerf-Tiny: 77 k weights, 12.5 M multiply-accumulates for 32x32x3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.job import ModelConfig, TrainConfig
from pipeline.core.nouns import TensorSpec
from pipeline.training import mlperf
from pipeline.training.blocks import SUM_INTEGER, Blocks
from pipeline.training.keras_backend import keras

Tensor = Any


def build(dataset_input: TensorSpec, classes: int, config: ModelConfig, train: TrainConfig) -> Any:
    """A keras.Model (batch, h, w, c) -> logits (batch, classes), h and w multiples of 4.

    The layer list of the benchmark: a 3x3 convolution of 16 filters, residual stacks of 16, 32 (stride 2) and 64
    (stride 2), average pooling, dense; filters times config.width. Unlike there, the 1x1 shortcuts are normalized too:
    ternary weights need the scale, and folded away it costs the device nothing.
    """
    blocks = Blocks(config, train)
    inputs = keras.Input(dataset_input.shape, name="input")
    x = blocks.relu(blocks.conv(inputs, blocks.channels(16), 3, "stem", first=True), "stem_relu")
    for number, (filters, strides) in enumerate(((16, 1), (32, 2), (64, 2)), start=1):
        x = _residual(blocks, x, blocks.channels(filters), strides, f"stack{number}")
    x = keras.layers.AveragePooling2D(x.shape[1:3], name="pool")(x)
    x = blocks.relu(x, "pool_q", SUM_INTEGER)
    x = keras.layers.Flatten(name="flatten")(x)
    return keras.Model(inputs, blocks.logits(x, classes), name="resnet8")


def warm_start(model: Any, root: Path | None, x: NDArray[np.float32]) -> None:
    """Sets the weights from the MLPerf-Tiny reference model in root; x: real training images."""
    mlperf.warm_start(model, root, x)


def _residual(blocks: Blocks, x: Tensor, filters: int, strides: int, name: str) -> Tensor:
    """relu(x + conv(relu(conv(x)))); where the shape changes, x goes through a 1x1 convolution."""
    y = blocks.relu(blocks.conv(x, filters, 3, f"{name}_conv1", strides=strides), f"{name}_conv1_relu")
    y = blocks.linear(blocks.conv(y, filters, 3, f"{name}_conv2"), f"{name}_conv2_q")
    if strides != 1 or x.shape[-1] != filters:
        x = blocks.linear(blocks.conv(x, filters, 1, f"{name}_shortcut", strides=strides), f"{name}_shortcut_q")
    x = keras.layers.Add(name=f"{name}_add")([x, y])
    return blocks.relu(x, f"{name}_relu", SUM_INTEGER)
