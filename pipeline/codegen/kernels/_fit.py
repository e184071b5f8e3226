"""Requantization in two or three instructions. What counts of a channel's requantization is the function of its sum: a
multiplication and a shift that all channels share do as well, where every sum that can occur is brought to the same
output. That is decided exactly, from the smallest sum of every output. C side: nn_dsp_fit, nn_dsp_half_fit,
nn_dsp_pair_fit."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.codegen.kernels import _ternary
from pipeline.core.nouns import QLayer, TensorSpec
from pipeline.network import arith, rescale

BITS = 12
"""Sums are multiplied by 2^BITS before they are multiplied by the factor: NN_DSP_FIT_BITS."""
HALF_BITS = 14
"""4 times a sum of 16 bits is multiplied by the factor, and the product loses 16 bits: so much of the scale is left."""
WIDE_BITS = 8
"""Sums of weights of more than 2 bits are multiplied by 2^WIDE_BITS instead: NN_DSP_WIDE_FIT_BITS."""
TRIES = 32
"""Factors tried above the quotient of the scales and as many below it,"""
STEP = 2.0**-22
"""so far from each other, as a share of it."""
WIDE_STEP = 2.0**-10
"""The same for sums of more than 2 bits: what moves the last threshold against the first by so much of a sum."""
MOST_ADDEND = 1 << 30
"""Any product of 32 bits can be added to it."""
NEVER = 1 << 62
"""Beyond every start and addend."""
STARTS = 6
"""Starts tried above the middle of what a factor allows and as many below it."""

Integers = NDArray[np.int64]
Bounds = tuple[Integers, Integers]


@dataclass(frozen=True)
class Fit:
    """Of all channels of a layer."""

    shift: int
    """What every product is shifted right by, after 32."""
    starts: Integers
    """(channels,) added to a sum times 2^BITS."""
    factors: Integers
    """(channels,) that the result is multiplied by."""
    ties: Integers | None
    """(channels,) added to the product, to a negative one only where `signed` is not; None where no output is below the
    zero point."""
    signed: bool = True
    """Whether outputs may be below the zero point."""

    @property
    def table(self) -> Integers:
        """(channels, 2 or 3): nn_dsp_fit."""
        return np.stack([self.starts, self.factors, *([] if self.ties is None else [self.ties])], axis=1)


def find(layer: QLayer, spec: TensorSpec, shifts: tuple[int, ...]) -> Fit | None:
    """The fit with the first of the shifts that serves every channel of the ternary layer; None when there is none.
    Sums are those of the inputs as they are, without bias. The layer's limits are left to a clamp."""
    channels = _Channels(layer, spec)
    return next(filter(None, (channels.fit(shift) for shift in shifts)), None)


def find_half(layer: QLayer, spec: TensorSpec, shifts: tuple[int, ...], start: int = 0) -> Fit | None:
    """The same for sums that begin at `start`: the output is (fit's start + floor(4 * factor * sum / 2^16)) / 2^shift,
    rounded down. None, too, where a sum takes more than 16 bits or an output is below the zero point."""
    channels = _Channels(layer, spec)
    if channels.signed or channels.lowest.min() + start < -(1 << 15) or channels.highest.max() + start >= 1 << 15:
        return None
    return next(filter(None, (channels.half_fit(shift, start) for shift in shifts)), None)


def find_wide(layer: QLayer, spec: TensorSpec, shifts: tuple[int, ...]) -> Fit | None:
    """The same as find for weights of more than 2 bits, whose sums have more thresholds than their start has places: an
    addend of each channel, its `ties`, is added to the product, but not to a negative one where outputs may be below
    the zero point. None, too, where 2^WIDE_BITS times a sum does not fit 32 bits."""
    channels = _Channels(layer, spec)
    return next(filter(None, (channels.wide_fit(shift) for shift in shifts)), None)


