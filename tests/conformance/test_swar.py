"""SWAR kernels = NumPy specification on this machine, which runs the same C; tests/emulated runs it on the cores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.codegen.kernels import (
    concatenate_swar,
    conv2d_s_swar,
    conv2d_t2_swar,
    dense_s_swar,
    dense_t2_swar,
    depthwise_conv2d_s_swar,
    depthwise_conv2d_t2_swar,
)
from pipeline.core.nouns import QLayer, QModel, Quantization, TensorSpec
from pipeline.network import rescale, twin
from tests.support import single
from tests.support.single import Geometry

CASES = 300


def check(family, geometry: Geometry, seed: int, density: float, extreme: bool, bits: int = 2) -> None:
    random = np.random.default_rng(seed)
    layer = single.layer(geometry, random, density, extreme, bits=bits)
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


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (1, 3)])
def test_a_depthwise_layer_of_one_row_is_computed_as_one_column(stride: tuple[int, int], padding: str) -> None:
    geometry = Geometry("depthwise_conv2d", (1, 37, 5), 10, (1, 4), stride, padding)
    check(depthwise_conv2d_t2_swar, geometry, 3, 0.5, False)
    layer = single.layer(geometry, np.random.default_rng(3))
    call = depthwise_conv2d_t2_swar.call(layer, [TensorSpec(geometry.shape, Quantization(1.0, 0))])
    sizes = [arg.fields for arg in call.args if arg.kind == "dims"]
    assert [(size["h"], size["w"]) for size in sizes] == [(37, 1), (4, 1), (layer.output.shape[1], 1)]


WIDER = st.sampled_from([8, 4, 3])


@given(convolutions(), st.integers(0, 9999), st.sampled_from([0.0, 0.5, 1.0]), st.booleans(), WIDER)
@settings(max_examples=CASES // 2)
def test_conv2d_of_more_bits(geometry: Geometry, seed: int, density: float, extreme: bool, bits: int) -> None:
    check(conv2d_s_swar, geometry, seed, density, extreme, bits)


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


@given(depthwise(), st.integers(0, 9999), st.sampled_from([0.0, 0.5, 1.0]), st.booleans(), WIDER)
@settings(max_examples=CASES // 3)
def test_depthwise_conv2d_of_more_bits(geometry: Geometry, seed: int, density: float, extreme: bool, bits: int) -> None:
    check(depthwise_conv2d_s_swar, geometry, seed, density, extreme, bits)


def test_depthwise_conv2d_whose_sums_fill_the_fields() -> None:
    for seed in range(8):
        check(depthwise_conv2d_t2_swar, Geometry("depthwise_conv2d", (16, 17, 2), 2, (15, 17)), seed, 1.0, False)


@given(st.integers(1, 600), st.integers(1, 20), st.integers(0, 9999), st.sampled_from([0.0, 0.5, 1.0]), st.booleans())
@settings(max_examples=CASES)
def test_dense(features: int, units: int, seed: int, density: float, extreme: bool) -> None:
    check(dense_t2_swar, Geometry("dense", (1, 1, features), units), seed, density, extreme)


@given(st.integers(1, 300), st.integers(1, 20), st.integers(0, 9999), st.sampled_from([0.0, 0.5, 1.0]), WIDER)
@settings(max_examples=CASES // 3)
def test_dense_of_more_bits(features: int, units: int, seed: int, density: float, bits: int) -> None:
    check(dense_s_swar, Geometry("dense", (1, 1, features), units), seed, density, bool(seed % 2), bits)


@given(st.integers(0, 9999), st.integers(1, 9), st.tuples(st.integers(-3, 3), st.integers(-3, 3)))
@settings(max_examples=CASES // 10)
def test_concatenate(seed: int, channels: int, scales: tuple[int, int]) -> None:
    """Every value of both inputs, to scales, zero points and limits of any kind."""
    random = np.random.default_rng(seed)
    quantization = Quantization(1.0, single.zero_point(random))
    shape = (16, 36, channels)
    output = Quantization(float(np.exp2(scales[0] / 2)), single.zero_point(random))
    params = rescale.concatenate_params(quantization, Quantization(float(np.exp2(scales[1])), 0), output)
    low, high = sorted(random.integers(-128, 128, 2).tolist())
    spec = TensorSpec((*shape[:2], 2 * channels), output)
    layer = QLayer("side", "concatenate", (0, 0), spec, {**params, "activation": (low, high)})
    model = QModel("layers", TensorSpec(shape, quantization), ("a",), (layer,))
    assert concatenate_swar.serves(layer, model.input_specs(layer)) == ""
    x = np.resize(np.arange(-128, 128), (1, *shape)).astype(np.int8)
    got = twin.trace(model, x, concatenate_swar.call)[0]
    assert np.array_equal(got, twin.specification(model, x)[0])


def test_a_small_concatenation_is_not_worth_tables() -> None:
    spec = TensorSpec((1, 1, 4), Quantization(1.0, 0))
    params = rescale.concatenate_params(spec.quantization, spec.quantization, spec.quantization)
    output = TensorSpec((1, 1, 8), spec.quantization)
    layer = QLayer("side", "concatenate", (0, 0), output, {**params, "activation": (-128, 127)})
    assert concatenate_swar.serves(layer, [spec, spec]) == "its tables pay from 1024 elements on, not at 8"
