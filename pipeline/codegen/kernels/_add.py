"""What the kernels for element-wise sums share: factors that give the specification's output for every pair of
inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core import registry
from pipeline.core.nouns import QLayer, TensorSpec
from pipeline.network import arith, rescale

TILTS = (0.0, 2.0**-14, 2.0**-20, -(2.0**-20))
"""How much the factors are raised, tried one by one. 2^-14 brings halves of negative outputs below a boundary, of
positive ones above it: ties away from zero. The least ones make up for what the specification rounds on its way."""

Integers = NDArray[np.int64]
Factors = tuple[int, int, int]
"""factor1, factor2, start."""


@dataclass(frozen=True)
class Sums:
    """How a kernel adds: outputs are start + (factor1 * input1 >> places) + (factor2 * input2 >> places), within those
    bits, plus rounding, shifted right by fraction."""

    bits: int
    """Of factors and sums, with their sign."""
    fraction: int
    """Bits of a sum below those of the output."""
    places: int
    """Bits that a product of a factor and an input is shifted right by, 0 or more."""
    rounding: int = 0
    """Added to a sum before its last shift, in the sum's units."""

    @property
    def most(self) -> int:
        """The largest factor or sum; the smallest sum is -most - 1."""
        return (1 << (self.bits - 1)) - 1

    def factors(self, layer: QLayer, specs: Sequence[TensorSpec]) -> Factors | None:
        """Those that give the specification's output for every pair of inputs; None when there are none near the
        quotients of the scales."""
        x, y = np.meshgrid(*(np.arange(s.quantization.qmin, s.quantization.qmax + 1) for s in specs), indexing="ij")
        outputs = registry.load("layers", "add").reference(layer, specs, (x, y)).astype(np.int64)
        unit = 2.0 ** (self.fraction + self.places + arith.ADD_LEFT_SHIFT) * rescale.factor(layer, "output")
        for tilt in TILTS:
            first, second = (round((1 + tilt) * unit * rescale.factor(layer, name)) for name in ("input1", "input2"))
            if max(first, second) > self.most:
                continue
            start = self._start(outputs, self._products(first, x) + self._products(second, y), layer)
            if start is not None:
                return first, second, start
        return None

    def _products(self, factor: int, inputs: Integers) -> Integers:
        return factor * inputs >> self.places

    def _start(self, outputs: Integers, sums: Integers, layer: QLayer) -> int | None:
        """What added to all sums leaves the outputs above the fraction, but for those that the limits cut off, and no
        sum outside its bits; None when nothing does."""
        low, high = layer.params["activation"]
        rest = sums + self.rounding
        least, most = (outputs << self.fraction) - rest, ((outputs + 1) << self.fraction) - 1 - rest
        first = int(least[outputs > low].max(initial=-self.most - 1 - min(0, int(sums.min()))))
        last = int(most[outputs < high].min(initial=self.most - max(0, int(sums.max()))))
        return (first + last) // 2 if first <= last else None
