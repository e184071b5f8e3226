"""Weight quantizers of the trained networks, usable as kernel_quantizer of QKeras layers.

Each computes integer codes and one scale per output channel; the layer sees codes * scale, the gradient passes straight
through to the latent weights (straight-through estimator, STE). Export and training call the same functions, so
the integers that leave the trainer are the ones it used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import Int8Array
from pipeline.training.keras_backend import keras, qkeras, to_numpy

ops = keras.ops
Tensor = Any

SCALE_ROUNDS = 5
EMPTY_CHANNEL_SCALE = 2.0**-7
"""Scale of a channel whose weights are all zero: any positive number is right, its codes are zero."""


def ternarize(w: Tensor, channel_axes: int, power_of_two: bool = False) -> tuple[Tensor, Tensor]:
    """(codes, scale) of the deterministic ternary quantization of w.

    codes: like w, values -1, 0, 1; scale: positive, w's shape with 1 in all but the last `channel_axes` axes (1:
    convolution and dense, 2: depthwise). Alternates threshold = scale / 2 and the least-squares scale <w, c> / <c, c>,
    starting at 2/3 max|w| (Li et al. 2016, arXiv 1605.04711; as `ternary(alpha="auto")` of QKeras, which has one scale
    for a whole depthwise kernel).
    """
    axes = _reduced_axes(w, channel_axes)
    magnitude = ops.abs(w)
    scale = _positive(ops.max(magnitude, axis=axes, keepdims=True) * (2.0 / 3.0), power_of_two)
    kept = magnitude
    for _ in range(SCALE_ROUNDS):
        kept = ops.cast(magnitude >= scale / 2.0, w.dtype)
        count = ops.maximum(ops.sum(kept, axis=axes, keepdims=True), 1.0)
        scale = _positive(ops.sum(magnitude * kept, axis=axes, keepdims=True) / count, power_of_two)
    return ops.sign(w) * kept, scale


def sample_ternary(w: Tensor, scale: Tensor, channel_axes: int, temperature: float | Tensor, seed: Any) -> Tensor:
    """Random codes -1, 0, 1 like w: true stochastic ternary quantization (STQ).

    With x = w / std(w) and T = scale / (2 std(w)) per channel, p = sigmoid(temperature (x - T)) and
    r = sigmoid(temperature (x + T)): P(1) = p r, P(-1) = (1 - p)(1 - r). That is the mean of the two independent
    Bernoulli signs of QKeras' `stochastic_ternary`, drawn here from one uniform number.
    """
    std = ops.std(w, axis=_reduced_axes(w, channel_axes), keepdims=True) + keras.config.epsilon()
    upper = ops.sigmoid((w - scale / 2.0) * (temperature / std))
    lower = ops.sigmoid((w + scale / 2.0) * (temperature / std))
    u = keras.random.uniform(ops.shape(w), seed=seed)
    plus = ops.cast(u < upper * lower, w.dtype)
    minus = ops.cast(1.0 - u < (1.0 - upper) * (1.0 - lower), w.dtype)
    return plus - minus


def binarize(w: Tensor, channel_axes: int, power_of_two: bool = False) -> tuple[Tensor, Tensor]:
    """(codes, scale) of the deterministic binary quantization of w: codes -1 and 1 (of a zero: 1), scale = mean|w| per
    channel, which is the least-squares one (Rastegari et al. 2016, arXiv 1603.05279)."""
    scale = ops.mean(ops.abs(w), axis=_reduced_axes(w, channel_axes), keepdims=True)
    return ops.where(w < 0.0, -ops.ones_like(w), ops.ones_like(w)), _positive(scale, power_of_two)


def sample_binary(w: Tensor, channel_axes: int, temperature: float | Tensor, seed: Any) -> Tensor:
    """Random codes -1, 1 like w: P(1) = sigmoid(temperature w / std(w)), std per channel, as `stochastic_binary` of
    QKeras; the idea is BinaryConnect's (Courbariaux et al. 2015, arXiv 1511.00363)."""
    std = ops.std(w, axis=_reduced_axes(w, channel_axes), keepdims=True) + keras.config.epsilon()
    drawn = keras.random.uniform(ops.shape(w), seed=seed) < ops.sigmoid(w * (temperature / std))
    return ops.where(drawn, ops.ones_like(w), -ops.ones_like(w))


def round_symmetric(w: Tensor, channel_axes: int, bits: int, power_of_two: bool = False) -> tuple[Tensor, Tensor]:
    """(codes, scale): codes = round(w / scale) in [-m, m], scale = max|w| / m per channel, m = 2^(bits - 1) - 1; with
    power_of_two the nearest such scale, beyond whose ends weights saturate."""
    levels = float((1 << (bits - 1)) - 1)
    scale = ops.max(ops.abs(w), axis=_reduced_axes(w, channel_axes), keepdims=True) / levels
    scale = _positive(scale, power_of_two)
    return ops.clip(ops.round(w / scale), -levels, levels), scale