class _Channels:
    """What the channels compute from their sums."""

    def __init__(self, layer: QLayer, spec: TensorSpec) -> None:
        assert layer.multiplier is not None and layer.shift is not None
        bias = _ternary.folded_bias(layer, spec).astype(np.int64)
        self.lowest, self.highest = _ternary.extremes(_ternary.rows(layer))
        self.gain = rescale.gain(layer)
        low, high = layer.params["activation"]
        zero_point = layer.output.quantization.zero_point
        self.signed, self.servable = low < zero_point, low >= zero_point or zero_point == 0
        self.right = np.maximum(-layer.shift.astype(np.int64), 0)
        self.levels = np.arange(low + 1, high + 1)
        ends = (self.lowest + bias, self.highest + bias)
        first = rescale.thresholds(layer.multiplier, layer.shift, self.levels - zero_point, *ends)
        self.first = first - bias[:, None]

    def fit(self, shift: int) -> Fit | None:
        """The fit with that shift. Halves need not be rounded away from zero where no output is below the zero point,
        or where there are none, as nothing is shifted to the right."""
        ties = self._ties(shift)
        found = self._search(32 + shift - BITS, arith.INT32_MAX, lambda f: self._starts(f, shift, BITS, ties))
        return found and Fit(shift, *found, ties if self.signed else None)

    def _ties(self, shift: int) -> Integers:
        """What rounds halves away from zero."""
        return np.asarray((1 << shift >> self.right) * (self.right > 0) * self.signed)

    def half_fit(self, shift: int, start: int) -> Fit | None:
        """The fit with that shift of sums of 16 bits; four times its factors are within 32 bits."""
        most = arith.INT32_MAX >> 2
        found = self._search(HALF_BITS + shift, most, lambda factors: self._half_starts(factors, shift, start))
        return found and Fit(shift, *found, None)

    def wide_fit(self, shift: int) -> Fit | None:
        """The fit with that shift and an addend of every channel."""
        found = np.zeros((3, len(self.lowest)), np.int64)  # starts, factors, addends
        step = WIDE_STEP / np.maximum(self.first[:, -1] - self.first[:, 0], 1)
        for factors in self._candidates(32 + shift - WIDE_BITS, arith.INT32_MAX, step):
            left = np.flatnonzero(found[1] == 0)
            found[:, left] = self._only(left)._wide(factors[left], shift)
            if found[1].all():
                return Fit(shift, found[0], found[1], found[2], self.signed)
        return None

    def _only(self, channels: Integers) -> _Channels:
        """Those channels."""
        part = copy.copy(self)
        part.lowest, part.highest, part.first = self.lowest[channels], self.highest[channels], self.first[channels]
        part.right = self.right[channels]
        return part

    def _wide(self, factors: Integers, shift: int) -> Integers:
        """(3, channels): start, factor and addend; 0 where no start that is tried has an addend."""
        found = np.zeros((3, len(factors)), np.int64)
        low, high = self._starts(factors, shift, WIDE_BITS, self._ties(shift))
        for number in sorted(range(-STARTS, STARTS + 1), key=abs):
            starts = ((low + high) >> 1) + number
            least, most = self._addends(factors, starts, shift)
            new = (found[1] == 0) & (least <= most)
            found = np.where(new, np.stack([starts, factors, (least + most) >> 1]), found)
        return found

    def _search(self, bits: int, most: int, bounds: Callable[[Integers], Bounds]) -> Bounds | None:
        """(starts, factors) of all channels, of those tried; None when a channel has none. bounds: the lowest and the
        highest start that serve with such factors."""
        starts, factors = np.zeros_like(self.lowest), np.zeros_like(self.lowest)
        for candidates in self._candidates(bits, most):
            low, high = bounds(candidates)
            new = (factors == 0) & (low <= high)
            starts, factors = np.where(new, (low + high) >> 1, starts), np.where(new, candidates, factors)
            if factors.all():
                return starts, factors
        return None

    def _candidates(self, bits: int, most: int, step: float | NDArray[np.float64] = STEP) -> Iterator[Integers]:
        """Factors, one a channel: near the quotient of the scales times 2^bits; at last a large one, for channels whose
        output hardly depends on their sum. step: between them, as a share."""
        exact = self.gain * 2.0**bits
        if exact.max() > most or not self.servable:
            return
        for number in sorted(range(-TRIES, TRIES + 1), key=abs):
            yield np.clip(np.round(exact * (1 + number * step)), 1, most).astype(np.int64)
        yield np.full_like(self.lowest, 1 << 24)

    def _starts(self, factors: Integers, shift: int, bits: int, ties: Integers) -> Bounds:
        """(lowest, highest) start of each channel with which all outputs are right and nothing leaves 32 bits."""
        # what reaches a level, before it is multiplied
        products = (self.levels << (32 + shift)) - np.where(self.levels > 0, ties[:, None] << 32, 0)
        needed = -(-products // factors[:, None])
        reached = needed - (self.first << bits), needed - ((self.first - 1) << bits) - 1
        return self._bounds(*reached, np.minimum(self.lowest, 0) << bits, np.maximum(self.highest, 0) << bits)

    def _addends(self, factors: Integers, starts: Integers, shift: int) -> Bounds:
        """(lowest, highest) addend of each channel with which all outputs are right; lowest > highest: there is
        none."""
        first, before = (starts[:, None] + (sums << WIDE_BITS) for sums in (self.first, self.first - 1))
        needed = self.levels << (32 + shift)
        reaching = -((first * factors[:, None] - needed) >> 32)  # rounded up
        below = (needed - 1 - before * factors[:, None]) >> 32
        if self.signed:  # negative products are without an addend
            reaching = np.where(first < 0, np.where(reaching > 0, NEVER, 0), reaching)
            below = np.where(before < 0, np.where(below < 0, -NEVER, NEVER), below)
        low, high = self._bounds(reaching, below, *np.zeros((2, len(starts)), np.int64))
        held = (starts + (self.lowest << WIDE_BITS) >= arith.INT32_MIN) & (
            starts + (self.highest << WIDE_BITS) <= arith.INT32_MAX
        )
        least = 0 if self.signed else -MOST_ADDEND
        return np.where(held, np.maximum(low, least), NEVER), np.minimum(high, MOST_ADDEND)

    def _half_starts(self, factors: Integers, shift: int, start: int) -> Bounds:
        """The same of sums of 16 bits that begin at `start`."""

        def product(sums: Integers) -> Integers:
            return 4 * factors[:, None] * (sums + start) >> 16

        ends = product(np.stack([self.lowest, self.highest], axis=1))
        needed = self.levels << shift
        reached = needed - product(self.first), needed - product(self.first - 1) - 1
        return self._bounds(*reached, ends[:, 0], ends[:, 1])

    def _bounds(self, reaching: Integers, before: Integers, lowest: Integers, highest: Integers) -> Bounds:
        """(lowest, highest) start of each channel. reaching, before: (channels, levels), the lowest start that reaches
        a level at its first sum, the highest that does not at the sum before; lowest, highest: what starts add to."""
        ever, not_always = self.first <= self.highest[:, None], self.first > self.lowest[:, None]
        low = reaching.max(axis=1, where=ever, initial=-NEVER)
        high = before.min(axis=1, where=not_always, initial=NEVER)
        return np.maximum(low, arith.INT32_MIN - lowest), np.minimum(high, arith.INT32_MAX - highest)
