"""Weight scales of a TensorFlow Lite file for requantizations that are given as integers.

The file has float32 scales, and its kernels compute the multipliers from them; a multiplier has 31 bits, a float32
number 24. So a scale that gives exactly a multiplier need not exist. What counts is the function of the accumulator:
two multipliers are as good as equal when every accumulator that can occur is brought to the same output. Weights of few
bits leave room to multiply them, and the bias, by an integer, which gives as many chances more. Where 8-bit weights
have no such scale, the output's scale is moved by a few float32 steps, and all multipliers with it. What reads the
output computes from the new scale, or the output is put back on its own by an operation that changes no value.
"""

from __future__ import annotations

import itertools
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
REACH = 4096
"""Float32 steps up and down among which the output's scale is sought: a 2048th of it, too little to change a value that
is put back."""
OUTPUTS = 4
"""Scales of the output tried for channels that have factors: they fail on it for other reasons."""
SPACING = 128
"""Most multipliers between those of two neighbouring float32 scales."""


@dataclass(frozen=True)
class Scales:
    """Of a layer's weights."""

    scales: NDArray[np.float32]
    """One for each output channel."""
    factors: Integers
    """What the weights and the bias of each channel are multiplied by, 1 or more."""
    output: float
    """The scale of the layer's output: its own as float32, or a float32 number near it."""


def multipliers(source: float, scales: NDArray[np.float32], output: float) -> tuple[Integers, Integers]:
    """(multiplier, shift) of each channel as TensorFlow Lite computes them; a shift of 31 where there is none."""
    pairs = [_pair(float(real)) for real in rescale.weighted(source, scales, output)]
    return np.array([m for m, _ in pairs], np.int64), np.array([s for _, s in pairs], np.int64)


def find(layer: QLayer, source: Quantization, channels_first: Int8Array) -> tuple[Scales, NDArray[np.bool_]]:
    """(scales that compute what the weighted layer computes, where they do so in every channel). The output's scale is
    the layer's own where that will do. source: of its input; channels_first: its weights (channels, ...)."""
    goal = _Goal(layer, source, channels_first)
    for output in itertools.islice(goal.outputs(), OUTPUTS):
        found, exact = goal.at(output)
        if exact.all():
            return found, exact
    return goal.at(goal.output)


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
        self.thresholds = rescale.thresholds(self.multiplier, self.shift, self.levels, self.lowest, self.highest)

    def outputs(self) -> Iterator[float]:
        """Scales of the output, nearest first, with which every channel without a factor has a float32 scale."""
        rigid, (below, above) = self.most == 1, self._slack()
        low, high = (arith.factor(self.multiplier + end, self.shift) for end in (-below - 0.5, above + 0.5))
        for steps in sorted(range(-REACH, REACH + 1), key=abs):
            output = _moved(self.output, steps)
            factors = (rescale.weighted(self.source, scales, output) for scales in self._nearest(output))
            if (~rigid | np.any([(low <= real) & (real < high) for real in factors], axis=0)).all():
                yield output

    def at(self, output: float) -> tuple[Scales, NDArray[np.bool_]]:
        """(scales for that scale of the output, where they compute what the layer computes)."""
        one = np.ones_like(self.most)
        scales, factors, found = one.astype(np.float32), one, np.zeros(len(one), bool)
        for candidate in self._candidates(output):
            right = ~found & self.reached(candidate)
            scales, factors = np.where(right, candidate.scales, scales), np.where(right, candidate.factors, factors)
            found |= right
            if found.all():
                break
        return Scales(scales, factors, output), found

    def reached(self, candidate: Scales) -> NDArray[np.bool_]:
        """Where the candidate brings every accumulator that can occur to the same output."""
        multiplier, shift = multipliers(self.source, candidate.scales, candidate.output)
        reach = np.maximum(np.abs(self.lowest), np.abs(self.highest)) * candidate.factors
        fits = (shift <= 30) & arith.requantization_is_safe(reach, np.minimum(shift, 30))
        return np.asarray(fits & self._same(multiplier, np.where(fits, shift, 0), candidate.factors))

    def _same(self, multiplier: Integers, shift: Integers, factors: Integers) -> NDArray[np.bool_]:
        """Where every threshold is one of that requantization too: reached there, and not one accumulator before."""
        ends = [(self.thresholds - before) * factors[:, None] for before in (0, 1)]
        at, before = (arith.requantize(acc, multiplier[:, None], shift[:, None]) >= self.levels for acc in ends)
        never, always = self.thresholds > self.highest[:, None], self.thresholds <= self.lowest[:, None]
        return np.asarray(((at | never) & (~before | always)).all(axis=1))

    def _slack(self) -> tuple[Integers, Integers]:
        """How many steps the multiplier of each channel may be lower, and higher, and still compute the same. What it
        may be is an interval: an output grows with the multiplier, or falls with it, as the accumulator's sign is."""
        one = np.ones_like(self.most)
        steps = []
        for sign in (-1, 1):
            low, high = np.zeros_like(one), np.full_like(one, SPACING)
            while (low < high).any():
                middle = (low + high + 1) >> 1
                moved = np.clip(self.multiplier + sign * middle, 0, arith.INT32_MAX)
                same = self._same(moved, self.shift, one)
                low, high = np.where(same, middle, low), np.where(same, high, middle - 1)
            steps.append(low)
        return steps[0], steps[1]

    def _real(self, output: float) -> Doubles:
        """The scales that would give the layer's multipliers."""
        return np.maximum(arith.factor(self.multiplier, self.shift) * output / self.source, np.finfo(np.float32).tiny)

    def _nearest(self, output: float) -> list[NDArray[np.float32]]:
        """The float32 numbers at `_real`: nearest, above, below."""
        near = self._real(output).astype(np.float32)
        return [near, *(np.nextafter(near, np.float32(towards)) for towards in (np.inf, -np.inf))]

    def _candidates(self, output: float) -> Iterator[Scales]:
        """Scales for all channels: the nearest ones, then with factors, then beside them."""
        real, one = self._real(output), np.ones_like(self.most)
        near, *beside = self._nearest(output)
        yield Scales(near, one, output)
        for rank in range(CHANCES):
            factors = self._ranked(real, rank)
            yield Scales((real / factors).astype(np.float32), factors, output)
        for scales in beside:
            yield Scales(scales, one, output)

    def _ranked(self, real: Doubles, rank: int) -> Integers:
        """The factor of each channel whose scale is the one of that rank in nearness to a float32 number."""
        factors = np.arange(1, 128)
        scaled = real[:, None] / factors
        error = np.abs(scaled.astype(np.float32) / scaled - 1.0)
        error[factors[None, :] > self.most[:, None]] = np.inf
        order = np.argsort(error, axis=1)
        return np.asarray(np.minimum(factors[order[:, min(rank, order.shape[1] - 1)]], self.most))


def _moved(scale: float, steps: int) -> float:
    """The float32 number that many places up from a positive one."""
    return float((np.float32(scale).view(np.int32) + np.int32(steps)).view(np.float32))


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
