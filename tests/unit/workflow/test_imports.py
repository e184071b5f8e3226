"""imports: a file of another tool becomes a stored network, which every command finds by its name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.cli import main
from pipeline.config.dataset import DatasetConfig
from pipeline.core import paths, store
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import QModel, Quantization
from pipeline.network import twin
from pipeline.workflow import binding, imports, zoo
from pipeline.workflow.imports import Request
from tests.support import tiny
from tests.support.tflite_models import Builder


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """The current folder: an empty one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(paths.USER_VARIABLE, raising=False)
    return tmp_path


def tflite(path: Path, scale: float = 1 / 255) -> Path:
    """A dense layer on 8x8x1 inputs, ten classes."""
    b = Builder((1, 8, 8, 1), np.random.default_rng(0))
    b.graph.tensors[b.last].quantization.scale = [scale]
    b.graph.tensors[b.last].quantization.zeroPoint = [-128]
    weights = b.constant(b.random.integers(-127, 128, (10, 64)).astype(np.int8), 0.01)
    shape = b.constant(np.array([1, 64], np.int32))
    flat = b.activation((1, 64), scale, -128)
    b.operation("RESHAPE", [b.last, shape], flat, "ReshapeOptions", newShape=[1, 64])
    options = {"fusedActivationFunction": 0, "weightsFormat": 0, "keepNumDims": False}
    b.operation("FULLY_CONNECTED", [flat, weights], b.activation((1, 10), 0.1, 0), "FullyConnectedOptions", **options)
    path.write_bytes(b.finish())
    return path


def run(capsys, *words: str) -> tuple[int, str, str]:
    code = main.main(list(words))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_an_imported_network_is_found_by_every_command(folder, capsys):
    code, out, err = run(capsys, "import", str(tflite(folder / "My net (1).tflite")), "--dataset", "digits")
    assert (code, out) == (0, "")
    assert "zoo/My_net_1: 2 layers, 640 weights, 10 classes" in err
    assert "of 200 test samples correct; next: tritmcu run --model My_net_1" in err
    model = store.load(Path("zoo/My_net_1"), QModel)
    assert (model.name, model.classes) == ("My_net_1", tuple("0123456789"))
    code, out, _ = run(capsys, "zoo", "--json")
    listed = {entry["name"]: entry for entry in json.loads(out)}
    assert listed["My_net_1"]["dataset"] == "digits"
    assert listed["My_net_1"]["imported"] == "My net (1).tflite"
    assert "imported from My net (1).tflite" in run(capsys, "zoo")[1]
    attack = ("attack", "--model", "My_net_1", "--suite", "quick", "--eps", "8/255", "--limit", "9", "--json")
    code, out, err = run(capsys, *attack)
    assert code == 0, err
    (attacked,) = json.loads(out)
    assert [step["attack"] for step in attacked["attacks"]] == ["pgd", "pgd", "apgd_t"]
    assert attacked["attacks"][0]["gradients"] > 0
    assert attacked["robust"]["n"] == 9
    code, _, err = run(capsys, "render", "--model", "My_net_1")
    assert (code, Path("runs/My_net_1-netduinoplus2/sources").is_dir()) == (0, True), err
    assert run(capsys, "export", "--model", "zoo/My_net_1", "--output", "firmware")[0] == 0


def test_a_network_without_a_data_set_is_rendered_and_takes_random_inputs(folder, capsys):
    code, _, err = run(capsys, "import", str(tflite(folder / "net.tflite")))
    assert code == 0
    assert "render, build and export need none; next: tritmcu run --model net --dataset random" in err
    assert run(capsys, "render", "--model", "net")[0] == 0
    random = ("--dataset", "random", "--attack", "fgsm", "--eps", "8/255", "--limit", "9")
    code, out, _ = run(capsys, "attack", "--model", "net", *random)
    assert (code, "100.0 %" in out) == (0, True)
    code, _, err = run(capsys, "attack", "--model", "net", *random[2:])
    assert (code, "does not say which data set" in err) == (2, True)