class _Held(keras.random.SeedGenerator):  # type: ignore[misc]
    """Answers the same draw again and again; has no state."""

    def __init__(self, draw: Tensor) -> None:
        self.draw = draw

    def next(self, ordered: bool = True) -> Tensor:
        return self.draw


class WeightQuantizer(qkeras.base_quantizer.BaseQuantizer):  # type: ignore[misc]
    """Base: __call__(w) -> codes * scale, exactly, with the gradient of the identity.

    bits: of a stored code. channel_axes: trailing axes that index output channels: 1, or 2 for a depthwise kernel (h,
    w, in, multiplier). alpha: of the scales, "auto" or "auto_po2" (powers of two).
    """

    bits: int
    """Of a stored code."""

    def __init__(self, alpha: str = "auto", channel_axes: int = 1) -> None:
        if alpha not in ("auto", "auto_po2"):
            raise ValueError(f'alpha = {alpha!r}, allowed are "auto" and "auto_po2"')
        super().__init__()
        self.alpha = alpha
        self.channel_axes = channel_axes
        self._seed: Any = None
        self._draw: Any = None
        self._temperature: Any = None
        self._dtype: str | None = None

    @property
    def power_of_two(self) -> bool:
        return self.alpha == "auto_po2"

    def quantize(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """(codes, scale) used at inference."""
        raise NotImplementedError

    def sample(self, w: Tensor, seed: Any, temperature: Any) -> tuple[Tensor, Tensor]:
        """(codes, scale) used in a training step that draws its noise from `seed`; without noise: as at inference.
        temperature: instead of the quantizer's own, unless None."""
        return self.quantize(w)

    @contextmanager
    def sampling(self, seed: Any) -> Iterator[None]:
        """Calls inside draw their noise from this keras SeedGenerator (None: none, as at inference).

        QKeras layers call their quantizer without saying whether they train; those of training/blocks.py say it here.
        """
        self._seed = seed
        try:
            yield
        finally:
            self._seed = None

    @contextmanager
    def holding(self, draw: Tensor) -> Iterator[None]:
        """Every call inside, those of inference too, has the noise of this draw: what SeedGenerator.next() answers."""
        self._draw = _Held(draw)
        try:
            yield
        finally:
            self._draw = None

    @contextmanager
    def at(self, temperature: Tensor) -> Iterator[None]:
        """Noise drawn inside has this temperature, a scalar; a graph traced here computes it anew in every run."""
        self._temperature = temperature
        try:
            yield
        finally:
            self._temperature = None

    @contextmanager
    def answering_in(self, dtype: str) -> Iterator[None]:
        """What calls inside answer is rounded to this type."""
        self._dtype = dtype
        try:
            yield
        finally:
            self._dtype = None

    def __call__(self, w: Tensor) -> Tensor:
        w = ops.convert_to_tensor(w)
        return ops.cast(self.value(w), self._dtype or w.dtype)

    def value(self, w: Tensor) -> Tensor:
        """What a layer computes with instead of w."""
        seed = self._draw or self._seed
        codes, scale = self.quantize(w) if seed is None else self.sample(w, seed, self._temperature)
        # w - w is exactly 0: unlike w + stop_gradient(q - w), the sum is q to the last bit.
        return ops.stop_gradient(codes * scale) + (w - ops.stop_gradient(w))

    def get_config(self) -> dict[str, Any]:
        return {"alpha": self.alpha, "channel_axes": self.channel_axes}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> WeightQuantizer:
        return cls(**config)


class _Stochastic(WeightQuantizer):
    """Two or three levels, stochastic in training, deterministic at inference. Codes are stored at 2 bits.

    temperature > 0: the noise shrinks as it grows; stochastic False: deterministic in training too.
    """

    bits = 2

    def __init__(
        self, alpha: str = "auto", temperature: float = 8.0, stochastic: bool = True, channel_axes: int = 1
    ) -> None:
        if not temperature > 0:
            raise ValueError(f"temperature = {temperature!r} must be positive")
        super().__init__(alpha, channel_axes)
        self.temperature = temperature
        self.stochastic = stochastic

    def draw(self, w: Tensor, scale: Tensor, temperature: float | Tensor, seed: Any) -> Tensor:
        """Random codes."""
        raise NotImplementedError

    def sample(self, w: Tensor, seed: Any, temperature: Any) -> tuple[Tensor, Tensor]:
        codes, scale = self.quantize(w)
        if self.stochastic:
            codes = self.draw(w, scale, self.temperature if temperature is None else temperature, seed)
        return codes, scale

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "temperature": self.temperature, "stochastic": self.stochastic}


@keras.saving.register_keras_serializable(package="tritmcu")
class StochasticTernary(_Stochastic):
    """Ternary weights {-1, 0, 1} * scale; at temperature 8 about 11 % of Gaussian weights differ from the deterministic
    codes in a training step."""

    def quantize(self, w: Tensor) -> tuple[Tensor, Tensor]:
        return ternarize(w, self.channel_axes, self.power_of_two)

    def draw(self, w: Tensor, scale: Tensor, temperature: float | Tensor, seed: Any) -> Tensor:
        return sample_ternary(w, scale, self.channel_axes, temperature, seed)


