"""MLPerf-Tiny's ResNet-8 for 32x32 images: 77,360 weights, 12.5 M multiply-accumulates at width 1.

mlcommons/tiny, image classification: a 3x3 convolution and three residual blocks of 16, 32 and 64 channels, the later
two with stride 2 and a 1x1 convolution as shortcut, average pooling, dense.
"""

from __future__ import annotations

from typing import Any

from pipeline.backend import keras
from pipeline.job import ModelConfig, TrainConfig
from pipeline.models._blocks import SUM_INTEGER, Blocks
from pipeline.types import TensorSpec

WIDTHS = (16, 32, 64)


def build(dataset_input: TensorSpec, classes: int, config: ModelConfig, train: TrainConfig) -> Any:
    """A keras.Model (batch, h, w, c) -> logits (batch, classes)."""
    blocks = Blocks(config, train)
    inputs = keras.Input(dataset_input.shape, name="input")
    x = blocks.relu(blocks.conv(inputs, blocks.channels(WIDTHS[0]), 3, "stem", first=True), "stem_relu")
    for number, width in enumerate(WIDTHS, 1):
        x = _block(blocks, x, blocks.channels(width), f"block{number}", strides=1 if number == 1 else 2)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, blocks.logits(x, classes), name="resnet8")


def _block(blocks: Blocks, x: Any, width: int, name: str, strides: int) -> Any:
    """relu(conv(relu(conv(x))) + shortcut(x)); the shortcut is x itself where shapes agree."""
    y = blocks.relu(blocks.conv(x, width, 3, f"{name}_conv1", strides=strides), f"{name}_relu1")
    y = blocks.linear(blocks.conv(y, width, 3, f"{name}_conv2"), f"{name}_linear", SUM_INTEGER)
    if strides != 1:
        shortcut = blocks.conv(x, width, 1, f"{name}_shortcut", strides=strides)
        x = blocks.linear(shortcut, f"{name}_shortcut_linear", SUM_INTEGER)
    return blocks.relu(keras.layers.Add(name=f"{name}_add")([x, y]), f"{name}_relu2", SUM_INTEGER)
