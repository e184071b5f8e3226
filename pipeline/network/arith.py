"""The integer semantics, once for Python. firmware/nn/nn_arith.h is the same thing in C; docs/ARITHMETIC.md is the law.

Everything works element-wise on NumPy integer arrays (any shape, broadcast) in int64 and returns int64 unless it says
otherwise. No other Python file of the project rounds, shifts or saturates.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[Any]

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
ADD_LEFT_SHIFT = 20
"""Head room both inputs of `add` get before their rescale (TensorFlow Lite reference, int8)."""
MOST_ZERO_POINT = 128
"""Largest magnitude of an int8 zero point, which is added to what is requantized."""


def quantize_multiplier(real: float) -> tuple[int, int]:
    """(multiplier, shift) with real ~ multiplier * 2^(shift - 31), multiplier in [2^30, 2^31) or 0 for real = 0.

    The normalization of TensorFlow Lite's QuantizeMultiplier. real must be finite and >= 0 and shift end in [-31, 30],
    else ValueError; a real below 2^-32 becomes (0, 0), as there.
    """
    if not math.isfinite(real) or real < 0:
        raise ValueError(f"multiplier {real!r} is not a finite non-negative number")
    if real == 0:
        return 0, 0
    mantissa, shift = math.frexp(real)
    multiplier = math.floor(mantissa * (1 << 31) + 0.5)
    if multiplier == 1 << 31:
        multiplier, shift = 1 << 30, shift + 1
    if shift < -31:
        return 0, 0
    if shift > 30:
        raise ValueError(f"multiplier {real!r} needs a left shift of {shift}, more than 30")
    return multiplier, shift


def divide_multiplier(multiplier: int, shift: int, count: int) -> tuple[int, int]:
    """(multiplier, shift) of a `count`-th of what (multiplier, shift) stand for, multiplier in [0, 2^31); count > 0.

    Truncated, as TensorFlow Lite's reference kernel of a mean (QuantizedMeanOrSum) does.
    """
    left = min(count.bit_length() - 1, 32, 31 + shift)
    return (multiplier << left) // count, shift - left


def doubling_high_multiply(a: Ints, b: Ints) -> Ints:
    """floor((a * b + 2^30) / 2^31): high word of the doubled product, rounded half up; a, b in int32, b > INT32_MIN."""
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    return np.asarray((product + (1 << 30)) >> 31)


def rounding_right_shift(x: Ints, exponent: Ints) -> Ints:
    """x / 2^exponent rounded to nearest, ties away from zero; exponent in [0, 31]."""
    x, exponent = np.asarray(x, np.int64), np.asarray(exponent, np.int64)
    mask = (np.int64(1) << exponent) - 1
    remainder = x & mask
    threshold = (mask >> 1) + (x < 0)
    return np.asarray((x >> exponent) + (remainder > threshold))


def requantize(acc: Ints, multiplier: Ints, shift: Ints) -> Ints:
    """acc * multiplier * 2^(shift - 31) in the one rounding variant of the project (double rounding, CMSIS-NN default).

    acc int32, multiplier in [0, 2^31), shift in [-31, 30]; acc * 2^max(shift, 0) and the result plus a zero point must
    fit int32: layers where they may not are refused (see `requantization_is_safe`).
    """
    shift = np.asarray(shift, np.int64)
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    return rounding_right_shift(doubling_high_multiply(np.asarray(acc, np.int64) << left, multiplier), right)


def factor(multiplier: Ints, shift: Ints) -> NDArray[np.float64]:
    """float64 multiplier * 2^(shift - 31), exact: the real factor that `requantize` multiplies by and rounds."""
    return np.ldexp(np.asarray(multiplier, np.float64), np.asarray(shift, np.int64) - 31)


def requantization_is_safe(acc_bound: Ints, shift: Ints) -> NDArray[np.bool_]:
    """True where |acc| <= acc_bound can be shifted left by max(shift, 0), requantized and moved by an int8 zero point
    without leaving int32."""
    left = np.maximum(np.asarray(shift, np.int64), 0)
    # A multiplier is below 1: what is requantized is no larger than what it is made of.
    return np.asarray((np.asarray(acc_bound, np.int64) << left) <= INT32_MAX - MOST_ZERO_POINT)


def clamp(x: Ints, low: int, high: int) -> Ints:
    """x limited to [low, high]."""
    return np.asarray(np.clip(x, low, high))


def rounded_mean(total: Ints, count: Ints) -> Ints:
    """total / count rounded to nearest, ties away from zero (C division truncates towards zero); count > 0."""
    total, count = np.asarray(total, np.int64), np.asarray(count, np.int64)
    half = count // 2
    magnitude = (np.abs(total) + half) // count
    return np.where(total >= 0, magnitude, -magnitude)