@keras.saving.register_keras_serializable(package="tritmcu")
class StochasticBinary(_Stochastic):
    """Binary weights {-1, 1} * scale. The device knows no binary kernel: they are ternary codes without zeros."""

    def quantize(self, w: Tensor) -> tuple[Tensor, Tensor]:
        return binarize(w, self.channel_axes, self.power_of_two)

    def draw(self, w: Tensor, scale: Tensor, temperature: float | Tensor, seed: Any) -> Tensor:
        return sample_binary(w, self.channel_axes, temperature, seed)


@keras.saving.register_keras_serializable(package="tritmcu")
class SymmetricInteger(WeightQuantizer):
    """Weights of `bits` bits, symmetric, one scale per output channel; 8 loses practically nothing."""

    def __init__(self, bits: int = 8, channel_axes: int = 1, alpha: str = "auto") -> None:
        if not 2 <= bits <= 8:
            raise ValueError(f"bits = {bits!r}, allowed are 2 to 8")
        super().__init__(alpha, channel_axes)
        self.bits = bits

    def quantize(self, w: Tensor) -> tuple[Tensor, Tensor]:
        return round_symmetric(w, self.channel_axes, self.bits, self.power_of_two)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bits": self.bits}


@keras.saving.register_keras_serializable(package="tritmcu")
class Unquantized(SymmetricInteger):
    """Float weights, untouched in Keras; what leaves it are their 8-bit integers, so the device rounds once more."""

    def value(self, w: Tensor) -> Tensor:
        return w


@keras.saving.register_keras_serializable(package="tritmcu")
class QuantizedRelu(qkeras.quantized_relu):  # type: ignore[misc]
    """qkeras.quantized_relu(bits, integer), to the bit, in fewer passes over the tensor."""

    def __call__(self, x: Tensor) -> Tensor:
        step = 2.0 ** (self.integer - self.bits)
        top = 2.0**self.integer - step
        return _straight_through(
            x,
            lambda x: ops.round(ops.clip(x, 0.0, top) * (1 / step)) * step,
            lambda x: ops.logical_and(x > 0, x <= top),
        )


@keras.saving.register_keras_serializable(package="tritmcu")
class QuantizedLinear(qkeras.quantized_bits):  # type: ignore[misc]
    """qkeras.quantized_bits(bits, integer, alpha=1.0), to the bit, in fewer passes over the tensor."""

    def __call__(self, x: Tensor) -> Tensor:
        step = 2.0 ** (self.integer - self.bits + 1)
        low, top = -(2.0**self.integer), 2.0**self.integer - step
        return _straight_through(x, lambda x: ops.clip(ops.round(x * (1 / step)) * step, low, top), None)


@keras.saving.register_keras_serializable(package="tritmcu")
class FixedLinear(qkeras.quantized_linear):  # type: ignore[misc]
    """qkeras.quantized_linear as an activation, for batches of any size, which QKeras' own fails on."""

    def __call__(self, x: Tensor) -> Tensor:
        return self._scale_clip_and_round(x, self.quantization_scale) * self.quantization_scale


def _straight_through(
    x: Tensor, value: Callable[[Tensor], Tensor], passes: Callable[[Tensor], Tensor] | None
) -> Tensor:
    """value(x), whose gradient is taken for 1 where passes(x), else for 0; None: for 1 everywhere. Can be
    differentiated again: it is constant."""

    def with_gradient(x: Tensor) -> tuple[Tensor, Callable[..., Tensor]]:
        mask = None if passes is None else ops.cast(passes(x), x.dtype)
        return value(x), lambda upstream: upstream if mask is None else upstream * mask

    return ops.custom_gradient(with_gradient)(x)


def of_width(
    bits: int, *, alpha: str = "auto", temperature: float = 8.0, stochastic: bool = True, channel_axes: int = 1
) -> WeightQuantizer:
    """The quantizer for a width as jobs name it: 1 binary, 2 ternary, 3 to 8 symmetric integers, 32 none."""
    if bits in (1, 2):
        kind = StochasticTernary if bits == 2 else StochasticBinary
        return kind(alpha, temperature, stochastic, channel_axes)
    return Unquantized(8, channel_axes, alpha) if bits == 32 else SymmetricInteger(bits, channel_axes, alpha)


def weight_codes(quantizer: WeightQuantizer, w: NDArray[Any]) -> tuple[Int8Array, NDArray[np.float64]]:
    """(codes int8 like w, scale float64 per channel, flat): the integers the layer uses at inference."""
    codes, scale = quantizer.quantize(ops.convert_to_tensor(w))
    return to_numpy(codes).astype(np.int8), to_numpy(scale).astype(np.float64).reshape(-1)


def _reduced_axes(w: Tensor, channel_axes: int) -> tuple[int, ...]:
    return tuple(range(len(w.shape) - channel_axes))


def _positive(scale: Tensor, power_of_two: bool) -> Tensor:
    scale = ops.where(scale > 0.0, scale, EMPTY_CHANNEL_SCALE)
    return ops.power(2.0, ops.round(ops.log2(scale))) if power_of_two else scale
