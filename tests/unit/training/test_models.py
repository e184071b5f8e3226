"""Networks: the benchmark's sizes, every int8 tensor on its lattice, and what leaves Keras."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.analysis import agreement
from pipeline.config.job import ModelConfig, TrainConfig
from pipeline.core import registry
from pipeline.core.errors import UnsupportedError
from pipeline.core.nouns import Dataset, Quantization, Split, TensorSpec
from pipeline.stages import lower
from pipeline.training import blocks, keras_model
from pipeline.training.keras_backend import keras, qkeras, to_numpy
from pipeline.training.quantizers import of_width

pytestmark = pytest.mark.slow

PIXELS = Quantization(1 / 255, -128)
SHAPES = {"digits_cnn": (8, 8, 1), "resnet8": (32, 32, 3), "dscnn": (49, 10, 1)}
RECIPE = TrainConfig(epochs=1)


def dataset(shape: tuple[int, ...], n: int = 24, classes: int = 5) -> Dataset:
    rng = np.random.default_rng(0)
    x = rng.integers(-128, 128, (n, *shape)).astype(np.int8)
    split = Split(x, rng.integers(0, classes, n), np.arange(n))
    names = tuple(f"class{i}" for i in range(classes))
    return Dataset("noise", TensorSpec(shape, PIXELS), names, {"train": split, "validation": split, "test": split})


def build(name: str, data: Dataset | None = None, **config):
    """The network with normalization statistics as after some training, so that no tensor is trivial."""
    keras.utils.set_random_seed(3)
    data = data or dataset(SHAPES[name])
    settings = ModelConfig(name=name, **config)
    model = registry.load("models", name).build(data.input, len(data.classes), settings, RECIPE)
    for _ in range(10):
        model(data.input.quantization.dequantize(data.splits["train"].x), training=True)
    return model


@pytest.mark.parametrize(
    "name, classes, weights, macs",
    [("digits_cnn", 10, 33_240, 1_011_072), ("resnet8", 10, 77_360, 12_501_632), ("dscnn", 12, 22_016, 2_656_768)],
)
def test_sizes(name, classes, weights, macs):
    """ResNet-8 and DS-CNN: the kernel weights and multiply-accumulates of the benchmark."""
    model = build(name, dataset(SHAPES[name], classes=classes))
    kernels = [layer for layer in model.layers if hasattr(layer, "get_quantizers")]
    assert sum(int(np.prod(layer.weights[0].shape)) for layer in kernels) == weights
    work = 0
    for layer in kernels:
        pixels = int(np.prod(layer.output.shape[1:-1]))
        work += pixels * int(np.prod(layer.weights[0].shape))
    assert work == macs


@pytest.mark.parametrize("name", SHAPES)
def test_every_tensor_of_the_device_lies_on_its_lattice(name):
    data = dataset(SHAPES[name])
    model = build(name, data)
    qmodel = lower.lower(keras_model.describe(model, data, 16))
    x = data.splits["test"].x
    outputs = keras_model.layer_outputs(
        model, x, data.input.quantization, [layer.keras_name for layer in qmodel.layers]
    )
    for layer in qmodel.layers:
        q = layer.output.quantization
        steps = outputs[layer.keras_name] / q.scale + q.zero_point
        tolerance = 0.5 if "pool" in layer.kind else 1e-3
        assert np.abs(steps - np.rint(steps)).max() <= tolerance, layer.name
        assert steps.min() >= q.qmin - tolerance and steps.max() <= q.qmax + tolerance
    steps = agreement.agreement(qmodel, x, outputs)
    assert max(step["mean_lsb"] for step in steps.values()) < 1.5


@pytest.mark.parametrize("name", SHAPES)
def test_bit_widths_are_those_of_the_job(name):
    data = dataset(SHAPES[name])
    model = build(name, data, width=0.5, first_layer_bits=8, last_layer_bits=8)
    layers = [layer for layer in keras_model.describe(model, data, 8).layers if "codes" in layer.arrays]
    assert [layer.config["bits"] for layer in layers] == [8] + [2] * (len(layers) - 2) + [8]
    assert all(np.abs(layer.arrays["codes"]).max() == 1 for layer in layers[1:-1])


def test_description_holds_what_keras_holds():
    data = dataset(SHAPES["resnet8"])
    model = build("resnet8", data)
    trained = keras_model.describe(model, data, 16)
    by_name = {layer.name: layer for layer in trained.layers}
    assert trained.layers[0].inputs == ("input",)
    assert by_name["stack2_add"].inputs == ("stack2_shortcut_q", "stack2_conv2_q")
    assert by_name["stack2_conv1"].config == {"bits": 2, "strides": (2, 2), "padding": "same"}
    assert by_name["stack1_relu"].config == {"function": "relu", "scale": 2**-5, "zero_point": -128, "bits": 8}
    assert by_name["logits_q"].config == {"function": "linear", "scale": 2**-3, "zero_point": 0, "bits": 8}
    norm = by_name["stem_bn"].arrays
    layer = model.get_layer("stem_bn")
    for key, variable in (("mean", layer.moving_mean), ("variance", layer.moving_variance), ("gamma", layer.gamma)):
        assert np.array_equal(norm[key], to_numpy(variable).astype(np.float64))
    output = keras_model.layer_outputs(model, data.splits["train"].x[:16], data.input.quantization, ["stack1_conv1"])
    low, high = trained.ranges["stack1_conv1"]
    assert low <= output["stack1_conv1"].min() + 1e-5 and high >= output["stack1_conv1"].max() - 1e-5


def test_dropout_leaves_no_trace():
    data = dataset(SHAPES["dscnn"])
    layers = {layer.name: layer for layer in keras_model.describe(build("dscnn", data), data, 8).layers}
    assert layers["block1_dw"].inputs == ("stem_relu",)
    assert layers["pool"].inputs == ("block4_pw_relu",)
    assert not any("dropout" in name for name in layers)


def test_a_stored_model_answers_the_same(tmp_path):
    data = dataset(SHAPES["digits_cnn"])
    model = build("digits_cnn", data)
    keras_model.save(model, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]
    answers = [
        keras_model.predict(m, data.splits["test"].x, data.input.quantization)
        for m in (model, keras_model.load(tmp_path))
    ]
    assert np.array_equal(*answers)
    assert len(np.unique(answers[0])) > 20


def chain(*layers):
    inputs = x = keras.Input((8, 8, 1), name="input")
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize(
    "layers, said",
    [
        ([keras.layers.UpSampling2D(name="bigger")], "'bigger' is a UpSampling2D"),
        ([qkeras.QConv2D(2, 3, kernel_quantizer="quantized_po2(4)", name="theirs")], "'theirs': kernel quantizer"),
        ([qkeras.QActivation("quantized_tanh(8)", name="bent")], "'bent': activation quantized_tanh"),
    ],
)
def test_layers_without_counterpart_are_named(layers, said):
    with pytest.raises(UnsupportedError, match=said) as caught:
        keras_model.describe(chain(*layers), dataset((8, 8, 1)), 8)
    assert caught.value.hint


@pytest.mark.parametrize("axis", [-1, 1])
def test_concatenation_of_channels_only(axis):
    inputs = keras.Input((8, 8, 1), name="input")
    model = keras.Model(inputs, keras.layers.Concatenate(axis, name="both")([inputs, inputs]))
    if axis == -1:
        assert keras_model.describe(model, dataset((8, 8, 1)), 8).layers[0].inputs == ("input", "input")
    else:
        with pytest.raises(UnsupportedError, match="'both': concatenates axis 1"):
            keras_model.describe(model, dataset((8, 8, 1)), 8)


def test_nan_weights_are_refused():
    data = dataset(SHAPES["digits_cnn"])
    model = build("digits_cnn", data)
    model.get_layer("conv2_bn").beta.assign(np.full(48, np.nan, np.float32))
    with pytest.raises(UnsupportedError, match="'conv2_bn': beta holds NaN"):
        keras_model.describe(model, data, 8)


def test_deterministic_context_silences_training_noise():
    data = dataset(SHAPES["digits_cnn"])
    model = build("digits_cnn", data)
    x = data.input.quantization.dequantize(data.splits["test"].x)
    with blocks.deterministic(model):
        quiet = [to_numpy(model(x, training=True)) for _ in range(2)]
    noisy = [to_numpy(model(x, training=True)) for _ in range(2)]
    assert np.array_equal(*quiet)
    assert not np.array_equal(*noisy)


def test_one_draw_is_the_same_noise_in_every_call():
    data = dataset(SHAPES["digits_cnn"])
    model = build("digits_cnn", data)
    x = data.input.quantization.dequantize(data.splits["test"].x)
    calm, draws = to_numpy(model(x, training=False)), []
    for _ in range(2):
        with blocks.one_draw(model), blocks.still(model):
            calls = [to_numpy(model(x, training=training)) for training in (True, True, False, False)]
        assert np.array_equal(*calls[:2]) and np.array_equal(*calls[2:])
        assert not np.array_equal(calls[2], calm)
        draws.append(calls[0])
    assert not np.array_equal(*draws)
    assert np.array_equal(calm, to_numpy(model(x, training=False)))


def test_a_still_network_normalizes_by_the_batch_and_keeps_its_statistics():
    data = dataset(SHAPES["digits_cnn"])
    model = build("digits_cnn", data)
    x = data.input.quantization.dequantize(data.splits["test"].x)
    before = [to_numpy(v) for v in model.non_trainable_variables]
    with blocks.deterministic(model):
        with blocks.still(model):
            answers = to_numpy(model(x, training=True))
        assert all(np.array_equal(a, v) for a, v in zip(before, model.non_trainable_variables, strict=True))
        assert np.array_equal(answers, to_numpy(model(x, training=True)))
    assert any(not np.array_equal(a, v) for a, v in zip(before, model.non_trainable_variables, strict=True)), (
        "moves again"
    )


def test_convolutions_but_the_first_multiply_in_the_precision_of_the_training():
    model = build("dscnn", dataset(SHAPES["dscnn"]))
    convolutions = [layer.name for layer in blocks.weighted(model) if isinstance(layer, blocks.QConv2D)]

    def rounding() -> list[str]:
        return [layer.name for layer in blocks.weighted(model) if getattr(layer, "products", None)]

    with blocks.precision(model, "float32"):
        assert rounding() == []
    with blocks.precision(model, "bfloat16"):
        assert rounding() == convolutions[1:] and len(convolutions) > 2
    assert rounding() == []


def test_bfloat16_rounds_sums_but_neither_activations_of_8_bits_nor_the_bias():
    rng = np.random.default_rng(0)
    quantizer = of_width(2, alpha="auto_po2", stochastic=False)
    layer = blocks.QConv2D(8, 1, kernel_quantizer=quantizer, bias_initializer="random_normal")
    x = rng.integers(0, 256, (2, 4, 4, 16)).astype(np.float32) / 64
    layer.build(x.shape)
    exact, bias = to_numpy(layer(x)), to_numpy(layer.bias)
    with layer.multiplying_in("bfloat16"):
        near = to_numpy(layer(x))
    sums = to_numpy(keras.ops.conv(x, quantizer(layer.kernel)))
    assert np.array_equal(sums + bias, exact)
    assert np.array_equal(to_numpy(keras.ops.cast(keras.ops.cast(sums, "bfloat16"), "float32")) + bias, near)
    assert not np.array_equal(near, exact)
    assert np.array_equal(to_numpy(layer(x)), exact)
