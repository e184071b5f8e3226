"""The network in a Keras file that someone else trained: layer by layer the same, its weights quantized.

Convolutions, depthwise and dense layers become ours, whose kernels are quantized; they and batch normalizations begin
with the weights of the file. Tensors keep their ranges: nothing quantizes them in training, samples show at its end
which 8-bit lattice each one needs. Dropout and noise are left out, as everywhere: the noise of the weights takes their
place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.config.job import ModelConfig, TrainConfig, model_file
from pipeline.core.errors import ConfigError, PipelineError, UnsupportedError
from pipeline.core.nouns import TensorSpec
from pipeline.training import blocks, keras_file, keras_forms, keras_graph, keras_reader, keras_settings
from pipeline.training.blocks import Blocks
from pipeline.training.keras_backend import keras, qkeras, to_numpy
from pipeline.training.keras_graph import INPUT, Call

Tensor = Any


def build(dataset_input: TensorSpec, classes: int, config: ModelConfig, train: TrainConfig) -> Any:
    """A keras.Model (batch, *shape) -> logits (batch, classes) with the layers, names and weights of config.file.

    Samples are real inputs of the data set; a Rescaling layer brings them to the units of the file, and does what those
    at the input of the file's network do, its offset moved by at most half a lattice step, so that zero is a point of
    the lattice. ConfigError: no file, or none of Keras;
    UnsupportedError, naming file, layer and value: what no device layer computes, or samples of another shape.
    """
    if config.file is None:
        raise ConfigError("model.name = 'clone': which file?", 'file = "my.keras" in [model]')
    model, *rescaling = keras_forms.without_rescaling(original(config, dataset_input.shape))
    try:
        keras_forms.require_shapes(model, dataset_input.shape, classes)
        graph = keras_graph.calls(model)
        for _ in keras_reader.read(graph):
            pass  # it refuses what no device layer computes
    except PipelineError as error:
        raise type(error)(f"{config.file}: {error}", error.hint) from error
    gain, offset = units(config, dataset_input)
    inside, shift = rescaling
    return _Clone(graph, config, Blocks(config, train)).run(
        dataset_input, (inside * gain, inside * offset + shift), model.name
    )


def original(config: ModelConfig, shape: tuple[int, ...]) -> Any:
    """The keras.Model in config.file, to logits, for samples of this shape if it fits them. ConfigError: no file, or
    none of Keras; UnsupportedError: it holds Python code, or layers that neither Keras nor QKeras has."""
    model = keras_file.load(model_file(config))
    try:
        return keras_forms.fitted(model, shape)
    except UnsupportedError as error:
        raise UnsupportedError(f"{config.file}: {error}", error.hint) from error


def units(config: ModelConfig, dataset_input: TensorSpec) -> tuple[float, float]:
    """(gain, offset): a real input of the file's network is gain * value + offset for a value of the data set."""
    if config.input_range is None:
        return 1.0, 0.0
    low, high = config.input_range
    first, last = dataset_input.quantization.reach
    gain = (high - low) / (last - first)
    return gain, low - gain * first


