"""Element-wise sum for cores with the DSP extension: firmware/nn/dsp/nn_add_dsp.c."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.core import registry
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import arith, calls, rescale

FRACTION = 18
"""NN_DSP_ADD_FRACTION of nn_dsp.h."""
TILTS = (0.0, 2.0**-14, 2.0**-20, -(2.0**-20))
"""How much the factors are raised, tried one by one. 2^-14 brings halves of negative outputs below a boundary, of
positive ones above it: ties away from zero. The least ones make up for what the specification rounds on its way."""

Integers = NDArray[np.int64]


def serves(layer: QLayer, specs: Sequence[TensorSpec]) -> str:
    if layer.kind != "add":
        return "it computes add layers"
    return "" if factors(layer, specs) else "no factors of its own round every sum as the layer's do"


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    found = factors(layer, specs)
    assert found is not None
    fields = dict(zip(("factor1", "factor2", "start"), found, strict=True))
    params = calls.params("nn_dsp_add_params", **fields, activation=calls.activation(layer))
    return KernelCall("nn_add_dsp", (params, *calls.add_args(layer, specs)[1:]), tables={}, in_place=0)


def factors(layer: QLayer, specs: Sequence[TensorSpec]) -> tuple[int, int, int] | None:
    """(factor1, factor2, start) of nn_dsp_add_params that give the specification's output for every pair of inputs;
    None when there are none near the quotients of the scales."""
    x, y = np.meshgrid(*(np.arange(s.quantization.qmin, s.quantization.qmax + 1) for s in specs), indexing="ij")
    outputs = registry.load("layers", "add").reference(layer, specs, (x, y)).astype(np.int64)
    unit = 2.0 ** (FRACTION + 8 + arith.ADD_LEFT_SHIFT) * rescale.factor(layer, "output")
    for tilt in TILTS:
        first, second = (round((1 + tilt) * unit * rescale.factor(layer, name)) for name in ("input1", "input2"))
        start = _start(outputs, (first * x >> 8) + (second * y >> 8), layer.params["activation"])
        if start is not None and max(first, second) <= arith.INT32_MAX:
            return first, second, start
    return None


def _start(outputs: Integers, sums: Integers, limits: tuple[int, int]) -> int | None:
    """What added to all sums leaves the outputs above FRACTION bits, but for those that the limits cut off, within 32
    bits; None when nothing does."""
    low, high = limits
    least, most = (outputs << FRACTION) - sums, ((outputs + 1) << FRACTION) - 1 - sums
    first = int(least[outputs > low].max(initial=arith.INT32_MIN - min(0, int(sums.min()))))
    last = int(most[outputs < high].min(initial=arith.INT32_MAX - max(0, int(sums.max()))))
    return (first + last) // 2 if first <= last else None
