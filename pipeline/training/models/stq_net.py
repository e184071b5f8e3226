"""The network of the stochastic-ternary-quantization papers: 1,141,064 parameters, 16.0 M multiply-accumulates.

Suarez, Ayaz et al. (arXiv 2304.12829, IJCNN 2023, and arXiv 2503.08973) give its size, 410 KB; this layer list, at
their widths as in jobs/cifar10_stq_net.toml, packs to 418,500 bytes: ternary convolutions, 4-bit depthwise, 3-bit
pointwise and dense layers, 2-bit activations. Ours where an integer device needs it: tensors between two linear layers
lie on 8 bits, 3- and 4-bit weights are symmetric, biases have the accumulator's step (there: 3 and 4 bits). Behind
2-bit activations that step is coarse, so Keras and the device differ more here than in networks with 8-bit ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.config.job import ModelConfig, TrainConfig
from pipeline.core.nouns import TensorSpec
from pipeline.training.blocks import (
    LOGIT_INTEGER,
    SUM_INTEGER,
    BatchNormalization,
    Blocks,
    QConv2D,
    QDense,
    QDepthwiseConv2D,
)
from pipeline.training.keras_backend import keras

Tensor = Any

RELU_INTEGER = 0
"""ReLUs have the range [0, 1): at 2 bits the levels 0, 1/4, 1/2 and 3/4."""
BN_MOMENTUM, BN_EPSILON = 0.9, 1e-4


def build(dataset_input: TensorSpec, classes: int, config: ModelConfig, train: TrainConfig) -> Any:
    """A keras.Model (batch, h, w, c) -> logits (batch, classes), images of at least 12x12; filters and units times
    config.width."""
    layers = _Layers(Blocks(config, train))
    wide, narrow, units = (layers.blocks.channels(n) for n in (128, 32, 256))
    inputs = keras.Input(dataset_input.shape, name="input")
    x = layers.linear(layers.conv(inputs, narrow, 3, "a"), "a")
    y = layers.linear(layers.depthwise(x, "dw1"), "dw1")
    x = layers.mixed(x, y, narrow, "b")
    x = keras.layers.MaxPooling2D(2, name="pool")(x)
    x = layers.linear(_norm(layers.conv(x, wide, 3, "c"), "c"), "c")
    y = layers.linear(_norm(layers.depthwise(x, "dw2"), "dw2"), "dw2")
    x = layers.mixed(x, y, wide, "d")
    x = layers.linear(layers.depthwise(x, "sep_dw", padding="valid", use_bias=False), "sep_dw")
    x = layers.relu(layers.conv(x, narrow, 1, "sep_pw"), "sep_pw")
    x = keras.layers.Flatten(name="flatten")(x)
    x = layers.linear(layers.dense(x, units, "dense1"), "dense1", SUM_INTEGER)
    x = layers.relu(_norm(layers.dense(x, units, "dense2"), "dense2"), "dense2")
    x = _norm(layers.dense(x, classes, "logits", config.last_layer_bits), "logits")
    return keras.Model(inputs, layers.linear(x, "logits", LOGIT_INTEGER), name="stq_net")


def _norm(x: Tensor, name: str) -> Tensor:
    layer = BatchNormalization(momentum=BN_MOMENTUM, epsilon=BN_EPSILON, scale=False, name=f"{name}_bn")
    return layer(x)


@dataclass(frozen=True)
class _Layers:
    """Weighted layers of this network, with bias, without normalization; activations named after the layer before."""

    blocks: Blocks

    def conv(self, x: Tensor, filters: int, kernel: int, name: str) -> Tensor:
        """Convolution without padding."""
        bits = self.blocks.config.first_layer_bits if name == "a" else None
        quantizer = self.blocks.quantizer(name, bits)
        return QConv2D(filters, kernel, padding="valid", kernel_quantizer=quantizer, name=name)(x)

    def depthwise(self, x: Tensor, name: str, padding: str = "same", use_bias: bool = True) -> Tensor:
        """3x3 depthwise convolution."""
        quantizer = self.blocks.quantizer(name, channel_axes=2)
        return QDepthwiseConv2D(3, padding=padding, use_bias=use_bias, depthwise_quantizer=quantizer, name=name)(x)

    def dense(self, x: Tensor, units: int, name: str, bits: int | None = None) -> Tensor:
        """Dense layer."""
        return QDense(units, kernel_quantizer=self.blocks.quantizer(name, bits), name=name)(x)

    def mixed(self, x: Tensor, y: Tensor, filters: int, name: str) -> Tensor:
        """relu(y + normalized 1x1 convolution of relu(x beside y)); x and y have `filters` channels each."""
        both = self.relu(keras.layers.Concatenate(name=f"{name}_concat")([x, y]), f"{name}_concat")
        mixed = self.linear(_norm(self.conv(both, filters, 1, name), name), name)
        return self.relu(keras.layers.Add(name=f"{name}_add")([mixed, y]), f"{name}_add")

    def relu(self, x: Tensor, name: str) -> Tensor:
        return self.blocks.relu(x, f"{name}_relu", RELU_INTEGER)

    def linear(self, x: Tensor, name: str, integer: int = 2) -> Tensor:
        return self.blocks.linear(x, f"{name}_q", integer)
