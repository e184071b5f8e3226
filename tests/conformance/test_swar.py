"""SWAR kernels = NumPy specification on this machine, which runs the same C; tests/emulated runs it on the cores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.codegen.kernels import conv2d_t2_swar, dense_t2_swar, depthwise_conv2d_t2_swar
from pipeline.network import twin
from tests.support import single
from tests.support.single import Geometry

CASES = 300


def check(family, geometry: Geometry, seed: int, density: float, extreme: bool) -> None:
    random = np.random.default_rng(seed)
    layer = single.layer(geometry, random, density, extreme)
    model = single.model([layer], geometry.shape, single.zero_point(random))
    assert family.serves(layer, [model.input]) == ""
    x = single.inputs(model, random)
    got = twin.trace(model, x, family.call)[0]
    wanted = twin.specification(model, x)[0]
    assert np.array_equal(got, wanted), f"{geometry} {np.argwhere(got != wanted)[0]}"


@st.composite
def convolutions(draw: st.DrawFn) -> Geometry:
    shape = (draw(st.integers(1, 12)), draw(st.integers(1, 12)), draw(st.integers(1, 40)))
    kernel = (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    valid = kernel[0] <= shape[0] and kernel[1] <= shape[1]
    padding = draw(st.sampled_from(["same", "valid"])) if valid else "same"
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    return Geometry("conv2d", shape, draw(st.sampled_from([1, 2, 3, 4, 5, 8, 17, 70])), kernel, stride, padding)


@given(convolutions(), st.integers(0, 9999), st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.booleans())
@settings(max_examples=CASES)
def test_conv2d(geometry: Geometry, seed: int, density: float, extreme: bool) -> None:
    check(conv2d_t2_swar, geometry, seed, density, extreme)


@pytest.mark.parametrize("filter_width", [1, 3])
def test_conv2d_whose_sums_fill_many_fields(filter_width: int) -> None:
    """Weights all +1 or -1 against inputs all -128 or 127, through several flushes and passes."""
    for seed in range(8):
        geometry = Geometry("conv2d", (4, 4, 200), 66, (3, filter_width))
        check(conv2d_t2_swar, geometry, seed, 1.0, False)


@st.composite
def depthwise(draw: st.DrawFn) -> Geometry:
    shape = (draw(st.integers(1, 14)), draw(st.integers(1, 14)), draw(st.integers(1, 6)))
    kernel = (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    valid = kernel[0] <= shape[0] and kernel[1] <= shape[1]
    padding = draw(st.sampled_from(["same", "valid"])) if valid else "same"
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    return Geometry("depthwise_conv2d", shape, shape[2] * draw(st.integers(1, 3)), kernel, stride, padding)


@given(depthwise(), st.integers(0, 9999), st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.booleans())
@settings(max_examples=CASES)
def test_depthwise_conv2d(geometry: Geometry, seed: int, density: float, extreme: bool) -> None:
    check(depthwise_conv2d_t2_swar, geometry, seed, density, extreme)


def test_depthwise_conv2d_whose_sums_fill_the_fields() -> None:
    for seed in range(8):
        check(depthwise_conv2d_t2_swar, Geometry("depthwise_conv2d", (16, 17, 2), 2, (15, 17)), seed, 1.0, False)


@given(st.integers(1, 600), st.integers(1, 20), st.integers(0, 9999), st.sampled_from([0.0, 0.5, 1.0]), st.booleans())
@settings(max_examples=CASES)
def test_dense(features: int, units: int, seed: int, density: float, extreme: bool) -> None:
    check(dense_t2_swar, Geometry("dense", (1, 1, features), units), seed, density, extreme)
