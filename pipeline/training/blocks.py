"""Building blocks of the networks: every tensor that the device holds as int8 lies on the same lattice in Keras.

relu(bits 8, integer i): [0, 2^i), int8 scale 2^(i - 8), zero point -128; linear: [-2^i, 2^i), scale 2^(i - 7), zero
point 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from pipeline.config.job import ModelConfig, TrainConfig
from pipeline.core.errors import ConfigError
from pipeline.training.keras_backend import constant_to_pull, keras, qkeras
from pipeline.training.quantizers import QuantizedLinear, QuantizedRelu, WeightQuantizer, of_width

ops = keras.ops
Tensor = Any

RELU_INTEGER = 2
"""Batch normalization keeps activations near unit variance: [0, 4) clips about one in ten thousand."""
SUM_INTEGER = 3
"""The sum of two such tensors."""
LOGIT_INTEGER = 4

BN_MOMENTUM = 0.9
"""Keras' default of 0.99 makes the moving statistics of a short run lag behind its weights."""
BN_EPSILON = 1e-3
HALF_UP = 2.0**-16
"""Moves a half to the upper neighbour and is far below any lattice step."""


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

    products: str | None = None
    """Type that inputs, kernel and sums are rounded to; None: that of the layer."""

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        if self.products is None:
            return super().call(inputs, training)
        sums = ops.cast(super().call(ops.cast(inputs, self.products), training), inputs.dtype)
        return sums if self.bias is None else sums + self.bias

    @contextmanager
    def multiplying_in(self, dtype: str) -> Iterator[None]:
        """Calls inside round to this type, but for the bias."""
        self.use_bias, self.products = False, dtype
        try:
            with self.get_quantizers()[0].answering_in(dtype):
                yield
        finally:
            self.use_bias, self.products = self.bias is not None, None


@keras.saving.register_keras_serializable(package="tritmcu")
class QDepthwiseConv2D(_NoisyKernel, qkeras.QDepthwiseConv2D):  # type: ignore[misc]
    """qkeras.QDepthwiseConv2D whose kernel quantizer knows when it trains."""


@keras.saving.register_keras_serializable(package="tritmcu")
class QDense(_NoisyKernel, qkeras.QDense):  # type: ignore[misc]
    """qkeras.QDense whose kernel quantizer knows when it trains."""


@keras.saving.register_keras_serializable(package="tritmcu")
class HalfUpRelu(QuantizedRelu):
    """qkeras.quantized_relu that rounds halves up, as the device does: at 2 bits one input in sixteen would differ."""

    def __call__(self, x: Tensor) -> Tensor:
        return super().__call__(x + HALF_UP)


@keras.saving.register_keras_serializable(package="tritmcu")
class BatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
    """keras.layers.BatchNormalization whose batch statistics are constants to a Jacobian, not to training's gradients:
    as on the device, no sample's answer depends on another sample."""

    moves = True

    def call(self, inputs: Tensor, training: bool | None = None, mask: Tensor | None = None) -> Tensor:
        if not (training and self.trainable) or mask is not None:
            return super().call(inputs, training=training, mask=mask)
        others = tuple(range(len(inputs.shape) - 1))
        mean, variance = constant_to_pull(lambda: ops.moments(inputs, axes=others))
        if self.moves:
            for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + value * (1.0 - self.momentum))
        else:
            mean, variance = ops.stop_gradient(mean), ops.stop_gradient(variance)
        return ops.batch_normalization(
            inputs, mean, variance, axis=-1, offset=self.beta, scale=self.gamma, epsilon=self.epsilon
        )


@contextmanager
def deterministic(model: Any) -> Iterator[None]:
    """Inside, the keras.Model draws no weight noise with training=True either; a graph traced here stays that way."""
    layers = weighted(model)
    for layer in layers:
        layer.noisy = False
    try:
        yield
    finally:
        for layer in layers:
            layer.noisy = True


@contextmanager
def still(model: Any) -> Iterator[None]:
    """Inside, with training=True the keras.Model leaves moving statistics as they are, and those of the batch are
    constants; a graph traced here stays that way."""
    layers = [layer for layer in nested_layers(model) if isinstance(layer, BatchNormalization)]
    for layer in layers:
        layer.moves = False
    try:
        yield
    finally:
        for layer in layers:
            layer.moves = True


@contextmanager
def temperature(model: Any, value: Tensor) -> Iterator[None]:
    """Inside, the keras.Model draws its weight noise at this temperature, a scalar tensor, not at its layers' own."""
    with ExitStack() as stack:
        for layer in weighted(model):
            stack.enter_context(layer.get_quantizers()[0].at(value))
        yield


