"""The contract of reading Keras: whatever a model's layers are set to, the integer network computes it, or the reader
refuses it naming the layer and the setting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import UnsupportedError
from pipeline.core.nouns import Dataset, QLayer, QModel, Quantization, Split, TensorSpec
from pipeline.network import twin
from pipeline.stages import lower
from pipeline.training import blocks, keras_graph, keras_model, keras_reader, keras_settings
from pipeline.training.keras_backend import keras, qkeras, to_numpy
from pipeline.training.quantizers import QuantizedLinear, QuantizedRelu, StochasticTernary, SymmetricInteger

L = keras.layers
MOST_LSB = 2.0
NETWORKS = 25
SAMPLES = 16


def dataset(shape: tuple[int, ...]) -> Dataset:
    x = np.random.default_rng(0).integers(-128, 128, (SAMPLES, *shape)).astype(np.int8)
    split = Split(x, np.zeros(SAMPLES, np.int64), np.arange(SAMPLES))
    return Dataset("noise", TensorSpec(shape, Quantization(1 / 64, 3)), ("a",), {"train": split})


def randomize(model: Any, seed: int) -> None:
    """Weights and statistics as after some training: none trivial, gains of both signs."""
    random = np.random.default_rng(seed)
    for variable in model.variables:
        name, shape = variable.path.rpartition("/")[2], tuple(variable.shape)
        if "kernel" in name:
            variable.assign(random.normal(0, 1 / np.sqrt(max(1, np.prod(shape[:-1]))), shape))
        elif name in ("moving_variance", "gamma"):
            low = 0.3 if name == "moving_variance" else -1.5
            variable.assign(random.uniform(low, 2.0, shape))
        elif name in ("bias", "beta", "moving_mean"):
            variable.assign(random.normal(0, 0.3, shape))


def described(model: Any) -> tuple[QModel, Dataset]:
    data = dataset(tuple(model.input_shape[1:]))
    return lower.lower(keras_model.describe(model, data, SAMPLES)), data


def most_lsb(layer: QLayer, fixed: bool) -> float:
    """MOST_LSB, and where a quantizer fixes a lattice finer than a product, what rounding the bias costs."""
    if not fixed or layer.multiplier is None or layer.shift is None:
        return MOST_LSB
    product = float(np.max(layer.multiplier * 2.0 ** (layer.shift.astype(float) - 31)))
    return MOST_LSB + max(0.0, product - 1) / 2


def check(model: Any) -> QModel:
    """The integer network. Each of its layers is within most_lsb of what Keras makes of the same inputs."""
    qmodel, data = described(model)
    x, trained = data.splits["train"].x, keras_model.describe(model, data, SAMPLES)
    fixed = {layer.name for layer in trained.layers if layer.config.get("scale") is not None}
    integers = {q.keras_name: (q, out) for q, out in zip(qmodel.layers, twin.trace(qmodel, x), strict=True)}
    graph = keras_graph.calls(model)
    ends = keras_reader.ends(graph)
    values = {keras_graph.INPUT: data.input.quantization.dequantize(x)}
    for call in graph:
        tensors = [values[name] for name in call.inputs]
        real = to_numpy(call.layer(tensors if isinstance(call.layer, keras_graph.MERGING) else tensors[0]))
        if ends[call.name] in integers:
            layer, out = integers[ends[call.name]]
            assert real.shape[1:] == layer.output.shape, call.name
            q = layer.output.quantization
            exact = np.clip(real / q.scale + q.zero_point, q.qmin, q.qmax)
            most = most_lsb(layer, layer.keras_name in fixed)
            assert np.abs(exact - out).max() <= most, f"{call.name} ({type(call.layer).__name__})"
            real = q.dequantize(out)
        values[call.name] = real
    assert ends[graph[-1].name] in integers, "the output is not one of the integer network's layers"
    np.testing.assert_array_equal(twin.run(qmodel, x), integers[ends[graph[-1].name]][1], "in batches")
    return qmodel


class Network:
    """Draws layers one after another; a tensor `x` is the newest, the shape of which it knows."""

    def __init__(self, draw: Any) -> None:
        self.draw, self.count = draw, 0
        shape = draw(st.integers(4, 8)), draw(st.integers(4, 8)), draw(st.integers(1, 4))
        self.input = self.x = keras.Input(shape)

    def pick(self, *choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def quantizer(self, axes: int = 1) -> Any:
        bits = self.pick(2, 2, 3, 4, 8)
        return StochasticTernary(channel_axes=axes) if bits == 2 else SymmetricInteger(bits, axes)

    def lattice(self) -> Any:
        bits, integer = self.pick(2, 4, 8, 8), self.pick(0, 1, 2)
        return self.pick(
            qkeras.quantized_relu(bits, integer), QuantizedRelu(bits, integer), blocks.HalfUpRelu(bits, integer),
            qkeras.quantized_bits(bits, integer, alpha=self.pick(None, 1.0)), QuantizedLinear(8, integer, alpha=1.0),
        )  # fmt: skip

    def weights(self) -> dict[str, Any]:
        """Settings that every weighted layer has."""
        return {
            "use_bias": self.pick(True, False),
            "trainable": self.pick(True, False),
            "bias_quantizer": self.pick(None, None, qkeras.quantized_bits(8, 1, alpha=1.0)),
            "kernel_regularizer" if self.kind != "depthwise" else "depthwise_regularizer": self.pick(None, "l2"),
        }

    def weighted(self, kind: str) -> None:
        """A layer with weights, then maybe normalization, then an activation, here or inside the layer."""
        self.kind, rank = kind, len(self.x.shape)
        inside, norm = self.pick(None, self.lattice(), "relu", "linear"), self.pick(True, False)
        given = {**self.weights(), "activation": inside, "name": self.name(kind)}
        window = {} if kind == "dense" else {"strides": self.pick(1, 2), "padding": self.pick("same", "valid")}
        side = self.draw(st.integers(1, 4)), self.draw(st.integers(1, 4))
        if kind == "conv":
            family = self.pick(blocks.QConv2D, qkeras.QConv2D)
            layer = family(self.pick(2, 3, 4), side, kernel_quantizer=self.quantizer(), **window, **given)
        elif kind == "depthwise":
            family = self.pick(blocks.QDepthwiseConv2D, qkeras.QDepthwiseConv2D)
            many = self.pick(1, 2)
            layer = family(side, depth_multiplier=many, depthwise_quantizer=self.quantizer(2), **window, **given)
        else:
            layer = self.pick(blocks.QDense, qkeras.QDense)(5, kernel_quantizer=self.quantizer(), **given)
        self.x = layer(self.x)
        if inside not in (None, "linear"):
            return
        if norm:
            family = self.pick(blocks.BatchNormalization, L.BatchNormalization)
            self.x = family(
                axis=self.pick(-1, rank - 1), center=self.pick(True, False), scale=self.pick(True, False),
                epsilon=self.pick(1e-3, 1e-2), momentum=self.pick(0.9, 0.99), name=self.name("norm"),
            )(self.x)  # fmt: skip
        self.activation()

    def activation(self) -> None:
        name = self.name("act")
        self.x = self.pick(qkeras.QActivation(self.lattice(), name=name), L.ReLU(name=name))(self.x)

    def nothing(self) -> None:
        layer = self.pick(L.Dropout, L.SpatialDropout2D, L.GaussianNoise)
        self.x = layer(0.2, name=self.name("noise"))(self.x)

    def pool(self) -> None:
        family = self.pick(L.MaxPooling2D, L.AveragePooling2D)
        size, strides = self.pick(1, 2, (2, 1)), self.pick(None, 1, 2, (1, 2))
        self.x = family(size, strides=strides, padding=self.pick("same", "valid"), name=self.name("pool"))(self.x)

    def merge(self) -> None:
        """The newest tensor and a layer of the same shape on it, added or joined."""
        channels = self.x.shape[-1]
        other = qkeras.QConv2D(channels, 1, kernel_quantizer=self.quantizer(), name=self.name("side"))(self.x)
        other = qkeras.QActivation(qkeras.quantized_bits(8, 2, alpha=1.0), name=self.name("side_act"))(other)
        tensors = self.pick([self.x, other], [other, self.x], [other, other])
        if self.pick(True, False):
            self.x = L.Add(name=self.name("add"))(tensors)
        else:
            layer = L.Concatenate(axis=self.pick(-1, 3), name=self.name("join"))
            self.x = layer(tensors + self.pick([], [self.x], [other, self.x]))
        if self.pick(True, False):
            self.activation()

    def shared(self) -> None:
        """One layer called twice, the second time on its own output."""
        channels = self.x.shape[-1]
        layer = qkeras.QConv2D(
            channels, 3, padding="same", kernel_quantizer=self.quantizer(), name=self.name("twice"),
            activation=qkeras.quantized_bits(8, 2, alpha=1.0),
        )  # fmt: skip
        self.x = layer(layer(self.x))

    def nested(self) -> None:
        """A model in the model."""
        name, before = self.name("model"), self.x
        inner = keras.Input(before.shape[1:])
        self.x = inner
        self.pick(self.pool, lambda: self.weighted("conv"))()
        model = keras.Model(inner, self.x, name=name)
        self.x = (model if self.pick(True, False) else keras.Sequential([model], name=f"{name}s"))(before)

    def head(self) -> None:
        keep = self.pick(True, False)
        end = self.pick(None, L.GlobalAveragePooling2D, L.GlobalMaxPooling2D, L.Flatten)
        if end is None:
            return
        self.x = (
            end(name=self.name("end"))(self.x)
            if end is L.Flatten
            else end(keepdims=keep, name=self.name("end"))(self.x)
        )
        if len(self.x.shape) == 2 and self.pick(True, False):
            self.weighted("dense")
        elif len(self.x.shape) == 4:
            self.weighted("conv")

    def model(self) -> Any:
        steps = (
            lambda: self.weighted("conv"), lambda: self.weighted("depthwise"), self.pool, self.merge, self.shared,
            self.nested, self.nothing,
        )  # fmt: skip
        self.weighted(self.pick("conv", "depthwise"))
        for _ in range(self.draw(st.integers(0, 2))):
            self.pick(*steps)()
        self.head()
        return keras.Model(self.input, self.x)


@given(st.data())
@settings(max_examples=NETWORKS, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_networks_over_every_setting(data: st.DataObject) -> None:
    """All of them are computed, but for windows larger than what they slide over, which Keras refuses itself."""
    keras.backend.clear_session()
    try:
        model = Network(data.draw).model()
    except ValueError as error:
        assert "negative" in str(error) or "must be" in str(error).lower() or "Computed output size" in str(error), (
            error
        )
        return
    randomize(model, data.draw(st.integers(0, 999)))
    try:
        check(model)
    except UnsupportedError as error:
        assert "the output scale is too fine" in str(error), error


def conv(**given: Any) -> Any:
    return blocks.QConv2D(4, 3, **{"padding": "same", "kernel_quantizer": StochasticTernary(), "name": "c", **given})


def depthwise(**given: Any) -> Any:
    quantizer = given.pop("depthwise_quantizer", StochasticTernary(channel_axes=2))
    return blocks.QDepthwiseConv2D(3, depthwise_quantizer=quantizer, name="c", **given)


def act(activation: Any) -> Any:
    return qkeras.QActivation(activation, name="c")


REFUSED = {
    "dilation": (lambda: conv(dilation_rate=2), r"QConv2D\(dilation_rate=\(2, 2\)\)"),
    "groups": (lambda: conv(groups=2), r"QConv2D\(groups=2\)"),
    "depthwise dilation": (lambda: depthwise(dilation_rate=2), r"QDepthwiseConv2D\(dilation_rate=\(2, 2\)\)"),
    "channels of a quantizer": (
        lambda: depthwise(depthwise_quantizer=StochasticTernary(), depth_multiplier=2),
        r"StochasticTernary\(channel_axes=1\) makes 2 scales",
    ),
    "mask": (lambda: conv(mask=np.ones((3, 3), np.float32)), r"QConv2D\(mask="),
    "powers of two": (lambda: conv(kernel_quantizer=qkeras.quantized_po2(4)), "kernel quantizer quantized_po2"),
    "random rounding": (
        lambda: conv(kernel_quantizer=qkeras.quantized_bits(4, 0, 1, use_stochastic_rounding=True)),
        r"quantized_bits\(use_stochastic_rounding=True\)",
    ),
    "precision": (lambda: conv(dtype="float16"), r"QConv2D\(dtype='float16'\)"),
    "a bias quantizer": (lambda: conv(bias_quantizer=qkeras.binary(alpha=1.0)), "bias_quantizer = binary"),
    "tanh inside": (lambda: conv(activation="tanh"), "activation tanh has no device counterpart"),
    "slope inside": (lambda: conv(activation=qkeras.quantized_relu(8, 2, negative_slope=0.25)), "negative_slope=0.25"),
    "slope": (lambda: act(qkeras.quantized_relu(8, 2, negative_slope=0.25)), r"quantized_relu\(negative_slope=0.25\)"),
    "sigmoid": (lambda: act(qkeras.quantized_relu(8, 2, use_sigmoid=1)), r"quantized_relu\(use_sigmoid=1\)"),
    "upper bound": (
        lambda: act(qkeras.quantized_relu(8, 2, relu_upper_bound=3.0)),
        r"quantized_relu\(relu_upper_bound=3",
    ),
    "noise": (lambda: act(qkeras.quantized_relu(8, 2, qnoise_factor=0.5)), r"quantized_relu\(qnoise_factor=0.5\)"),
    "random": (
        lambda: act(qkeras.quantized_relu(8, 2, use_stochastic_rounding=True)),
        r"quantized_relu\(use_stochastic_rounding=True\)",
    ),
    "unsigned": (
        lambda: act(qkeras.quantized_bits(8, 2, keep_negative=False)),
        r"quantized_bits\(keep_negative=False\)",
    ),
    "symmetric": (lambda: act(qkeras.quantized_bits(8, 2, symmetric=1)), r"quantized_bits\(symmetric=1\)"),
    "scaled": (lambda: act(qkeras.quantized_bits(8, 2, alpha=2.0)), r"quantized_bits\(alpha=2.0\)"),
    "scales of its own": (lambda: act(qkeras.quantized_bits(8, 2, symmetric=1, alpha="auto")), r"quantized_bits\("),
    "too wide": (lambda: act(qkeras.quantized_bits(16, 2)), r"quantized_bits\(bits=16\)"),
    "one bit": (lambda: act(qkeras.quantized_relu(1, 0)), r"quantized_relu\(bits=1\)"),
    "linear": (lambda: act(qkeras.quantized_linear(8, 2, alpha="auto")), r"quantized_linear\(alpha='auto'\)"),
    "tanh": (lambda: act("quantized_tanh(8)"), "activation quantized_tanh"),
    "leaky": (lambda: L.LeakyReLU(name="c"), "'c' is a LeakyReLU"),
    "leaky by a setting": (lambda: L.ReLU(negative_slope=0.1, name="c"), r"ReLU\(negative_slope=0.1\)"),
    "normalization of rows": (lambda: L.BatchNormalization(axis=1, name="c"), "'c': normalizes axis 1"),
    "channels first": (
        lambda: L.MaxPooling2D(2, data_format="channels_first", name="c"),
        "data_format='channels_first'",
    ),
    "dense on an image": (
        lambda: blocks.QDense(3, kernel_quantizer=StochasticTernary(), name="c"),
        r"'c': a dense layer on shape \(6, 6, 4\)",
    ),
    "a vector of rows": (lambda: L.Reshape((6, 24), name="c"), r"'c': makes the shape \(6, 24\)"),
    "a scale per channel": (lambda: L.Rescaling([1.0, 2.0, 1.0, 1.0], name="c"), r"'c': Rescaling\(scale=\[1.0, 2.0"),
    "turned over": (lambda: L.Rescaling(-1.0, name="c"), r"Rescaling\(scale=-1.0"),
    "between two steps": (lambda: L.Rescaling(2.0, 0.01, name="c"), "'c': its zero would be at 2.68 of the lattice"),
    "far away": (lambda: L.Rescaling(1.0, 3.0, name="c"), "'c': its zero would be at -189 of the lattice"),
    "a layer of their own": (lambda: type("Conv", (blocks.QConv2D,), {})(4, 3, name="c"), "'c' is a Conv"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_setting_that_is_not_computed_is_refused_by_name(name: str) -> None:
    make, message = REFUSED[name]
    inputs = keras.Input((6, 6, 4))
    with pytest.raises(UnsupportedError, match=message) as caught:
        described(keras.Model(inputs, make()(inputs)))
    assert "'c'" in str(caught.value)
    assert caught.value.hint


def images() -> Any:
    return keras.Input((6, 6, 4))


def model_of(build: Any) -> Any:
    inputs = images()
    return keras.Model(inputs, build(inputs))


PLAIN = {
    "Rescaling": lambda x: L.Conv2D(3, 3, padding="same")(L.Rescaling(2.0, 0.5)(x)),
    "Rescaling inside": lambda x: L.Conv2D(3, 3, padding="same")(L.Rescaling(0.5)(L.Conv2D(3, 1)(x))),
    "Reshape": lambda x: L.Conv2D(3, 2)(L.Reshape((3, 4, -1))(x)),
    "Reshape to a vector": lambda x: L.Dense(3)(L.Reshape((144,))(x)),
    "normalization first": lambda x: L.Conv2D(3, 3, padding="same")(L.BatchNormalization()(x)),
    "normalization, then relu": lambda x: L.ReLU()(L.BatchNormalization()(L.MaxPooling2D(2)(L.Conv2D(3, 3)(x)))),
    "normalization of an activation": lambda x: L.BatchNormalization()(L.Conv2D(3, 3, activation="relu")(x)),
    "normalization of a vector": lambda x: L.Dense(3)(L.BatchNormalization()(L.GlobalAveragePooling2D()(x))),
    "normalization of a shared tensor": lambda x: L.Add()([y := L.Conv2D(4, 1)(x), L.BatchNormalization()(y)]),
    "relu after a maximum": lambda x: L.ReLU()(L.MaxPooling2D(2)(L.Conv2D(3, 3)(x))),
    "relu after a mean": lambda x: L.Activation("relu")(L.AveragePooling2D(2)(L.Conv2D(3, 3)(x))),
    "relu6 after a mean": lambda x: L.Activation("relu6")(
        L.GlobalAveragePooling2D()(L.Conv2D(3, 3)(L.Rescaling(9.0)(x)))
    ),
    "a bounded relu after a mean": lambda x: L.ReLU(0.25)(L.AveragePooling2D(2)(L.Conv2D(3, 3)(x))),
    "relu of a vector": lambda x: L.Dense(3)(L.ReLU()(L.Dropout(0.1)(L.Flatten()(L.Conv2D(3, 3)(x))))),
    "relu of another shape": lambda x: L.Conv2D(3, 2)(L.ReLU()(L.Reshape((4, 3, 4))(L.Conv2D(3, 3)(x)))),
    "relu of a mean as a vector": lambda x: L.ReLU()(L.Flatten()(L.AveragePooling2D(2)(L.Conv2D(3, 3)(x)))),
    "relu of a normalized vector": lambda x: L.ReLU()(L.BatchNormalization()(L.Flatten()(L.MaxPooling2D(2)(x)))),
    "relu of a shared vector": lambda x: L.Add()([y := L.Flatten()(L.Conv2D(3, 3)(x)), L.ReLU()(y)]),
    "relu of a shared image": lambda x: L.Add()([y := L.Conv2D(4, 1)(x), L.ReLU(0.5)(y)]),
    "relu of the input": lambda x: L.Conv2D(3, 3)(L.ReLU()(x)),
    "a name that is taken": lambda x: L.Dense(3, name="r_pixel")(L.ReLU(0.5, name="r")(L.Flatten()(x))),
    "relu of padding": lambda x: L.Conv2D(3, 3)(L.Activation("relu6")(L.ZeroPadding2D(1)(L.Conv2D(3, 1)(x)))),
    "relu of a relu": lambda x: L.ReLU(0.5)(L.Dense(5, activation="relu")(L.Flatten()(x))),
    "a lattice of its own": lambda x: act(qkeras.quantized_relu(8, 1))(
        conv(name="d", activation="quantized_bits(8,2,alpha=1.0)")(x)
    ),
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_layers_wherever_they_stand(name: str) -> None:
    model = model_of(PLAIN[name])
    randomize(model, 5)
    check(model)


def test_relu_after_pooling_and_rescaling_cost_no_layer() -> None:
    model = model_of(lambda x: L.ReLU()(L.MaxPooling2D(2)(L.Conv2D(3, 3)(L.Rescaling(0.5)(x)))))
    assert [layer.kind for layer in described(model)[0].layers] == ["flatten", "conv2d", "max_pool2d"]
    model = model_of(lambda x: L.ReLU()(L.Dropout(0.1)(L.Flatten()(L.ReLU()(L.Reshape((4, 3, 4))(L.Conv2D(3, 3)(x)))))))
    assert [layer.kind for layer in described(model)[0].layers] == ["conv2d", "flatten", "flatten"]


def test_relu_of_a_shared_tensor_is_exact() -> None:
    """It keeps the lattice of what it reads, and that tensor as others read it."""
    model, _ = described(model_of(lambda x: L.Concatenate()([y := L.Conv2D(3, 3)(x), L.ReLU()(y)])))
    assert [layer.kind for layer in model.layers] == ["conv2d", "depthwise_conv2d", "concatenate"]
    x = np.random.default_rng(1).integers(-128, 128, (4, 6, 6, 4)).astype(np.int8)
    linear, bent, _ = twin.trace(model, x)
    zero = model.layers[0].output.quantization.zero_point
    assert linear.min() < zero
    np.testing.assert_array_equal(bent, np.maximum(linear, zero))


GRAPHS = {
    "three added": (lambda: model_of(lambda x: L.Add(name="c")([x, conv(name="d")(x), x])), "'c': adds 3 tensors"),
    "rows joined": (lambda: model_of(lambda x: L.Concatenate(axis=1, name="c")([x, x])), "'c': concatenates axis 1"),
    "broadcast": (
        lambda: model_of(lambda x: L.Add(name="c")([x, L.GlobalMaxPooling2D(keepdims=True)(x)])),
        r"'c': adds shapes \(6, 6, 4\) and \(1, 1, 4\)",
    ),
    "an operation": (lambda: model_of(lambda x: keras.ops.sin(conv()(x))), "keras.ops has Sin"),
    "a mode": (
        lambda: model_of(lambda x: L.BatchNormalization(name="c")(x, training=True)),
        "called with training = True",
    ),
    "two outputs": (lambda: keras.Model(i := images(), [conv()(i), conv(name="d")(i)]), "1 inputs and 2 outputs"),
    "nothing": (lambda: keras.Model(i := images(), L.Dropout(0.1)(i)), "has no layers"),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_that_is_not_computed_is_refused_by_name(name: str) -> None:
    make, message = GRAPHS[name]
    with pytest.raises(UnsupportedError, match=message):
        described(make())


@pytest.mark.parametrize(
    ("layer", "hint"), [(L.LeakyReLU(), "train it with ReLU, or ReLU(6.0); known: "), (L.UpSampling2D(), "known: ")]
)
def test_the_hint_is_what_comes_nearest(layer: Any, hint: str) -> None:
    with pytest.raises(UnsupportedError, match="which no device layer exists for") as caught:
        described(model_of(lambda x: layer(conv()(x))))
    assert caught.value.hint.startswith(hint) and "Conv2D" in caught.value.hint


def test_a_subclassed_model_has_no_graph() -> None:
    model = type("Mine", (keras.Model,), {})(name="mine")
    with pytest.raises(UnsupportedError, match=r"model 'mine' \(Mine\) has no graph of layers"):
        keras_graph.calls(model)


@pytest.mark.parametrize("kind", keras_settings.SETTINGS, ids=lambda kind: kind.__name__)
def test_a_setting_of_a_later_version_is_refused(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = {
        **{f"{kind}{n}D": (4, 3) for kind in ("Conv", "SeparableConv") for n in (1, 2)},
        **{f"{kind}{n}D": (3,) for kind in ("DepthwiseConv", "AveragePooling") for n in (1, 2)},
        "Dense": (4,),
        "Activation": ("relu",),
        "Reshape": ((4,),),
        "Rescaling": (0.5,),
    }
    arguments |= {f"Q{name}": given for name, given in arguments.items()} | {"QActivation": ("quantized_relu(8)",)}
    arguments |= {"Reshape": ((4,),), "Rescaling": (0.5,)}
    thing = kind(*arguments.get(kind.__name__, ()))
    keras_settings.require_known(thing, "here")
    config = {**thing.get_config(), "sparkle": 3}
    monkeypatch.setattr(thing, "get_config", lambda: config)
    with pytest.raises(UnsupportedError, match=f"here: {kind.__name__} has a setting sparkle = 3"):
        keras_settings.require_known(thing, "here")


def test_a_layer_called_twice_is_two_layers_of_the_network() -> None:
    """The same convolution twice: read layer by layer it was one."""
    inputs, shared = images(), conv(activation=qkeras.quantized_bits(8, 2, alpha=1.0))
    model = keras.Model(inputs, shared(shared(inputs)))
    randomize(model, 1)
    qmodel = check(model)
    assert [layer.name for layer in qmodel.layers] == ["c", "c_2"]
    assert np.array_equal(qmodel.layers[0].weights, qmodel.layers[1].weights)


def test_calls_come_in_the_order_of_keras_layers() -> None:
    inputs = images()
    left = act(qkeras.quantized_relu(8, 2))(conv(name="left")(inputs))
    right = conv(name="right")(L.Dropout(0.1)(inputs))
    model = keras.Model(inputs, L.Add()([right, left]))
    names = [layer.name for layer in model.layers if type(layer) not in (L.InputLayer, *keras_graph.IDENTITIES)]
    assert [call.name for call in keras_graph.calls(model)] == names
