"""keras_file and keras_kernel: what others saved is read as it is, and nothing in it is run."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pipeline.core.errors import ConfigError, PipelineError, UnsupportedError
from pipeline.training import keras_file, keras_kernel
from pipeline.training.keras_backend import keras, qkeras, to_numpy
from tests.unit.training.test_keras_reader import check, randomize

L = keras.layers


def qkeras_network() -> Any:
    """QKeras layers of every quantizer, as a Sequential model with another one inside."""
    inside = [
        keras.Input((3, 3, 6)),
        qkeras.QConv2D(6, 1, kernel_quantizer="quantized_bits(4,0,1,alpha='auto')", activation="quantized_relu(8,2)"),
        L.Flatten(),
    ]
    layers = [
        keras.Input((8, 8, 1)),
        qkeras.QConv2D(
            6, 3, kernel_quantizer=qkeras.ternary(alpha="auto"), bias_quantizer=qkeras.quantized_bits(8, 2, alpha=1)
        ),
        L.BatchNormalization(),
        qkeras.QActivation("quantized_relu(8,2)"),
        qkeras.QDepthwiseConv2D(3, padding="same", depthwise_quantizer=qkeras.quantized_linear(4, 0)),
        qkeras.QActivation(qkeras.quantized_linear(8, 2)),
        qkeras.QConv2D(6, 3, strides=2, padding="same", kernel_quantizer=qkeras.stochastic_ternary(alpha="auto_po2")),
        qkeras.QActivation("quantized_relu(8,2)"),
        keras.Sequential(inside),
        qkeras.QDense(10, kernel_quantizer=qkeras.binary(alpha="auto_po2")),
        L.Activation("softmax"),
    ]
    model = keras.Sequential(layers)
    randomize(model, 1)
    return model


def float_network() -> Any:
    """Plain layers, as a functional model."""
    inputs = keras.Input((8, 8, 1))
    x = L.Conv2D(6, 3, strides=2, activation="relu")(L.ZeroPadding2D(((1, 0), (0, 1)))(inputs))
    y = L.ReLU(6.0)(L.BatchNormalization()(L.DepthwiseConv2D(3, padding="same")(x)))
    x = L.Activation("linear")(L.Dropout(0.2)(L.Activation("relu")(L.Add()([x, y]))))
    model = keras.Model(inputs, L.Dense(10, activation="softmax")(L.GlobalAveragePooling2D()(x)))
    randomize(model, 2)
    return model


def separable_network() -> Any:
    """Separable convolutions: one of two weights a channel, one called twice, one in a model inside."""
    inputs = keras.Input((8, 8, 1))
    x = L.SeparableConv2D(6, 3, strides=2, padding="same", depth_multiplier=2, activation="relu")(inputs)
    shared = L.SeparableConv2D(6, 3, padding="same", use_bias=False)
    x = L.ReLU()(shared(L.ReLU()(shared(x))))
    x = keras.Sequential([keras.Input((4, 4, 6)), L.SeparableConv2D(8, 3, activation="relu"), L.Flatten()])(x)
    model = keras.Model(inputs, L.Dense(10, activation="softmax")(x))
    randomize(model, 5)
    return model


@pytest.mark.parametrize("suffix", ["h5", "keras"])
@pytest.mark.parametrize("make", [qkeras_network, float_network, separable_network])
def test_what_others_saved_is_computed_layer_by_layer(tmp_path: Path, make: Any, suffix: str) -> None:
    """Each layer within two steps of what Keras makes of the same inputs; the softmax is gone."""
    made = make()
    made.save(tmp_path / f"net.{suffix}")
    loaded = keras_file.load(tmp_path / f"net.{suffix}")
    x = np.random.default_rng(0).random((4, 8, 8, 1)).astype(np.float32)
    shares = to_numpy(keras.ops.softmax(loaded(x, training=False)))
    np.testing.assert_allclose(shares, to_numpy(made(x, training=False)), atol=1e-6)
    qmodel = check(loaded)
    assert qmodel.output.shape == (10,)
    if make is qkeras_network:
        assert [layer.weight_bits for layer in qmodel.layers if layer.weights is not None] == [2, 4, 2, 4, 2]


QUANTIZERS = {
    "ternary": (lambda: qkeras.ternary(alpha="auto"), 2),
    "ternary of one size": (lambda: qkeras.ternary(), 2),
    "stochastic ternary": (lambda: qkeras.stochastic_ternary(alpha="auto"), 2),
    "binary": (lambda: qkeras.binary(alpha="auto"), 2),
    "zeros and ones": (lambda: qkeras.binary(use_01=True, alpha=1.0), 2),
    "stochastic binary": (lambda: qkeras.stochastic_binary(alpha="auto_po2"), 2),
    "two bits": (lambda: qkeras.quantized_bits(2, 0, 1, alpha=1.0), 2),
    "three bits": (lambda: qkeras.quantized_bits(3, 1, 1, alpha=0.25), 3),
    "four bits": (lambda: qkeras.quantized_bits(4, 0, 1, alpha="auto_po2"), 4),
    "eight bits": (lambda: qkeras.quantized_bits(8, 0, 1, alpha="auto"), 8),
    "four bits with -8": (lambda: qkeras.quantized_bits(4, 0, 0, alpha=1.0), 8),
    "linear": (lambda: qkeras.quantized_linear(4, 0, alpha="auto"), 4),
}


@pytest.mark.parametrize("name", QUANTIZERS)
@pytest.mark.parametrize("axes", [1, 2])
def test_codes_times_scale_is_what_the_quantizer_makes(name: str, axes: int) -> None:
    make, bits = QUANTIZERS[name]
    weights = np.random.default_rng(3).normal(0, 0.7, (3, 3, 4, 2)).astype(np.float32)
    codes, scale, found = keras_kernel.codes(make(), weights, axes, "here")
    made = to_numpy(make()(weights))
    np.testing.assert_allclose(codes.reshape(-1, len(scale)) * scale, made.reshape(-1, len(scale)), atol=1e-6)
    assert (found, len(scale)) == (bits, 8 if axes == 2 else 2)


@pytest.mark.parametrize(
    ("quantizer", "says"),
    [
        (lambda: qkeras.quantized_bits(8, 0, 0, alpha=1.0), "a weight of 128 steps"),
        (lambda: qkeras.quantized_po2(4), r"kernel quantizer quantized_po2.* is not computed"),
        (lambda: qkeras.quantized_bits(16, 0, 1, alpha=1.0), r"quantized_bits\(bits=16\)"),
    ],
)
def test_weights_that_the_device_does_not_know_are_refused(quantizer: Any, says: str) -> None:
    with pytest.raises(UnsupportedError, match=f"here: .*{says}") as caught:
        keras_kernel.codes(quantizer(), np.full((3, 4), -5.0, np.float32), 1, "here")
    assert caught.value.hint


@pytest.mark.parametrize("closing", [L.Activation("softmax"), L.Softmax()], ids=["activation", "softmax"])
@pytest.mark.parametrize("own", [False, True], ids=["inside the layer", "of its own"])
def test_the_softmax_of_a_model_inside_is_left_out_too(tmp_path: Path, closing: Any, own: bool) -> None:
    """As of keras.applications' classifiers behind a rescaling of their input."""
    ends = [L.Dense(10), closing] if own else [L.Dense(10, activation="softmax")]
    inside = keras.Sequential([keras.Input((8, 8, 1)), L.Flatten(), *ends])
    inputs = keras.Input((8, 8, 1))
    made = keras.Model(inputs, inside(L.Rescaling(2.0, -1.0)(inputs)))
    made.save(tmp_path / "net.keras")
    loaded = keras_file.load(tmp_path / "net.keras")
    x = np.random.default_rng(0).random((4, 8, 8, 1)).astype(np.float32)
    logits = to_numpy(loaded(x))
    assert np.abs(logits.sum(axis=1) - 1).min() > 1e-3
    np.testing.assert_allclose(to_numpy(keras.ops.softmax(logits)), to_numpy(made(x)), atol=1e-6)