@contextmanager
def precision(model: Any, dtype: str) -> Iterator[None]:
    """Inside, convolutions of the keras.Model round their inputs, kernels and sums to this type, and add up in float32;
    at "float32" nothing changes. Not the first layer: of 8 bits, a network's activations are exact in bfloat16, its
    input is not; it takes little time. Nor depthwise ones, which multiply little."""
    with ExitStack() as stack:
        for layer in weighted(model)[1:] if dtype != "float32" else ():
            if isinstance(layer, QConv2D):
                stack.enter_context(layer.multiplying_in(dtype))
        yield


@contextmanager
def one_draw(model: Any) -> Iterator[None]:
    """Inside, every call of the keras.Model, with training=False too, has the same weight noise: one draw."""
    with ExitStack() as stack:
        for layer in weighted(model):
            stack.enter_context(layer.get_quantizers()[0].holding(layer.noise.next()))
        yield


def weighted(model: Any) -> list[Any]:
    """The layers of the keras.Model that have a quantized kernel, in its order."""
    return [layer for layer in nested_layers(model) if isinstance(layer, _NoisyKernel)]


def nested_layers(model: Any) -> Iterator[Any]:
    """The layers of the keras.Model and of the models in it, in order."""
    for layer in model.layers:
        yield from nested_layers(layer) if isinstance(layer, keras.Model) else [layer]


def check_layer_names(model: Any, config: ModelConfig) -> None:
    """ConfigError when layer_bits names a layer that the keras.Model does not have."""
    known = [layer.name for layer in weighted(model)]
    for name in config.layer_bits:
        if name not in known:
            raise ConfigError(f"model.layer_bits.{name}: {config.name} has no such layer", f"it has {', '.join(known)}")


@dataclass(frozen=True)
class Blocks:
    """Layers of one network with the bit widths and the noise its job asks for."""

    config: ModelConfig
    """Bits of weights and activations."""
    train: TrainConfig
    """Noise of the weights."""

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
            kernel_quantizer=self.quantizer(name, bits),
            name=name,
        )(x)
        return self._normalize(x, name)

    def depthwise(self, x: Tensor, kernel: int, name: str) -> Tensor:
        """Depthwise convolution, "same" padding, without bias, then batch normalization; no activation."""
        x = QDepthwiseConv2D(
            kernel,
            padding="same",
            use_bias=False,
            depthwise_quantizer=self.quantizer(name, channel_axes=2),
            name=name,
        )(x)
        return self._normalize(x, name)

    def logits(self, x: Tensor, classes: int, name: str = "logits") -> Tensor:
        """Dense layer with bias, 8-bit signed: the network's answer."""
        quantizer = self.quantizer(name, self.config.last_layer_bits)
        return self.linear(QDense(classes, kernel_quantizer=quantizer, name=name)(x), f"{name}_q", LOGIT_INTEGER)

    def relu(self, x: Tensor, name: str, integer: int = RELU_INTEGER) -> Tensor:
        """ReLU with range [0, 2^integer), of 8 bits or those of the job."""
        bits = self.config.activation_bits
        quantizer = QuantizedRelu if bits == 8 else HalfUpRelu
        return qkeras.QActivation(quantizer(bits, integer), name=name)(x)

    def linear(self, x: Tensor, name: str, integer: int = RELU_INTEGER) -> Tensor:
        """Rounds to 8 bits with range [-2^integer, 2^integer)."""
        return qkeras.QActivation(QuantizedLinear(8, integer, alpha=1.0), name=name)(x)

    def channels(self, base: int) -> int:
        """`base` channels times the width of the job, at least 1."""
        return max(1, round(base * self.config.width))

    def _normalize(self, x: Tensor, name: str) -> Tensor:
        layer = BatchNormalization(momentum=BN_MOMENTUM, epsilon=BN_EPSILON, name=f"{name}_bn")
        return layer(x)

    def quantizer(self, name: str, bits: int | None = None, channel_axes: int = 1) -> WeightQuantizer:
        """A quantizer for the kernel of the layer `name`: of the width that the job's layer_bits gives it, else of
        `bits`, else of weight_bits. channel_axes: see WeightQuantizer."""
        return of_width(
            self.config.layer_bits.get(name) or bits or self.config.weight_bits,
            alpha=self.config.alpha,
            temperature=self.train.temperature,
            stochastic=self.train.stochastic,
            channel_axes=channel_axes,
        )
