"""Python and C have one integer arithmetic: every function of nn_arith.h equals pipeline.network.arith, bit for bit."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core import shell
from pipeline.network import arith

NN = Path(__file__).resolve().parents[2] / "firmware" / "nn"
HARNESS = """
#include "nn_arith.h"
void requantize(int n, const int32_t *a, const int32_t *m, const int32_t *s, int32_t *o) {
    for (int i = 0; i < n; i++) o[i] = nn_requantize(a[i], m[i], s[i]);
}
void high(int n, const int32_t *a, const int32_t *m, int32_t *o) {
    for (int i = 0; i < n; i++) o[i] = nn_doubling_high_multiply(a[i], m[i]);
}
void halves(int n, const int32_t *a, const int32_t *m, int32_t *o) {
    for (int i = 0; i < n; i++) o[i] = nn_doubling_high_multiply_by_halves(a[i], m[i]);
}
void rounded(int n, const int32_t *a, const int32_t *m, int32_t *o) {
    for (int i = 0; i < n; i++) o[i] = nn_rounded_high_multiply_by_halves(a[i], m[i]);
}
void shift(int n, const int32_t *a, const int32_t *e, int32_t *o) {
    for (int i = 0; i < n; i++) o[i] = nn_rounding_right_shift(a[i], e[i]);
}
void bytes(int n, const int32_t *a, const int32_t *e, int32_t *o) {
    for (int i = 0; i < n; i++) o[i] = nn_rounding_right_shift_by_bytes(a[i], e[i]);
}
void mean(int n, const int32_t *a, const int32_t *c, int32_t *o) {
    for (int i = 0; i < n; i++) o[i] = nn_rounded_mean(a[i], c[i]);
}
"""
EDGES = np.array([0, 1, -1, 2, -2, 3, (1 << 30) - 1, 1 << 30, (1 << 31) - 1, -(1 << 31) + 1, -(1 << 31)], np.int32)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("arith")
    (folder / "harness.c").write_text(HARNESS)
    flags = ["-std=c11", "-O2", "-fPIC", "-shared", "-Wall", "-Wextra", "-Wconversion", "-Werror", f"-I{NN}"]
    undefined = ["-fsanitize=undefined", "-fno-sanitize-recover=undefined"]
    shell.run(["gcc", *flags, *undefined, "-o", folder / "arith.so", folder / "harness.c"])
    return ctypes.CDLL(str(folder / "arith.so"))


def call(function, *arrays: np.ndarray) -> np.ndarray:
    out = np.empty(len(arrays[0]), np.int32)
    arrays = [np.ascontiguousarray(a, np.int32) for a in arrays]
    function(len(out), *(a.ctypes.data_as(ctypes.c_void_p) for a in (*arrays, out)))
    return out


def vectors(seed: int, n: int = 200_000) -> tuple[np.ndarray, np.random.Generator]:
    random = np.random.default_rng(seed)
    magnitudes = random.integers(0, 1 << 31, n) >> random.integers(0, 31, n)
    values = (magnitudes * random.choice([-1, 1], n)).astype(np.int32)
    values[: len(EDGES)] = EDGES
    return values, random


def test_doubling_high_multiply(library: ctypes.CDLL) -> None:
    a, random = vectors(1)
    b = random.integers(0, 1 << 31, len(a)).astype(np.int32)
    a, b = np.append(a, np.repeat(EDGES, len(EDGES))), np.append(b, np.tile(EDGES, len(EDGES)))
    a, b = a[b > arith.INT32_MIN], b[b > arith.INT32_MIN]
    assert np.array_equal(call(library.high, a, b), arith.doubling_high_multiply(a, b))
    assert np.array_equal(call(library.halves, a, b), arith.doubling_high_multiply(a, b))


def test_rounded_high_multiply(library: ctypes.CDLL) -> None:
    """Of all numbers, and factors that are not negative."""
    a, random = vectors(4)
    b = random.integers(0, 1 << 31, len(a)).astype(np.int32)
    a, b = np.append(a, np.repeat(EDGES, len(EDGES))), np.append(b, np.tile(EDGES, len(EDGES)))
    a, b = a[b >= 0], b[b >= 0]
    product = a.astype(np.int64) * b
    assert np.array_equal(call(library.rounded, a, b), (product + (1 << 31)) >> 32)


def test_rounding_right_shift(library: ctypes.CDLL) -> None:
    a, random = vectors(2)
    exponent = random.integers(0, 32, len(a)).astype(np.int32)
    exponent[:40] = np.repeat([0, 31], 20)
    assert np.array_equal(call(library.shift, a, exponent), arith.rounding_right_shift(a, exponent))
    assert np.array_equal(call(library.bytes, a, exponent), arith.rounding_right_shift(a, exponent))


def test_requantize_over_the_whole_legal_range(library: ctypes.CDLL) -> None:
    a, random = vectors(3)
    shift = random.integers(-31, 31, len(a)).astype(np.int32)
    multiplier = random.integers(0, 1 << 31, len(a)).astype(np.int32)
    multiplier[:100:2], multiplier[1:100:2] = 0, (1 << 31) - 1
    a = np.where(arith.requantization_is_safe(np.abs(a.astype(np.int64)), shift), a, 0).astype(np.int32)
    assert np.array_equal(call(library.requantize, a, multiplier, shift), arith.requantize(a, multiplier, shift))


def test_rounded_mean(library: ctypes.CDLL) -> None:
    a, random = vectors(4)
    a = (a >> 8).astype(np.int32)
    count = random.integers(1, 5000, len(a)).astype(np.int32)
    assert np.array_equal(call(library.mean, a, count), arith.rounded_mean(a, count))


@given(st.floats(2.0**-33, 2.0**29, allow_nan=False))
@settings(max_examples=500)
def test_quantize_multiplier_is_normalized_and_close(real: float) -> None:
    multiplier, shift = arith.quantize_multiplier(real)
    if multiplier == 0:
        assert real < 2.0**-32
        return
    assert 1 << 30 <= multiplier < 1 << 31
    assert abs(multiplier * 2.0 ** (shift - 31) / real - 1) <= 2.0**-30


@pytest.mark.parametrize("real", [-1.0, float("nan"), float("inf"), 2.0**31])
def test_quantize_multiplier_refuses(real: float) -> None:
    with pytest.raises(ValueError, match="multiplier"):
        arith.quantize_multiplier(real)


def test_requantize_against_exact_fractions() -> None:
    """Double rounding stays within one unit of the exact product."""
    a, random = vectors(5, 20_000)
    multiplier = random.integers(1 << 30, 1 << 31, len(a))
    shift = random.integers(-20, 1, len(a))
    exact = a.astype(np.longdouble) * multiplier * np.longdouble(2) ** (shift - 31)
    assert np.abs(arith.requantize(a, multiplier, shift) - exact).max() <= 1.0
