"""keras_rows: networks over steps compute the same as networks of images of one row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipeline.core.errors import UnsupportedError
from pipeline.training import keras_forms, keras_graph, keras_reader, keras_rows
from pipeline.training.keras_backend import keras, qkeras, to_numpy
from tests.unit.training.test_keras_reader import check, randomize

L = keras.layers
STEPS = (24, 3)


def sequential(*layers: Any, shape: tuple[int | None, ...] = STEPS) -> Any:
    return keras.Sequential([keras.Input(shape), *layers])


def normalized() -> Any:
    layer = L.Normalization()
    layer.adapt(np.random.default_rng(1).normal(0.3, 0.7, (64, *STEPS)))
    return sequential(layer, L.Conv1D(4, 3, padding="same", activation="relu"), L.GlobalAveragePooling1D(), L.Dense(3))


def residual() -> Any:
    inputs, shared = keras.Input(STEPS), L.Conv1D(4, 3, padding="causal")
    x = L.Conv1D(4, 1)(inputs)
    y = L.ReLU()(L.BatchNormalization()(shared(x)))
    x = L.Concatenate(axis=2)([L.Add()([x, shared(y), y]), y])
    return keras.Model(inputs, L.Dense(3)(L.GlobalMaxPooling1D()(x)))


def quantized() -> Any:
    kernel = {"kernel_quantizer": qkeras.quantized_bits(4, 0, alpha=1)}
    return sequential(
        qkeras.QConv1D(4, 3, **kernel, bias_quantizer=qkeras.quantized_bits(8, 2)),
        qkeras.QActivation(qkeras.quantized_relu(8, 3)),
        qkeras.QDense(5, **kernel),
        L.Flatten(),
        L.Dense(3),
    )


NETWORKS: dict[str, Callable[[], Any]] = {
    "convolutions": lambda: sequential(
        L.Rescaling(0.5), L.Conv1D(8, 5, strides=2, padding="same", activation="relu"), L.MaxPooling1D(2),
        L.SpatialDropout1D(0.1), L.SeparableConv1D(6, 3, depth_multiplier=2), L.Flatten(), L.Dense(3),
    ),
    "depthwise": lambda: sequential(
        L.DepthwiseConv1D(3, strides=2, padding="same"), L.BatchNormalization(), L.ReLU(6.0),
        L.AveragePooling1D(3, 2, padding="same"), L.ZeroPadding1D((1, 2)), L.DepthwiseConv1D(2, depth_multiplier=2),
        L.GlobalAveragePooling1D(), L.Dense(3),
    ),
    "causal": lambda: sequential(
        L.Conv1D(4, 3, padding="causal", activation="relu"), L.Conv1D(4, 2, strides=2, padding="causal"),
        L.GlobalMaxPooling1D(keepdims=True), L.Flatten(), L.Dense(3),
    ),
    "features": lambda: sequential(
        L.Flatten(), L.Dense(20), L.Reshape((5, 4)), L.Conv1D(4, 3), L.Reshape((-1, 2)), L.BatchNormalization(),
        L.Conv1D(2, 2), L.Dense(4, activation="relu"), L.Flatten(), L.Dense(3),
    ),
    "normalized": normalized,
    "residual": residual,
    "quantized": quantized,
    "any number of steps": lambda: sequential(
        L.Conv1D(4, 3), L.GlobalAveragePooling1D(), L.Dense(3), shape=(None, 3)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_over_steps_compute_the_same_in_one_row(name: str) -> None:
    model = NETWORKS[name]()
    randomize(model, 4)
    x = np.random.default_rng(0).random((4, *STEPS)).astype(np.float32)
    before = to_numpy(model(x, training=False))
    fitted = keras_forms.fitted(keras_forms.normal(model), (*STEPS, 1))
    assert fitted.input_shape == (None, *STEPS, 1)
    np.testing.assert_allclose(to_numpy(fitted(x[..., np.newaxis], training=False)), before, atol=1e-5)
    rest, scale, offset = keras_forms.without_rescaling(fitted)
    again = to_numpy(rest(x[..., np.newaxis] * scale + offset, training=False))
    np.testing.assert_allclose(again, before, atol=1e-5)
    assert not any(type(call.layer) is L.Rescaling for call in keras_graph.calls(rest))
    check(rest)


def test_steps_inside_a_network_of_images_are_rows() -> None:
    model = sequential(L.Reshape(STEPS), L.Conv1D(4, 3), L.GlobalMaxPooling1D(), L.Dense(3), shape=(*STEPS, 1))
    x = np.random.default_rng(0).random((4, *STEPS, 1)).astype(np.float32)
    fitted = keras_forms.fitted(keras_forms.normal(model), (*STEPS, 1))
    np.testing.assert_allclose(to_numpy(fitted(x)), to_numpy(model(x)), atol=1e-5)
    check(fitted)


def test_a_network_without_steps_stays_as_it_is() -> None:
    model = sequential(L.Conv2D(4, 3), L.Flatten(), L.Dense(3), shape=(8, 8, 1))
    assert not keras_rows.over_steps(model)
    assert keras_forms.fitted(model, (8, 8, 1)) is model


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (lambda: L.LSTM(4, return_sequences=True, name="odd"), "layer 'odd' is a LSTM"),
        (lambda: L.Permute((2, 1), name="odd"), "layer 'odd' is a Permute"),
        (lambda: L.Conv1D(4, 3, dilation_rate=2, name="odd"), r"layer 'odd': Conv1D\(dilation_rate=\(2,\)\)"),
        (lambda: L.Conv1D(3, 3, groups=3, name="odd"), r"layer 'odd': Conv1D\(groups=3\)"),
        (lambda: L.BatchNormalization(axis=1, name="odd"), "layer 'odd': normalizes axis"),
        (lambda: L.LayerNormalization(name="odd"), "layer 'odd' is a LayerNormalization"),
    ],
)
def test_what_no_layer_computes_is_refused_by_name(layer: Callable[[], Any], says: str) -> None:
    model = keras_forms.normal(sequential(layer(), L.Flatten(), L.Dense(3)))
    with pytest.raises(UnsupportedError, match=says) as caught:
        tuple(keras_reader.read(keras_graph.calls(keras_forms.fitted(model, (*STEPS, 1)))))
    assert caught.value.hint