def test_other_units_are_refused_until_they_are_stated(folder):
    path = tflite(folder / "net.tflite", 1.0)
    with pytest.raises(ConfigError, match="'net' takes inputs from 0 to 255, data set 'digits' has 0 to 1") as caught:
        imports.network(Request(path, dataset="digits"))
    assert "--input-range 0 255" in caught.value.hint
    assert not Path("zoo").exists()
    made = imports.network(Request(path, dataset="digits", input_range=(0.0, 255.0)))
    plain = imports.network(Request(path, name="plain"))
    assert made.model.input.quantization == Quantization(1 / 255, -128)
    assert plain.model.input.quantization == Quantization(1.0, -128)
    x = binding.random_inputs(made.model, 0).splits["test"].x
    assert np.array_equal(twin.run(made.model, x), twin.run(plain.model, x)), "the same integers"


def test_a_float_keras_file_is_calibrated_and_compared_at_once(folder, capsys):
    from tests.unit.training.test_keras_file import float_network

    float_network().save("net.keras")
    code, out, err = run(capsys, "import", "net.keras", "--dataset", "digits", "--input-range", "-1", "1")
    assert code == 0, err
    assert "Difference to the original" in out
    assert "in floating point; next: tritmcu run --model net" in err
    model = store.load(Path("zoo/net"), QModel)
    assert model.metrics["input_shift"] == pytest.approx(-0.5)
    assert model.input.quantization.scale == pytest.approx(1 / 255)
    assert [layer.weight_bits for layer in model.layers if layer.weights is not None] == [8, 8, 8]
    code, _, err = run(capsys, "import", "net.keras", "--name", "other", "--dataset", "cifar10_grey")
    assert code == 2
    code, _, err = run(capsys, "import", "net.keras", "--name", "other")
    assert (code, "samples must show the ranges" in err) == (2, True)


def test_rescaling_at_the_input_goes_into_its_lattice(folder):
    """A network of pixels from 0 to 255 that begins by bringing them to [-1, 1]: zeros around an image are zeros."""
    from pipeline.training.keras_backend import keras

    keras.utils.set_random_seed(1)  # a dead layer's lattice would be finer than the others'
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(keras.layers.Rescaling(1.0)(inputs))
    x = keras.layers.Conv2D(4, 3, strides=4, padding="same", activation="relu")(x)
    keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(x))).save("net.keras")
    made = imports.network(Request(Path("net.keras"), dataset="digits", input_range=(0.0, 255.0)))
    assert made.model.metrics["input_shift"] == pytest.approx(-0.5)
    assert made.model.input.quantization.scale == pytest.approx(1 / 255)
    assert [layer.kind for layer in made.model.layers] == ["conv2d", "flatten", "dense"]
    assert max(found["max_lsb"] for found in made.agreement.values()) <= 2


def test_weights_that_make_nan_are_named(folder, capsys):
    """NaN itself, and a negative variance, whose root is none."""
    from pipeline.training.keras_backend import keras

    layers = keras.layers
    inner = [layers.Conv2D(2, 3), layers.BatchNormalization(), layers.Flatten(), layers.Dense(10)]
    model = keras.Sequential([keras.Input((8, 8, 1)), *inner])
    for weight, value, said in (
        (inner[1].moving_variance, -1.0, "answers NaN or infinity to samples"),
        (inner[0].kernel, np.nan, "kernel holds NaN or infinity"),
    ):
        weight.assign(weight * 0 + value)
        model.save("net.keras")
        code, _, err = run(capsys, "import", "net.keras", "--dataset", "digits")
        assert code == 2 and "net.keras: layer '" in err and said in err


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(Path("net.tflite"), name="digits_stq_jr"), "network 'digits_stq_jr' exists: "),
        (Request(Path("net.tflite"), name="mine"), "network 'mine' exists: "),
        (Request(Path("net.tflite"), name="../up"), "--name: '../up' must be letters, digits"),
        (Request(Path("net.tflite"), name="random"), "--name random: means random inputs"),
        (Request(Path("..tflite")), "--name: '' must be letters"),
        (Request(Path("net.tflite"), input_range=(0, 1)), "--input-range: is meant for a data set"),
        (Request(Path("net.tflite"), dataset="digit"), "did you mean 'digits'"),
    ],
)
def test_what_cannot_be_stored_is_refused_before_any_work(folder, request_, message):
    store.save(Path("zoo/mine"), tiny.qmodel(), "key")
    (folder / "net.tflite").write_bytes(b"TFL3, but no network")
    with pytest.raises(ConfigError) as caught:
        imports.network(request_)
    assert message in str(caught.value)


