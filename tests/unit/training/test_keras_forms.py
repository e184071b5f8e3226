"""keras_forms: what has no kernel of its own is written as layers that have, and computes the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipeline.core.errors import UnsupportedError
from pipeline.training import keras_file, keras_forms, keras_graph, keras_reader
from pipeline.training.keras_backend import keras, to_numpy
from tests.unit.training.test_keras_reader import check, randomize

L = keras.layers
SHAPE = (8, 8, 2)


def adapted(axis: int | None, shape: tuple[int, ...] = SHAPE) -> Any:
    layer = L.Normalization(axis=axis)
    layer.adapt(np.random.default_rng(1).normal(0.3, 0.7, (64, *shape)))
    return layer


def ended(x: Any, inputs: Any, units: int = 3) -> Any:
    return keras.Model(inputs, L.Dense(units)(L.GlobalAveragePooling2D()(x)))


def sequential(*layers: Any, shape: tuple[int | None, ...] = SHAPE) -> Any:
    return keras.Sequential([keras.Input(shape), *layers])


def operations() -> Any:
    inputs = keras.Input(SHAPE)
    x = keras.ops.relu(L.Conv2D(4, 3, padding="same")(inputs / 2))
    y = keras.ops.relu6(L.Conv2D(4, 1)(2 * x))
    return ended(keras.activations.relu(x + y), inputs)


def sums() -> Any:
    """One Add of three tensors, which adds two elsewhere."""
    inputs, add = keras.Input(SHAPE), L.Add()
    a, b, c = (L.Conv2D(4, 1)(inputs) for _ in range(3))
    return ended(L.ReLU()(add([add([a, b, c]), a])), inputs)


def same_names() -> Any:
    """Two models whose layers have the same names, as of two files."""
    inputs, x = keras.Input(SHAPE), keras.Input(SHAPE)
    x = inputs
    for channels in (2, 4):
        block = [L.Conv2D(4, 3, padding="same", name="conv"), L.ReLU(name="relu")]
        x = keras.Sequential([keras.Input((8, 8, channels)), *block], name=f"block{channels}")(x)
    return ended(x, inputs)


FORMS: dict[str, Callable[[], Any]] = {
    "operations": operations,
    "sums": sums,
    "normalized channels": lambda: sequential(adapted(-1), L.Conv2D(4, 3), L.GlobalMaxPooling2D(), L.Dense(3)),
    "normalized at once": lambda: sequential(adapted(None), L.Conv2D(4, 3), L.GlobalMaxPooling2D(), L.Dense(3)),
    "normalized features": lambda: sequential(adapted(-1, (9,)), L.Dense(3), shape=(9,)),
    "names": lambda: sequential(L.Conv2D(4, 3, name="conv 1"), L.Conv2D(4, 3, name="_\n\\"), L.Flatten(), L.Dense(3)),
    "same names": same_names,
    "dense on pixels": lambda: sequential(L.Dense(4, activation="relu"), L.GlobalMaxPooling2D(), L.Dense(3)),
    "augmentation": lambda: sequential(
        L.RandomFlip(), L.RandomRotation(0.1), L.RandomZoom(0.1), L.RandomTranslation(0.1, 0.1), L.RandomContrast(0.1),
        L.RandomBrightness(0.1), L.Identity(), L.ActivityRegularization(1e-3), L.Conv2D(3, 8), L.Flatten(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_the_form_of_the_device_computes_the_same(name: str) -> None:
    model = FORMS[name]()
    randomize(model, 4)
    x = np.random.default_rng(0).random((4, *model.input_shape[1:])).astype(np.float32)
    before = to_numpy(model(x, training=False))
    normal = keras_forms.normal(model)
    np.testing.assert_allclose(to_numpy(normal(x, training=False)), before, atol=1e-5)
    if name != "normalized at once":  # its zero is no point of the lattice here; at an input it goes into its units
        check(normal)
    names = [call.name for call in keras_graph.calls(normal)]
    assert len(set(names)) == len(names) and all(keras_graph.plain_name(name) == name for name in names)


def test_what_is_varied_in_training_is_the_identity() -> None:
    images = np.random.default_rng(0).random((2, 8, 8, 3)).astype(np.float32)
    for kind in keras_graph.IDENTITIES:
        x = images[:, 0] if kind is L.SpatialDropout1D else images
        made = {"Rotation": (0.2,), "Translation": (0.2, 0.2), "Zoom": (0.2,), "Contrast": (0.2,), "Brightness": (0.2,)}
        layer = (
            kind(*made.get(kind.__name__.removeprefix("Random"), () if "Random" in kind.__name__ else (0.2,)))
            if (kind is not L.Identity)
            else kind()
        )
        np.testing.assert_array_equal(to_numpy(layer(x, training=False)), x, err_msg=kind.__name__)


def test_a_normalization_at_once_goes_into_the_units_of_the_input() -> None:
    model = keras_forms.normal(FORMS["normalized at once"]())
    rest, scale, offset = keras_forms.without_rescaling(model)
    x = np.random.default_rng(0).random((4, *SHAPE)).astype(np.float32)
    np.testing.assert_allclose(to_numpy(rest(x * scale + offset)), to_numpy(model(x)), atol=1e-4)
    assert type(keras_graph.calls(rest)[0].layer) is L.Conv2D


@pytest.mark.parametrize("closing", ["inside", "own", "none"])
@pytest.mark.parametrize("bias", [True, False])
def test_one_sigmoid_for_two_classes_is_a_softmax_of_two_logits(closing: str, bias: bool) -> None:
    ends = [L.Dense(1, activation="sigmoid" if closing == "inside" else None, use_bias=bias)]
    model = sequential(L.Flatten(), *ends, *([L.Activation("sigmoid")] if closing == "own" else []))
    randomize(model, 5)
    x = np.random.default_rng(0).random((16, *SHAPE)).astype(np.float32)
    before = to_numpy(model(x))
    logits = to_numpy(keras_forms.normal(model)(x))
    if closing == "none":
        np.testing.assert_allclose(logits[:, 1] - logits[:, 0], before[:, 0], atol=1e-5)
    else:
        np.testing.assert_allclose(to_numpy(keras.ops.softmax(logits))[:, 1], before[:, 0], atol=1e-5)


@pytest.mark.parametrize("activation", ["softmax", "relu"])
def test_one_unit_whose_sign_decides_nothing_is_left_alone(activation: str) -> None:
    model = sequential(L.Flatten(), L.Dense(1, activation=activation))
    assert keras_forms.normal(model).output_shape == (None, 1)


@pytest.mark.parametrize("closing", ["sigmoid", "log_softmax"])
def test_the_largest_output_is_that_of_the_largest_logit(closing: str) -> None:
    model = sequential(L.Flatten(), L.Dense(4, activation=closing))
    x = np.random.default_rng(0).random((16, *SHAPE)).astype(np.float32)
    before = to_numpy(model(x)).argmax(axis=1)
    normal = keras_forms.normal(model)
    check(normal)
    assert (to_numpy(normal(x)).argmax(axis=1) == before).all()


def test_mixed_precision_is_computed_in_float32() -> None:
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = sequential(L.Conv2D(4, 3, activation="relu"), L.Flatten(), L.Dense(3, dtype="float32"))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    check(keras_forms.normal(model))


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (lambda: sequential(L.Rescaling(2.0), L.Flatten(), L.Dense(3), shape=(8, 9)), (8, 9, 1)),
        (lambda: sequential(L.Reshape((8, 9, 1)), L.Conv2D(4, 3), L.Flatten(), L.Dense(3), shape=(8, 9)), (8, 9, 1)),
        (lambda: sequential(L.Conv2D(4, 3), L.GlobalMaxPooling2D(), L.Dense(3), shape=(None, None, 2)), (8, 9, 2)),
    ],
    ids=["flat", "reshaped", "any size"],
)
def test_a_network_is_fitted_to_the_samples(model: Callable[[], Any], shape: tuple[int, ...]) -> None:
    made = keras_forms.normal(model())
    fitted = keras_forms.fitted(made, shape)
    assert fitted.input_shape == (None, *shape)
    x = np.random.default_rng(0).random((4, *shape)).astype(np.float32)
    taken = x if None in made.input_shape[1:] else x[..., 0]
    np.testing.assert_allclose(to_numpy(fitted(x)), to_numpy(made(taken)), atol=1e-5)
    check(keras_forms.without_rescaling(fitted)[0])


def test_a_network_of_other_samples_stays_as_it_is() -> None:
    model = sequential(L.Flatten(), L.Dense(3))
    assert keras_forms.fitted(model, (9, 9, 2)) is model
    anysize = sequential(L.GlobalMaxPooling2D(), L.Dense(3), shape=(None, None, 2))
    assert keras_forms.fitted(anysize, (8, 8, 3)) is anysize
    with pytest.raises(UnsupportedError, match="takes"):
        keras_forms.require_shapes(anysize, (8, 8, 3), 3)


@pytest.mark.parametrize(
    ("compute", "says"),
    [
        (lambda x, y: x - y, "Subtract"),
        (lambda x, y: 1 - x, "Subtract"),
        (lambda x, y: 1 / x, "Divide"),
        (lambda x, y: keras.ops.sin(x), "Sin"),
        (lambda x, y: x * np.ones((8, 8, 2), np.float32), "Multiply"),
    ],
)
def test_an_operation_that_is_no_layer_is_named(compute: Callable[[Any, Any], Any], says: str) -> None:
    inputs = keras.Input(SHAPE)
    model = ended(compute(inputs, L.ReLU()(inputs)), inputs)
    with pytest.raises(UnsupportedError, match=rf"keras\.ops has \w*{says}") as caught:
        keras_graph.calls(model)
    assert caught.value.hint


def test_settings_of_an_activation_called_as_a_function_are_refused() -> None:
    inputs = keras.Input(SHAPE)
    model = ended(keras.activations.relu(inputs, negative_slope=0.1), inputs)
    with pytest.raises(UnsupportedError, match=r"keras\.ops has|negative_slope=0\.1"):
        tuple(keras_reader.read(keras_graph.calls(keras_forms.normal(model))))


def test_a_normalization_of_single_pixels_is_refused(tmp_path: Any) -> None:
    layer = L.Normalization(axis=(1, 2, 3), name="odd")
    layer.adapt(np.random.default_rng(0).random((8, *SHAPE)))
    sequential(layer, L.Flatten(), L.Dense(3)).save(tmp_path / "net.keras")
    with pytest.raises(UnsupportedError, match=r"net\.keras: layer 'odd': a Normalization of 128 means"):
        keras_file.load(tmp_path / "net.keras")


def test_a_model_of_a_softmax_only_has_no_layers() -> None:
    with pytest.raises(UnsupportedError, match="has no layers"):
        keras_forms.normal(sequential(L.Softmax(), shape=(4,)))
