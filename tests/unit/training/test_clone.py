"""models/clone: a network of someone else's with our quantized layers, by name and with its weights."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config.job import ModelConfig, TrainConfig
from pipeline.core.errors import ConfigError, UnsupportedError
from pipeline.core.nouns import Quantization, TensorSpec
from pipeline.training import blocks, initial
from pipeline.training.keras_backend import keras, to_numpy
from pipeline.training.models import clone
from pipeline.training.quantizers import StochasticTernary, SymmetricInteger, Unquantized
from tests.unit.training.test_keras_file import float_network, qkeras_network
from tests.unit.training.test_keras_reader import randomize

L = keras.layers
INPUT = TensorSpec((8, 8, 1), Quantization(1 / 255, -128))
RECIPE = TrainConfig(epochs=1)


def made(model: Any, folder: Path, **config: Any) -> Any:
    model.save(folder / "net.keras")
    return clone.build(INPUT, 10, ModelConfig(file=str(folder / "net.keras"), **config), RECIPE)


def samples() -> Any:
    return np.random.default_rng(0).random((4, 8, 8, 1)).astype(np.float32)


def test_at_full_precision_it_computes_what_the_file_does(tmp_path: Path) -> None:
    original = float_network()
    built = made(original, tmp_path, weight_bits=32, input_range=(0, 255))
    shares = to_numpy(keras.ops.softmax(built(samples())))
    np.testing.assert_allclose(shares, to_numpy(original(samples() * 255)), atol=1e-4)
    names = {re.sub(r"_\d+", "", layer.name) for layer in built.layers}
    assert {"units", "conv2d", "conv2d_activation"} <= names
    config = ModelConfig(file=str(tmp_path / "net.keras"), input_range=(0, 255))
    teacher = initial.teacher(built, config, TrainConfig(epochs=1, distill="original"), INPUT)
    np.testing.assert_allclose(to_numpy(teacher(samples())), to_numpy(built(samples())), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("make", [float_network, qkeras_network])
def test_weights_are_kept_and_kernels_quantized(tmp_path: Path, make: Any) -> None:
    original = make()
    layers = {layer.name: layer for layer in blocks.nested_layers(original)}
    heavy = blocks.weighted(built := made(original, tmp_path, first_layer_bits=8, layer_bits={}))
    kinds = [type(layer.get_quantizers()[0]) for layer in heavy]
    assert kinds[0] is SymmetricInteger and set(kinds[1:]) == {StochasticTernary}
    for layer in heavy:
        for ours, theirs in zip(layer.weights, layers[layer.name].weights, strict=False):
            np.testing.assert_array_equal(to_numpy(ours), to_numpy(theirs))
    assert built.output_shape == (None, 10)


def test_the_last_layer_has_its_own_bits_and_names_count_above_all(tmp_path: Path) -> None:
    built = made(float_network(), tmp_path, last_layer_bits=4)
    assert [layer.get_quantizers()[0].bits for layer in blocks.weighted(built)] == [2, 2, 4]
    name = blocks.weighted(built)[1].name
    again = made(float_network(), tmp_path, layer_bits={name: 32})
    other = [layer.get_quantizers()[0] for layer in blocks.weighted(again) if layer.name == name]
    assert all(type(quantizer) is Unquantized for quantizer in other)


def test_a_layer_that_is_called_twice_stays_one(tmp_path: Path) -> None:
    inputs, shared = keras.Input((8, 8, 1)), L.Conv2D(1, 3, padding="same", activation="relu")
    model = keras.Model(inputs, L.Dense(10)(L.Flatten()(shared(shared(inputs)))))
    randomize(model, 3)
    built = made(model, tmp_path, weight_bits=32)
    assert len(blocks.weighted(built)) == 2
    np.testing.assert_allclose(to_numpy(built(samples())), to_numpy(model(samples())), atol=1e-5)


def test_an_offset_that_is_no_lattice_point_moves_by_half_a_step(tmp_path: Path) -> None:
    built = made(float_network(), tmp_path, input_range=(-1, 1))
    first = next(layer for layer in built.layers if isinstance(layer, L.Rescaling))
    assert first.scale == pytest.approx(2.0)
    assert first.offset == pytest.approx(-1.0, abs=1.001 / 255) and first.offset != -1.0
    assert first.offset * 255 / 2 == pytest.approx(round(first.offset * 255 / 2))


def test_what_no_layer_computes_is_named_with_its_file(tmp_path: Path) -> None:
    inputs = keras.Input((8, 8, 1))
    x = L.Conv2D(4, 3, dilation_rate=2, name="wide")(inputs)
    model = keras.Model(inputs, L.Dense(10)(L.Flatten()(x)))
    with pytest.raises(UnsupportedError, match=r"net\.keras: layer 'wide': Conv2D\(dilation_rate=\(2, 2\)\)") as caught:
        made(model, tmp_path)
    assert caught.value.hint
    with pytest.raises(UnsupportedError, match=r"net\.keras: takes \(4,\) and answers"):
        made(keras.Sequential([keras.Input((4,)), L.Dense(10)]), tmp_path)
    with pytest.raises(ConfigError, match=r"model\.file: .*none\.keras: no such file"):
        clone.build(INPUT, 10, ModelConfig(file=str(tmp_path / "none.keras")), RECIPE)


def test_rescaling_in_the_file_is_done_with_the_units_in_one_layer(tmp_path: Path) -> None:
    """Pixels / 127.5 - 1, as MobileNets take them: zero is no lattice point, half a step beside it is one."""
    layers = [keras.Input((8, 8, 1)), L.Rescaling(1 / 127.5, -1), L.Conv2D(6, 3, padding="same"), L.Flatten()]
    model = keras.Sequential([*layers, L.Dense(10)])
    built = made(model, tmp_path, weight_bits=32, input_range=(0, 255))
    (units,) = (layer for layer in built.layers if isinstance(layer, L.Rescaling))
    assert units.scale == pytest.approx(2) and units.offset == pytest.approx(-128 / 127.5)
    moved = 255 * samples() - 0.5
    np.testing.assert_allclose(to_numpy(built(samples())), to_numpy(model(moved)), atol=0.02)