def test_a_separable_convolution_with_a_setting_that_is_not_computed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.keras"
    keras.Sequential([keras.Input((8, 8, 2)), L.SeparableConv2D(4, 3, dilation_rate=2, name="wide")]).save(path)
    with pytest.raises(UnsupportedError, match=r"layer 'wide': SeparableConv2D\(dilation_rate=\(2, 2\)\) is not"):
        keras_file.load(path)


class Doubled(L.Layer):
    """A layer that Keras does not have."""

    def call(self, inputs: Any) -> Any:
        return inputs * 2


def saved(layer: Any, path: Path) -> Path:
    keras.Sequential([keras.Input((4,)), layer]).save(path)
    return path


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_code_in_a_file_is_not_run(tmp_path: Path, suffix: str) -> None:
    path = saved(L.Lambda(lambda x: x * 2), tmp_path / f"net.{suffix}")
    with pytest.raises(UnsupportedError, match="holds Python code"):
        keras_file.load(path)
    with pytest.raises((TypeError, ValueError), match="unsafe"):
        keras_file._described(path)


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_a_foreign_layer_is_named(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(UnsupportedError, match="layer class Doubled is neither"):
        keras_file.load(saved(Doubled(), tmp_path / f"net.{suffix}"))


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_a_damaged_file_is_one_line(tmp_path: Path, suffix: str) -> None:
    path = saved(L.Dense(2), tmp_path / f"net.{suffix}")
    whole = path.read_bytes()
    for content in (b"", b"junk", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(PipelineError) as caught:
            keras_file.load(path)
        assert "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        keras_file.load(path)


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_a_description_of_more_weights_than_it_holds_is_refused_before_room_is_made(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(L.Dense(3000), tmp_path / f"net.{suffix}")
    monkeypatch.setattr(keras_file, "MOST_BYTES", 4 * 15000 - 1)
    with pytest.raises(UnsupportedError, match="describes 15000 parameters"):
        keras_file._require_few_parameters(path)
    for make in (qkeras_network, float_network):
        make().save(tmp_path / f"small.{suffix}")
        assert sorted(keras_file._described(tmp_path / f"small.{suffix}")) == sorted(
            tuple(v.shape) for v in make().variables
        )


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_a_description_that_ends_in_nonsense_is_counted_up_to_there(tmp_path: Path, suffix: str) -> None:
    """Keras would make room for the first layer's kernel before the second one is refused."""
    path = tmp_path / f"net.{suffix}"
    keras.Sequential([keras.Input((4,)), L.Dense(7), L.Dense(2)]).save(path)
    if suffix == "h5":
        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = _grown(file.attrs["model_config"])
    else:
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in parts.items():
                archive.writestr(name, _grown(content.decode()) if name == "config.json" else content)
    with pytest.raises(UnsupportedError, match=r"describes 2\d{9} parameters") as caught:
        keras_file.load(path)
    assert caught.value.hint


def _grown(described: str) -> str:
    """The description with a first layer of 500 million units, and a second one of -1."""
    assert described.count('"units": 7') == described.count('"units": 2') == 1
    return described.replace('"units": 7', '"units": 500000000').replace('"units": 2', '"units": -1')


def _zeros(group: Any, name: str) -> None:
    """An array that claims 300 MB and holds nothing."""
    group.create_dataset(name, (4, 75_000_000 // 4), np.float32, chunks=(4, 1000))


def _wide_piece(group: Any, name: str) -> None:
    """A small array in a piece of 300 MB."""
    group.create_dataset(name, (4, 2), np.float32, chunks=(4, 75_000_000 // 4), maxshape=(4, None), compression="gzip")


def _other_file(group: Any, name: str) -> None:
    group[name] = h5py.ExternalLink("other.h5", "kernel")


def _other_bytes(group: Any, name: str) -> None:
    group.create_dataset(name, (4, 2), np.float32, external=[("other.bin", 0, 32)])


@pytest.mark.parametrize("suffix", ["h5", "keras"])
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_zeros, r"net\.\w+: claims weights of 300000\d+ bytes"),
        (_wide_piece, r"net\.\w+: claims weights of 300000\d+ bytes"),
        (_other_file, "its weights are in other files"),
        (_other_bytes, "its weights are in other files"),
    ],
)
def test_weights_of_any_size_or_from_elsewhere_are_refused_unread(
    tmp_path: Path, suffix: str, make: Any, says: str
) -> None:
    path = saved(L.Dense(2), tmp_path / f"net.{suffix}")
    if suffix == "h5":
        with h5py.File(path, "r+") as file:
            _replaced(file, make)
    else:
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        inside = io.BytesIO(parts[keras_file.WEIGHTS])
        with h5py.File(inside, "r+") as file:
            _replaced(file, make)
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in {**parts, keras_file.WEIGHTS: inside.getvalue()}.items():
                archive.writestr(name, content)
    assert path.stat().st_size < 100_000
    with pytest.raises(UnsupportedError, match=says) as caught:
        keras_file.load(path)
    assert caught.value.hint


def _replaced(file: h5py.File, make: Any) -> None:
    """Makes another kernel of the one layer in the file."""
    kernels = [name for name in _names(file) if name.endswith(("kernel", "vars/0"))]
    assert len(kernels) == 1
    group, _, name = kernels[0].rpartition("/")
    del file[kernels[0]]
    make(file[group], name)


def _names(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visit(names.append)
    return names


def test_weights_that_are_named_again_and_again_count_as_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(L.Dense(2000), tmp_path / "net.h5")
    monkeypatch.setattr(keras_file, "MOST_BYTES", 1 << 18)
    with h5py.File(path, "r+") as file:
        group = next(group for group in file["model_weights"].values() if len(group.attrs["weight_names"]))
        group.attrs["weight_names"] = np.repeat(group.attrs["weight_names"], 1000)
    with pytest.raises(UnsupportedError, match="claims weights of"):
        keras_file.load(path)


@pytest.mark.parametrize(("suffix", "name"), [("h5", "net.keras"), ("keras", "net.h5"), ("keras", "NET.KERAS")])
def test_the_content_decides_not_the_name(tmp_path: Path, suffix: str, name: str) -> None:
    made = float_network()
    made.save(tmp_path / f"made.{suffix}")
    (tmp_path / f"made.{suffix}").rename(tmp_path / name)
    assert keras_file.load(tmp_path / name).input_shape == made.input_shape


def test_what_keras_says_of_a_part_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "net.keras"
    keras.Sequential([keras.Input((4,)), L.Dense(7), L.Dense(2)]).save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content.replace(b'"units": 7', b'"units": -7'))
    with pytest.raises(ConfigError, match=r"units.*-7"):
        keras_file.load(path)


def test_a_device_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "net.keras").symlink_to("/dev/zero")
    with pytest.raises(ConfigError, match="not a file"):
        keras_file.load(tmp_path / "net.keras")


def test_a_zip_file_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras_file, "MOST_BYTES", 1 << 16)
    with zipfile.ZipFile(tmp_path / "net.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", bytes(1 << 20))
    assert (tmp_path / "net.keras").stat().st_size < 1 << 16
    with pytest.raises(UnsupportedError, match="more than 65536 bytes"):
        keras_file.load(tmp_path / "net.keras")