class _Clone:
    """Rebuilds the calls of a model one after the other."""

    def __init__(self, graph: Sequence[Call], config: ModelConfig, made: Blocks) -> None:
        self.graph, self.config, self.blocks = graph, config, made
        self.layers: dict[int, Any] = {}
        heavy = [call.name for call in graph if keras_settings.known_class(call.layer) in keras_reader.WEIGHTED_LAYERS]
        places = (
            zip((heavy[-1], heavy[0]), (config.last_layer_bits, config.first_layer_bits), strict=True) if heavy else ()
        )
        self.bits: Mapping[str, int] = {name: bits for name, bits in places if bits is not None}

    def run(self, dataset_input: TensorSpec, units: tuple[float, float], name: str) -> Any:
        """The new network of that name. units: gain and offset that bring its inputs to those of the graph."""
        inputs = keras.Input(dataset_input.shape, name=INPUT)
        values = {INPUT: self._rescaled(inputs, units, dataset_input.quantization.scale)}
        for call in self.graph:
            tensors = [values[source] for source in call.inputs]
            made = self._layer(call)
            x = made(tensors if isinstance(call.layer, keras_graph.MERGING) else tensors[0])
            self._copy(call.layer, made)
            values[call.name] = self._bent(call, x)
        return keras.Model(inputs, values[self.graph[-1].name], name=name)

    def _rescaled(self, inputs: Tensor, units: tuple[float, float], scale: float) -> Tensor:
        """scale: of the lattice of the inputs."""
        gain, offset = units
        if (gain, offset) == (1.0, 0.0):
            return inputs
        step = gain * scale
        name = keras_graph.free_name("units", {call.name for call in self.graph})
        return keras.layers.Rescaling(gain, round(offset / step) * step, name=name)(inputs)

    def _layer(self, call: Call) -> Any:
        """The counterpart of the call's layer; of one that is called again, the same."""
        if id(call.layer) not in self.layers:
            make = _COUNTERPARTS.get(keras_settings.known_class(call.layer) or type(None))
            self.layers[id(call.layer)] = make(self, call) if make else _same(call.layer, call.name)
        return self.layers[id(call.layer)]

    def _bent(self, call: Call, x: Tensor) -> Tensor:
        """The output of a weighted layer through the activation inside it, which becomes a layer of its own."""
        end = keras_reader.ends(self.graph)[call.name]
        if end == call.name:
            return x
        inside = call.layer.activation
        plain = inside in (keras.activations.relu, keras.activations.relu6)
        return (keras.layers.Activation if plain else qkeras.QActivation)(inside, name=end)(x)

    def _copy(self, layer: Any, made: Any) -> None:
        """The weights, by their names."""
        known = {_weight_name(variable): variable for variable in layer.weights}
        for variable in made.weights:
            if _weight_name(variable) in known:
                variable.assign(to_numpy(known[_weight_name(variable)]))

    def _weighted(self, call: Call) -> dict[str, Any]:
        return {"use_bias": call.layer.use_bias, "name": call.name}

    def _window(self, call: Call) -> dict[str, Any]:
        layer = call.layer
        return {**self._weighted(call), "strides": layer.strides, "padding": layer.padding}

    def _conv2d(self, call: Call) -> Any:
        quantizer = self.blocks.quantizer(call.name, self.bits.get(call.name))
        layer = call.layer
        return blocks.QConv2D(layer.filters, layer.kernel_size, kernel_quantizer=quantizer, **self._window(call))

    def _depthwise(self, call: Call) -> Any:
        quantizer = self.blocks.quantizer(call.name, self.bits.get(call.name), channel_axes=2)
        many = call.layer.depth_multiplier
        return blocks.QDepthwiseConv2D(
            call.layer.kernel_size, depth_multiplier=many, depthwise_quantizer=quantizer, **self._window(call)
        )

    def _dense(self, call: Call) -> Any:
        quantizer = self.blocks.quantizer(call.name, self.bits.get(call.name))
        return blocks.QDense(call.layer.units, kernel_quantizer=quantizer, **self._weighted(call))

    def _normalization(self, call: Call) -> Any:
        layer = call.layer
        return blocks.BatchNormalization(
            momentum=blocks.BN_MOMENTUM, epsilon=layer.epsilon, center=layer.center, scale=layer.scale, name=call.name
        )


def _weight_name(variable: Any) -> str:
    """ "kernel" of a depthwise layer too, which Keras and QKeras name apart."""
    return str(variable.path.rpartition("/")[2]).removeprefix("depthwise_")


def _same(layer: Any, name: str) -> Any:
    """A layer without weights as it is."""
    return type(layer).from_config({**layer.get_config(), "name": name})


_COUNTERPARTS: Mapping[type, Callable[[_Clone, Call], Any]] = {
    keras.layers.Conv2D: _Clone._conv2d,
    keras.layers.DepthwiseConv2D: _Clone._depthwise,
    keras.layers.Dense: _Clone._dense,
    qkeras.QConv2D: _Clone._conv2d,
    qkeras.QDepthwiseConv2D: _Clone._depthwise,
    qkeras.QDense: _Clone._dense,
    keras.layers.BatchNormalization: _Clone._normalization,
}
