"""Weight scales of a TensorFlow Lite file for requantizations that are given as integers.

The file has float32 scales, and its kernels compute the multipliers from them; a multiplier has 31 bits, a float32
number 24. So a scale that gives exactly a multiplier need not exist. What counts is the function of the accumulator:
two multipliers are as good as equal when every accumulator that can occur is brought to the same output. Weights of few
bits leave room to multiply them, and the bias, by an integer, which gives as many chances more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import Int8Array, Int32Array, QLayer, Quantization
from pipeline.network import arith, rescale

Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]
CHANCES = 4
"""Factors tried, those whose scale is nearest to a float32 number."""


@dataclass(frozen=True)
class Scales:
    """Of a layer's weights."""

    scales: NDArray[np.float32]
    """One for each output channel."""
    factors: Integers
    """What the weights and the bias of each channel are multiplied by, 1 or more."""


def multipliers(source: float, scales: NDArray[np.float32], output: float) -> tuple[Integers, Integers]:
    """(multiplier, shift) of each channel as TensorFlow Lite computes them; a shift of 31 where there is none."""
    pairs = [_pair(source * float(scale) / output) for scale in scales]
    return np.array([m for m, _ in pairs], np.int64), np.array([s for _, s in pairs], np.int64)


def find(layer: QLayer, source: Quantization, channels_first: Int8Array) -> tuple[Scales, NDArray[np.bool_]]:
    """(scales that compute what the weighted layer computes, where they do so in every channel). source: of its input;
    channels_first: its weights (channels, ...)."""
    goal = _Goal(layer, source, channels_first)
    scales, factors = np.ones(len(channels_first), np.float32), np.ones(len(channels_first), np.int64)
    found = np.zeros(len(channels_first), bool)
    for candidate in goal.candidates():
        right = ~found & goal.reached(candidate)
        scales, factors = np.where(right, candidate.scales, scales), np.where(right, candidate.factors, factors)
        found |= right
        if found.all():
            break
    return Scales(scales, factors), found


def find_one(layer: QLayer, source: Quantization) -> np.float32 | None:
    """The scale of all weights of a dense layer, whose product with the input's is rounded to float32 there; None: the
    channels differ, or no scale gives their multiplier."""
    assert layer.multiplier is not None and layer.shift is not None
    pairs = {(int(m), int(s)) for m, s in zip(layer.multiplier, layer.shift, strict=True)}
    if len(pairs) != 1:
        return None
    (pair,) = pairs
    one, output = np.float32(source.scale), rescale.single(layer.output.quantization.scale)
    near = np.float32(float(arith.factor(*map(np.asarray, pair))) * output) / one
    for scale in (near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(0))):
        if scale > np.finfo(np.float32).tiny and _pair(float(one * scale) / output) == pair:
            return np.float32(scale)
    return None


class _Goal:
    """What a layer computes from its accumulators."""

    def __init__(self, layer: QLayer, source: Quantization, weights: Int8Array) -> None:
        assert layer.bias is not None and layer.multiplier is not None and layer.shift is not None
        self.source, self.output = rescale.single(source.scale), rescale.single(layer.output.quantization.scale)
        self.multiplier, self.shift = layer.multiplier.astype(np.int64), layer.shift.astype(np.int64)
        flat = weights.astype(np.int64).reshape(len(weights), -1)
        low, high = source.qmin - source.zero_point, source.qmax - source.zero_point
        ends = np.stack([flat * low, flat * high])
        self.lowest = np.minimum(ends.min(axis=0).sum(axis=1), 0) + layer.bias
        self.highest = np.maximum(ends.max(axis=0).sum(axis=1), 0) + layer.bias
        self.most = 127 // np.maximum(np.abs(flat).max(axis=1), 1)
        first, last = (value - layer.output.quantization.zero_point for value in layer.params["activation"])
        self.levels = np.arange(first + 1, last + 1)
        self.thresholds = self._thresholds(self.multiplier, self.shift, np.ones_like(self.shift))

    def candidates(self) -> Iterator[Scales]:
        """Scales for all channels: the nearest ones, then with factors, then beside them."""
        real = arith.factor(self.multiplier, self.shift) * self.output / self.source
        real = np.maximum(real, np.finfo(np.float32).tiny)
        one = np.ones_like(self.most)
        yield Scales(real.astype(np.float32), one)
        for rank in range(CHANCES):
            factors = self._ranked(real, rank)
            yield Scales((real / factors).astype(np.float32), factors)
        for towards in (np.inf, -np.inf):
            yield Scales(np.nextafter(real.astype(np.float32), np.float32(towards)), one)

    def _ranked(self, real: Doubles, rank: int) -> Integers:
        """The factor of each channel whose scale is the one of that rank in nearness to a float32 number."""
        factors = np.arange(1, 128)
        scaled = real[:, None] / factors
        error = np.abs(scaled.astype(np.float32) / scaled - 1.0)
        error[factors[None, :] > self.most[:, None]] = np.inf
        order = np.argsort(error, axis=1)
        return np.asarray(np.minimum(factors[order[:, min(rank, order.shape[1] - 1)]], self.most))

    def reached(self, candidate: Scales) -> NDArray[np.bool_]:
        """Where the candidate brings every accumulator that can occur to the same output."""
        multiplier, shift = multipliers(self.source, candidate.scales, self.output)
        reach = np.maximum(np.abs(self.lowest), np.abs(self.highest)) * candidate.factors
        fits = (shift <= 30) & arith.left_shift_is_safe(reach, np.minimum(shift, 30))
        same = (multiplier == self.multiplier) & (shift == self.shift) & (candidate.factors == 1)
        if (same | ~fits).all():
            return np.asarray(same & fits)
        shift = np.where(fits, shift, 0)
        other = self._thresholds(multiplier, shift, candidate.factors)
        return np.asarray(fits & (same | (other == self.thresholds).all(axis=1)))

    def _thresholds(self, multiplier: Integers, shift: Integers, factors: Integers) -> Integers:
        """(channels, levels): the smallest accumulator, from lowest to highest + 1, that is brought to each level or
        above. It says all: requantization never decreases."""
        shape = (len(multiplier), len(self.levels))
        low = np.broadcast_to(self.lowest[:, None], shape).copy()
        high = np.broadcast_to(self.highest[:, None] + 1, shape).copy()
        while (low < high).any():
            middle = (low + high) >> 1
            output = arith.requantize(middle * factors[:, None], multiplier[:, None], shift[:, None])
            reached = output >= self.levels
            high, low = np.where(reached, middle, high), np.where(reached, low, np.minimum(middle + 1, high))
        return high


def _pair(real: float) -> tuple[int, int]:
    try:
        return arith.quantize_multiplier(real)
    except ValueError:
        return 0, 31


def multiplied(layer: QLayer, weights: Int8Array, found: Scales) -> tuple[Int8Array, Int32Array]:
    """(weights channels first, bias) times the factors."""
    assert layer.bias is not None
    by_channel = found.factors.reshape((-1,) + (1,) * (weights.ndim - 1))
    return (weights * by_channel).astype(np.int8), (layer.bias * found.factors).astype(np.int32)
