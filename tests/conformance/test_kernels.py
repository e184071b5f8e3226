"""Portable C kernels = NumPy specification, over random shapes, strides, paddings, zero points and scales."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.nouns import QLayer, QModel, Quantization, TensorSpec, TrainedModel
from pipeline.network import arith, twin
from pipeline.stages import lower
from tests.support import tiny

CASES = 80


def check(builder: tiny.Builder, channels: int) -> None:
    classes = tuple(map(str, range(channels)))
    model = lower.lower(TrainedModel("case", builder.input, classes, tuple(builder.layers), {}))
    x = tiny.samples(model, 3)
    for layer, c, numpy in zip(model.layers, twin.trace(model, x), twin.specification(model, x), strict=True):
        assert np.array_equal(c, numpy), f"{layer.name}: {np.argwhere(c != numpy)[0]}"


@st.composite
def output(draw: st.DrawFn) -> dict[str, object]:
    function = draw(st.sampled_from(["relu", "linear"]))
    bits = draw(st.sampled_from([2, 3, 4, 8, 8]))
    zero_point = draw(st.integers(-(1 << (bits - 1)), (1 << (bits - 1)) - 1))
    return {"function": function, "scale": 2.0 ** draw(st.integers(-9, 0)), "zero_point": zero_point, "bits": bits}


@given(st.data())
@settings(max_examples=CASES)
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_conv2d(bits: int, data: st.DataObject) -> None:
    draw = data.draw
    h, w, c = draw(st.integers(3, 9)), draw(st.integers(3, 9)), draw(st.integers(1, 9))
    b = tiny.Builder((h, w, c), draw(st.integers(0, 999)))
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    padding = "same" if max(kernel) > min(h, w) else draw(st.sampled_from(["same", "valid"]))
    strides = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    shape = (*kernel, c, draw(st.integers(1, 9)))
    b.weighted("conv", "conv2d", "input", shape, bits, strides, padding)
    b.add("out", "activation", ["conv"], draw(output()))
    check(b, shape[-1])


@given(st.data())
@settings(max_examples=CASES)
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_depthwise_conv2d(bits: int, data: st.DataObject) -> None:
    draw = data.draw
    h, w, c = draw(st.integers(3, 9)), draw(st.integers(3, 9)), draw(st.integers(1, 9))
    b = tiny.Builder((h, w, c), draw(st.integers(0, 999)))
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    multiplier = draw(st.integers(1, 3))
    strides = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    padding = draw(st.sampled_from(["same", "valid"]))
    b.weighted("dw", "depthwise_conv2d", "input", (*kernel, c, multiplier), bits, strides, padding)
    b.add("out", "activation", ["dw"], draw(output()))
    check(b, c * multiplier)


@given(st.data())
@settings(max_examples=CASES)
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_dense(bits: int, data: st.DataObject) -> None:
    draw = data.draw
    features, units = draw(st.integers(1, 300)), draw(st.integers(1, 20))
    b = tiny.Builder((features,), draw(st.integers(0, 999)))
    b.weighted("dense", "dense", "input", (features, units), bits)
    b.add("out", "activation", ["dense"], draw(output()))
    check(b, units)


@given(st.data())
@settings(max_examples=CASES)
@pytest.mark.parametrize("kind", ["max_pool2d", "average_pool2d"])
def test_pooling(kind: str, data: st.DataObject) -> None:
    draw = data.draw
    h, w, c = draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(1, 5))
    b = tiny.Builder((h, w, c), 0)
    pool = (draw(st.integers(1, h)), draw(st.integers(1, w)))
    config = {
        "pool": pool,
        "strides": (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        "padding": draw(st.sampled_from(["same", "valid"])),
    }
    b.add("pool", kind, ["input"], config)
    check(b, c)


def test_a_mean_of_more_elements_than_float32_sums_exactly() -> None:
    shape, quantization = (400, 400, 1), Quantization(1 / 255, -128)
    params = {"pool": shape[:2], "stride": (1, 1), "padding": (0, 0), "activation": (-128, 127)}
    layer = QLayer("mean", "average_pool2d", (0,), TensorSpec((1, 1, 1), quantization), params)
    model = QModel("case", TensorSpec(shape, quantization), ("a",), (layer,))
    x = np.random.default_rng(0).integers(100, 128, (8, *shape)).astype(np.int8)
    assert np.array_equal(twin.run(model, x), twin.specification(model, x)[-1])
    assert np.array_equal(twin.trace(model, x)[-1], twin.specification(model, x)[-1])


@given(st.data())
@settings(max_examples=CASES)
def test_add_of_two_scales(data: st.DataObject) -> None:
    draw = data.draw
    c = draw(st.integers(1, 6))
    b = tiny.Builder((4, 4, c), draw(st.integers(0, 999)))
    left = b.activation(b.weighted("left", "conv2d", "input", (1, 1, c, c)), draw(output()))
    right = b.activation(b.weighted("right", "conv2d", "input", (1, 1, c, c)), draw(output()))
    b.activation(b.add("sum", "add", [left, right]), draw(output()))
    check(b, c)


@given(st.data())
@settings(max_examples=CASES)
def test_concatenate_of_two_scales(data: st.DataObject) -> None:
    draw = data.draw
    c, d = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    b = tiny.Builder((4, 4, c), draw(st.integers(0, 999)))
    left = b.activation(b.weighted("left", "conv2d", "input", (1, 1, c, c)), draw(output()))
    right = b.activation(b.weighted("right", "conv2d", "input", (1, 1, c, d)), draw(output()))
    b.activation(b.add("side", "concatenate", [left, right]), draw(output()))
    check(b, c + d)


def check_layer(shape: tuple[int, ...], zero_point: int, output: TensorSpec, kind: str, **params: object) -> None:
    layer = QLayer("layer", kind, (0,), output, params)
    model = QModel("case", TensorSpec(shape, Quantization(0.1, zero_point)), ("a",), (layer,))
    x = tiny.samples(model, 3)
    assert np.array_equal(twin.trace(model, x)[0], twin.specification(model, x)[0])


@given(st.data())
@settings(max_examples=CASES)
def test_mean_to_another_scale(data: st.DataObject) -> None:
    draw = data.draw
    h, w, c = draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(1, 9))
    real = draw(st.floats(0.25, 16.0))
    multiplier, shift = arith.divide_multiplier(*arith.quantize_multiplier(real), h * w)
    low, high = sorted((draw(st.integers(-128, 127)), draw(st.integers(-128, 127))))
    output = TensorSpec((c,), Quantization(0.1 / real, draw(st.integers(-128, 127))))
    params = {"multiplier": multiplier, "shift": shift, "activation": (low, high)}
    check_layer((h, w, c), draw(st.integers(-128, 127)), output, "mean2d", **params)


@given(st.data())
@settings(max_examples=CASES)
def test_padding(data: st.DataObject) -> None:
    draw = data.draw
    h, w, c = draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(1, 9))
    before, after = ((draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(2))
    zero_point = draw(st.integers(-128, 127))
    shape = h + before[0] + after[0], w + before[1] + after[1], c
    output = TensorSpec(shape, Quantization(0.1, zero_point))
    check_layer((h, w, c), zero_point, output, "pad2d", before=before, after=after)


def test_every_layer_kind_in_one_network() -> None:
    model = tiny.qmodel()
    x = tiny.samples(model, 20)
    for layer, c, numpy in zip(model.layers, twin.trace(model, x), twin.specification(model, x), strict=True):
        assert np.array_equal(c, numpy), layer.name
        assert len(np.unique(c)) > 4, f"{layer.name} is nearly constant: the test would prove nothing"
    assert np.array_equal(twin.run(model, x), twin.trace(model, x)[-1])
