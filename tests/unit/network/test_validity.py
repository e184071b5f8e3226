"""validity: a network with any one wrong number is refused, by the name of the layer, before a kernel sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.core import store
from pipeline.core.nouns import QLayer, QModel, Quantization, TensorSpec
from pipeline.network import arith, twin, validity
from pipeline.workflow import zoo
from tests.support import networks, tiny


def changed(name: str, **values: Any) -> QModel:
    """The tiny network, fields of one layer replaced; a function takes the old value."""
    model = tiny.qmodel()
    layers = [
        replace(layer, **{k: v(getattr(layer, k)) if callable(v) else v for k, v in values.items()})
        if layer.name == name
        else layer
        for layer in model.layers
    ]
    assert name in {layer.name for layer in layers}
    return replace(model, layers=tuple(layers))


def params(**new: Any) -> Callable[[Any], Any]:
    return lambda old: {**old, **new}


def output(**new: Any) -> Callable[[Any], Any]:
    return lambda old: replace(old, quantization=replace(old.quantization, **new))


def shape(*new: int) -> Callable[[Any], Any]:
    return lambda old: replace(old, shape=new)


def filled(value: int) -> Callable[[Any], Any]:
    return lambda old: np.full_like(old, value)


WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    "a later tensor": ("stem", {"inputs": (1,)}),
    "a negative tensor": ("main", {"inputs": (-1,)}),
    "no tensor": ("main", {"inputs": ()}),
    "one input for two": ("both", {"inputs": (1,)}),
    "an unknown kind": ("main", {"kind": "conv3d"}),
    "a scale of nan": ("stem", {"output": output(scale=float("nan"))}),
    "an infinite scale": ("stem", {"output": output(scale=float("inf"))}),
    "a scale of 0": ("stem", {"output": output(scale=0.0)}),
    "a negative scale": ("stem", {"output": output(scale=-1.0)}),
    "a zero point above int8": ("stem", {"output": output(zero_point=128)}),
    "a zero point below int8": ("stem", {"output": output(zero_point=-129)}),
    "9 bits": ("stem", {"output": output(bits=9)}),
    "no bits": ("stem", {"output": output(bits=0)}),
    "an empty output": ("stem", {"output": shape(8, 0, 6)}),
    "a huge output": ("stem", {"output": shape(1 << 20, 1 << 20, 6)}),
    "a channel less": ("stem", {"output": shape(8, 8, 5)}),
    "more rows than there are": ("pooled", {"output": shape(9, 4, 6)}),
    "another vector": ("flat", {"output": shape(35)}),
    "a shift of 31": ("stem", {"shift": filled(31)}),
    "a shift of -32": ("stem", {"shift": filled(-32)}),
    "a shift out of 32 bits": ("stem", {"shift": filled(30)}),
    "a negative multiplier": ("stem", {"multiplier": filled(-1)}),
    "a bias out of 32 bits": ("stem", {"bias": filled(np.iinfo(np.int32).max)}),
    "a bias for one channel": ("stem", {"bias": lambda old: old[:1]}),
    "a multiplier more": ("stem", {"multiplier": lambda old: np.append(old, old[:1])}),
    "no bias": ("stem", {"bias": None}),
    "no shift": ("stem", {"shift": None}),
    "no weights": ("stem", {"weights": None}),
    "weights as floats": ("stem", {"weights": lambda old: old.astype(np.float32)}),
    "a bias of 64 bits": ("stem", {"bias": lambda old: old.astype(np.int64)}),
    "one input channel for six": ("main", {"weights": lambda old: old[..., :1]}),
    "one feature for 36": ("logits", {"weights": lambda old: old[:, :1]}),
    "a filter less": ("main", {"weights": lambda old: old[:-1]}),
    "depthwise channels that do not divide": ("dw", {"weights": lambda old: old[..., :4], "output": shape(8, 8, 4)}),
    "a weight out of its bits": ("main", {"weights": filled(2)}),
    "5-bit weights": ("main", {"weight_bits": 5}),
    "a stride of 0": ("pw", {"params": params(stride=(0, 2))}),
    "a negative stride": ("pw", {"params": params(stride=(-2, 2))}),
    "a negative padding": ("stem", {"params": params(padding=(-1, 1))}),
    "a padding of the whole window": ("stem", {"params": params(padding=(3, 1))}),
    "a huge pool": ("pooled", {"params": params(pool=(1 << 40, 2))}),
    "a pool of 0": ("pooled", {"params": params(pool=(0, 2))}),
    "one number for two": ("pooled", {"params": params(pool=2)}),
    "a clamp the wrong way round": ("stem", {"params": params(activation=(5, 4))}),
    "a clamp beyond int8": ("stem", {"params": params(activation=(-129, 127))}),
    "no clamp": ("stem", {"params": lambda old: {k: v for k, v in old.items() if k != "activation"}}),
    "no multiplier of an add": ("both", {"params": lambda old: {k: v for k, v in old.items() if k != "input1_mult"}}),
    "a multiplier of an add": ("both", {"params": params(input2_mult=-1)}),
    "a shift of an add": ("both", {"params": params(output_shift=-32)}),
    "an input of an add out of 32 bits": ("both", {"params": params(input1_shift=4)}),
    "a sum of an add out of 32 bits": ("both", {"params": params(output_shift=30)}),
}


def extreme(bias: int, zero_point: int) -> QModel:
    """One input, two logits: the bias plus and minus the input, requantized by the largest factor below 1."""
    arrays = {"weights": np.array([[1], [-1]], np.int8), "bias": np.array([bias, -bias], np.int32)}
    arrays |= {"multiplier": np.full(2, arith.INT32_MAX, np.int32), "shift": np.zeros(2, np.int8)}
    output = TensorSpec((2,), Quantization(1.0, zero_point))
    layer = QLayer("logits", "dense", (0,), output, {"activation": (-128, 127)}, weight_bits=2, **arrays)
    return QModel("extreme", TensorSpec((1,), Quantization(1.0, -128)), ("a", "b"), (layer,))


LARGEST_BIAS = arith.INT32_MAX - arith.MOST_ZERO_POINT - 255


@pytest.mark.parametrize("zero_point", [-128, 127])
def test_the_largest_accumulator_plus_a_zero_point_fits_32_bits(zero_point):
    model, x = extreme(LARGEST_BIAS, zero_point), np.array([[-128], [127]], np.int8)
    validity.require(model)
    expected = twin.specification(model, x)[-1]
    assert expected.tolist() == [[127, -128]] * 2
    assert np.array_equal(twin.trace(model, x)[-1], expected)
    assert np.array_equal(twin.run(model, x), expected)
    with pytest.raises(ValueError, match=r"layer 'logits', channel 0: shift 0: accumulators .* overflow 32 bits"):
        validity.require(extreme(LARGEST_BIAS + 1, zero_point))


MEAN: dict[str, dict[str, int]] = {
    "shift -32, it must be -31 to 30": {"shift": -32},
    "multiplier -1, it must be 0 to 2147483647": {"multiplier": -1},
    "shift 30: accumulators up to": {"shift": 30},
}


@pytest.mark.parametrize("message", MEAN)
def test_a_mean_out_of_range_is_refused(message):
    model = networks.imported(0)
    validity.require(model)
    layers = [
        replace(layer, params={**layer.params, **MEAN[message]}) if layer.kind == "mean2d" else layer
        for layer in model.layers
    ]
    with pytest.raises(ValueError, match=f"layer 'mean': {message}"):
        validity.require(replace(model, layers=tuple(layers)))


@pytest.mark.parametrize("what", WRONG)
def test_one_wrong_value_is_refused(what):
    name, values = WRONG[what]
    network = changed(name, **values)
    with pytest.raises(Exception) as caught:  # checks.check_layers makes a ConfigError of whatever it is
        validity.require(network)
    assert not isinstance(caught.value, MemoryError)


@pytest.mark.parametrize(
    "what", ["a shift of 31", "a negative multiplier", "a scale of nan", "a zero point above int8"]
)
def test_the_layer_and_the_value_are_named(what):
    name, values = WRONG[what]
    with pytest.raises(ValueError, match=r"layer 'stem'.*(31|-1|nan|128), it must be"):
        validity.require(changed(name, **values))


LIMITS: dict[str, tuple[str, dict[str, Any]]] = {
    "2 bits": ("stem", {"output": output(bits=2)}),
    "8 bits": ("stem", {"output": output(bits=8)}),
    "the lowest zero point": ("stem", {"output": output(zero_point=-128)}),
    "the highest zero point": ("stem", {"output": output(zero_point=127)}),
    "a multiplier of 0": ("stem", {"multiplier": filled(0)}),
    "the largest multiplier": ("stem", {"multiplier": filled(np.iinfo(np.int32).max)}),
    "a shift of -31": ("stem", {"shift": filled(-31)}),
    "the whole range as a clamp": ("stem", {"params": params(activation=(-128, 127))}),
    "a clamp of one value": ("stem", {"params": params(activation=(5, 5))}),
}


@pytest.mark.parametrize("what", LIMITS)
def test_a_value_at_its_limit_passes(what):
    name, values = LIMITS[what]
    validity.require(changed(name, **values))


@pytest.mark.parametrize("shape_beyond", [(4096, 4097, 1), ((1 << 24) + 1,)])
def test_a_tensor_larger_than_any_microcontroller_holds_is_refused_for_its_size(shape_beyond):
    with pytest.raises(ValueError, match=r"layer 'stem': shape \(\d+,"):
        validity.require(changed("stem", output=shape(*shape_beyond)))


def test_the_largest_tensor_is_not_refused_for_its_size():
    with pytest.raises(ValueError, match="layer 'stem': window 3, stride 1, padding 1 on 8 elements give no 4096"):
        validity.require(changed("stem", output=shape(4096, 4096, 1)))


@pytest.mark.parametrize("zero_point", [-128, 127])
def test_an_input_is_bounded_by_its_distance_from_either_end(zero_point):
    """A zero point at one end leaves 255 steps to the other: 54 weights of 1 times 255, by 2^18, overflow."""
    weights = {"weights": filled(1), "bias": filled(0), "multiplier": filled(1 << 30)}
    layers = {layer.name: layer for layer in changed("main", **weights, shift=filled(18)).layers}
    moved = changed("stem", output=output(zero_point=zero_point))
    network = replace(moved, layers=tuple(layers["main"] if layer.name == "main" else layer for layer in moved.layers))
    with pytest.raises(ValueError, match="layer 'main', channel 0: shift 18: accumulators up to 13770 overflow"):
        validity.require(network)


def test_the_number_of_classes_is_that_of_the_outputs():
    with pytest.raises(ValueError, match="10 outputs, 2 classes"):
        validity.require(replace(tiny.qmodel(), classes=("a", "b")))


@pytest.mark.parametrize("seed", range(5))
def test_lowered_networks_pass(seed):
    validity.require(tiny.qmodel(seed))


@pytest.mark.parametrize("name", zoo.names())
def test_networks_of_the_zoo_pass(name):
    validity.require(store.load(zoo.shelf() / name, QModel))
