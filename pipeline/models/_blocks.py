"""Building blocks of the networks: every tensor that the device holds as int8 lies on the same lattice in Keras.

relu(bits 8, integer i): [0, 2^i), int8 scale 2^(i - 8), zero point -128; linear: [-2^i, 2^i), scale 2^(i - 7), zero
point 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipeline.backend import keras, qkeras
from pipeline.job import ModelConfig, TrainConfig
from pipeline.quantizers import StochasticTernary, SymmetricInteger, WeightQuantizer

Tensor = Any

RELU_INTEGER = 2
"""Batch normalization keeps activations near unit variance: [0, 4) clips about one in ten thousand."""
SUM_INTEGER = 3
"""The sum of two such tensors."""
LOGIT_INTEGER = 4

BN_MOMENTUM = 0.9
"""Keras' default of 0.99 makes the moving statistics of a short run lag behind its weights."""
BN_EPSILON = 1e-3


class _NoisyKernel:
    """Mixin of a QKeras layer: hands Keras' training flag and a random generator of its own to the kernel quantizer."""

    noisy = True

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)  # type: ignore[misc]
        self.noise = keras.random.SeedGenerator()

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        quantizer: WeightQuantizer = self.get_quantizers()[0]  # type: ignore[attr-defined]
        with quantizer.sampling(self.noise if training and self.noisy else None):
            return super().call(inputs)  # type: ignore[misc]


@keras.saving.register_keras_serializable(package="tritmcu")
class QConv2D(_NoisyKernel, qkeras.QConv2D):  # type: ignore[misc]
    """qkeras.QConv2D whose kernel quantizer knows when it trains."""


@keras.saving.register_keras_serializable(package="tritmcu")
class QDepthwiseConv2D(_NoisyKernel, qkeras.QDepthwiseConv2D):  # type: ignore[misc]
    """qkeras.QDepthwiseConv2D whose kernel quantizer knows when it trains."""


@keras.saving.register_keras_serializable(package="tritmcu")
class QDense(_NoisyKernel, qkeras.QDense):  # type: ignore[misc]
    """qkeras.QDense whose kernel quantizer knows when it trains."""


@contextmanager
def deterministic(model: Any) -> Iterator[None]:
    """Inside, the keras.Model draws no weight noise with training=True either; a graph traced here stays that way."""
    layers = [layer for layer in model.layers if isinstance(layer, _NoisyKernel)]
    for layer in layers:
        layer.noisy = False
    try:
        yield
    finally:
        for layer in layers:
            layer.noisy = True


@dataclass(frozen=True)
class Blocks:
    """Layers of one network with the bit widths and the noise its job asks for."""

    config: ModelConfig
    train: TrainConfig

    def conv(
        self,
        x: Tensor,
        filters: int,
        kernel: int | tuple[int, int],
        name: str,
        *,
        strides: int = 1,
        first: bool = False,
    ) -> Tensor:
        """Convolution, "same" padding, no bias, then batch normalization; no activation. first: the first layer."""
        bits = self.config.first_layer_bits if first else None
        x = QConv2D(
            filters,
            kernel,
            strides=strides,
            padding="same",
            use_bias=False,
            kernel_quantizer=self._quantizer(bits, channel_axes=1),
            name=name,
        )(x)
        return self._normalize(x, name)

    def depthwise(self, x: Tensor, kernel: int, name: str) -> Tensor:
        """Depthwise convolution, "same" padding, without bias, then batch normalization; no activation."""
        x = QDepthwiseConv2D(
            kernel,
            padding="same",
            use_bias=False,
            depthwise_quantizer=self._quantizer(None, channel_axes=2),
            name=name,
        )(x)
        return self._normalize(x, name)

    def logits(self, x: Tensor, classes: int, name: str = "logits") -> Tensor:
        """Dense layer with bias, 8-bit signed: the network's answer."""
        quantizer = self._quantizer(self.config.last_layer_bits, channel_axes=1)
        return self.linear(QDense(classes, kernel_quantizer=quantizer, name=name)(x), f"{name}_q", LOGIT_INTEGER)

    def relu(self, x: Tensor, name: str, integer: int = RELU_INTEGER) -> Tensor:
        """8-bit ReLU with range [0, 2^integer)."""
        return qkeras.QActivation(qkeras.quantized_relu(8, integer), name=name)(x)

    def linear(self, x: Tensor, name: str, integer: int = RELU_INTEGER) -> Tensor:
        """Rounds to 8 bits with range [-2^integer, 2^integer)."""
        return qkeras.QActivation(qkeras.quantized_bits(8, integer, alpha=1.0), name=name)(x)

    def channels(self, base: int) -> int:
        """`base` channels times the width of the job, at least 1."""
        return max(1, round(base * self.config.width))

    def _normalize(self, x: Tensor, name: str) -> Tensor:
        layer = keras.layers.BatchNormalization(momentum=BN_MOMENTUM, epsilon=BN_EPSILON, name=f"{name}_bn")
        return layer(x)

    def _quantizer(self, bits: int | None, channel_axes: int) -> WeightQuantizer:
        bits = bits or self.config.weight_bits
        if bits == 2:
            return StochasticTernary(
                temperature=self.train.temperature, stochastic=self.train.stochastic, channel_axes=channel_axes
            )
        return SymmetricInteger(bits, channel_axes=channel_axes)