def test_a_name_in_two_folders_is_refused(folder, monkeypatch):
    for place in ("zoo", "more/zoo"):
        store.save(Path(place) / "mine", tiny.qmodel(), "key")
    assert zoo.find(Path("mine")) == Path("zoo/mine")
    monkeypatch.setenv(paths.USER_VARIABLE, "more")
    with pytest.raises(ConfigError, match=r"stored network 'mine' exists twice: zoo/mine.* and more/zoo/mine"):
        zoo.find(Path("mine"))


def test_a_foreign_note_is_printed_without_its_control_characters(folder, capsys):
    model = tiny.qmodel()
    store.save(
        Path("zoo/mine"), QModel(model.name, model.input, model.classes, model.layers, {"imported": "\x1b[2J"}), ""
    )
    assert "\x1b" not in run(capsys, "zoo")[1]


def test_an_original_that_guesses_asks_for_its_units(folder, capsys):
    from pipeline.training.keras_backend import keras

    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    for name, scale, guesses in (("dark", 0.0, True), ("bright", 1.0, False)):
        model.layers[-1].set_weights([scale * weights for weights in centres(*digits())])
        model.save("net.keras")
        code, _, err = run(capsys, "import", "net.keras", "--dataset", "digits", "--name", name)
        assert (code, "note: no better than guessing" in err) == (0, guesses), err


def digits():
    """(x float (n, 64) in [0, 1], y) of the training split."""
    from pipeline import datasets

    data = datasets.load(DatasetConfig(name="digits"), cache=Path("cache"))
    train = data.splits["train"]
    return data.input.quantization.dequantize(train.x).reshape(len(train.y), -1), train.y


def centres(x, y):
    """Kernel and bias of a dense layer that answers the nearest class mean."""
    means = np.stack([x[y == label].mean(axis=0) for label in range(10)])
    bias = -(means**2).sum(axis=1) / 2
    return [means.T, bias]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("net.onnx", "convert it to an int8 .tflite; supported"),
        ("saved_model", "from_saved_model"),
        ("x.txt", "supported"),
    ],
)
def test_a_file_of_another_tool_is_told_the_way(folder, capsys, name, says):
    Path(name).write_text("")
    code, _, err = run(capsys, "import", name)
    assert (code, says in err) == (2, True), err


def test_one_output_for_two_classes_is_imported(folder, capsys):
    from pipeline.training.keras_backend import keras

    layers = keras.layers
    keras.Sequential([keras.Input((6,)), layers.Dense(1, activation="sigmoid")]).save("net.keras")
    x = np.random.default_rng(0).normal(0, 1, (60, 6))
    np.savez("two.npz", x=x, y=np.arange(60) % 2)
    code, _, err = run(capsys, "import", "net.keras", "--dataset", "two.npz")
    assert (code, "2 classes" in err) == (0, True), err


def test_a_missing_file_of_samples_is_no_unknown_name(folder, capsys):
    for missing in ("none.npz", "photos/none", "none.toml"):
        code, _, err = run(capsys, "import", str(tflite(folder / "net.tflite")), "--dataset", missing)
        assert (code, f"--dataset {missing}: no such file or folder" in err) == (2, True), err
    code, _, err = run(capsys, "import", str(tflite(folder / "net.tflite")), "--dataset", "cifar11")
    assert (code, "unknown data set 'cifar11'" in err) == (2, True), err


def test_a_range_beyond_float32_is_refused(folder):
    with pytest.raises(ConfigError, match="--input-range 0 1e\\+300: not a range"):
        imports.network(Request(tflite(folder / "net.tflite"), dataset="digits", input_range=(0.0, 1e300)))
