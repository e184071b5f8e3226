"""Weight quantizers of the trained networks, usable as kernel_quantizer of QKeras layers.

Each computes integer codes and one scale per output channel; the layer sees codes * scale, the gradient passes straight
through to the latent weights (straight-through estimator, STE). Export and training call the same functions, so
the integers that leave the trainer are the ones it used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backend import keras, qkeras, to_numpy
from pipeline.types import Int8Array

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


def sample_ternary(w: Tensor, scale: Tensor, channel_axes: int, temperature: float, seed: Any) -> Tensor:
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


def round_symmetric(w: Tensor, channel_axes: int, bits: int) -> tuple[Tensor, Tensor]:
    """(codes, scale): codes = round(w / scale) in [-m, m], scale = max|w| / m per channel, m = 2^(bits - 1) - 1."""
    levels = float((1 << (bits - 1)) - 1)
    scale = ops.max(ops.abs(w), axis=_reduced_axes(w, channel_axes), keepdims=True) / levels
    scale = _positive(scale, power_of_two=False)
    return ops.clip(ops.round(w / scale), -levels, levels), scale


class WeightQuantizer(qkeras.base_quantizer.BaseQuantizer):  # type: ignore[misc]
    """Base: __call__(w) -> codes * scale, exactly, with the gradient of the identity.

    channel_axes: trailing axes that index output channels: 1, or 2 for a depthwise kernel (h, w, in, multiplier).
    """

    alpha: str = "auto"
    bits: int

    def __init__(self, channel_axes: int = 1) -> None:
        super().__init__()
        self.channel_axes = channel_axes
        self._seed: Any = None

    def quantize(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """(codes, scale) used at inference."""
        raise NotImplementedError

    def sample(self, w: Tensor, seed: Any) -> tuple[Tensor, Tensor]:
        """(codes, scale) used in a training step that draws its noise from `seed`; without noise: as at inference."""
        return self.quantize(w)

    @contextmanager
    def sampling(self, seed: Any) -> Iterator[None]:
        """Calls inside draw their noise from this keras SeedGenerator (None: none, as at inference).

        QKeras layers call their quantizer without saying whether they train; the layers of pipeline.models say it here.
        """
        self._seed = seed
        try:
            yield
        finally:
            self._seed = None

    def __call__(self, w: Tensor) -> Tensor:
        w = ops.convert_to_tensor(w)
        codes, scale = self.quantize(w) if self._seed is None else self.sample(w, self._seed)
        # w - w is exactly 0: unlike w + stop_gradient(q - w), the sum is q to the last bit.
        return ops.stop_gradient(codes * scale) + (w - ops.stop_gradient(w))

    def get_config(self) -> dict[str, Any]:
        return {"channel_axes": self.channel_axes}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> WeightQuantizer:
        return cls(**config)


@keras.saving.register_keras_serializable(package="tritmcu")
class StochasticTernary(WeightQuantizer):
    """Ternary weights {-1, 0, 1} * scale: stochastic in training, deterministic at inference.

    alpha: "auto", or "auto_po2" for power-of-two scales; temperature > 0: the noise shrinks as it grows (at 8 about 11
    % of Gaussian weights differ from the deterministic codes); stochastic False: deterministic in training too.
    """

    bits = 2

    def __init__(
        self, alpha: str = "auto", temperature: float = 8.0, stochastic: bool = True, channel_axes: int = 1
    ) -> None:
        if alpha not in ("auto", "auto_po2"):
            raise ValueError(f'alpha = {alpha!r}, allowed are "auto" and "auto_po2"')
        if not temperature > 0:
            raise ValueError(f"temperature = {temperature!r} must be positive")
        super().__init__(channel_axes)
        self.alpha = alpha
        self.temperature = temperature
        self.stochastic = stochastic

    def quantize(self, w: Tensor) -> tuple[Tensor, Tensor]:
        return ternarize(w, self.channel_axes, self.alpha == "auto_po2")

    def sample(self, w: Tensor, seed: Any) -> tuple[Tensor, Tensor]:
        codes, scale = self.quantize(w)
        if self.stochastic:
            codes = sample_ternary(w, scale, self.channel_axes, self.temperature, seed)
        return codes, scale

    def get_config(self) -> dict[str, Any]:
        own = {"alpha": self.alpha, "temperature": self.temperature, "stochastic": self.stochastic}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="tritmcu")
class SymmetricInteger(WeightQuantizer):
    """Weights of `bits` bits, symmetric, one scale per output channel; 8 loses practically nothing."""

    def __init__(self, bits: int = 8, channel_axes: int = 1) -> None:
        if not 2 <= bits <= 8:
            raise ValueError(f"bits = {bits!r}, allowed are 2 to 8")
        super().__init__(channel_axes)
        self.bits = bits

    def quantize(self, w: Tensor) -> tuple[Tensor, Tensor]:
        return round_symmetric(w, self.channel_axes, self.bits)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bits": self.bits}


def weight_codes(quantizer: WeightQuantizer, w: NDArray[Any]) -> tuple[Int8Array, NDArray[np.float64]]:
    """(codes int8 like w, scale float64 per channel, flat): the integers the layer uses at inference."""
    codes, scale = quantizer.quantize(ops.convert_to_tensor(w))
    return to_numpy(codes).astype(np.int8), to_numpy(scale).astype(np.float64).reshape(-1)


def _reduced_axes(w: Tensor, channel_axes: int) -> tuple[int, ...]:
    return tuple(range(len(w.shape) - channel_axes))


def _positive(scale: Tensor, power_of_two: bool) -> Tensor:
    scale = ops.where(scale > 0.0, scale, EMPTY_CHANNEL_SCALE)
    return ops.power(2.0, ops.round(ops.log2(scale))) if power_of_two else scale
