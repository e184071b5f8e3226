"""Keras files of other people: loaded without running code that they carry, and refused in one line."""

from __future__ import annotations

import json
import math
import re
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pipeline.core import schema
from pipeline.core.errors import ConfigError, UnsupportedError
from pipeline.training import blocks, keras_graph, keras_settings
from pipeline.training.keras_backend import keras, qkeras
from pipeline.training.keras_graph import Call
from pipeline.training.quantizers import FixedLinear

MOST_BYTES = 1 << 28
"""Of a file, and of what a zip file unpacks to. No network for a microcontroller comes near."""
PARAMETER_BYTES = 4
"""Of a parameter in a file: float32."""
CLASS = re.compile(r"(?:Unknown layer: '?|Could not locate class '|Unknown object: '?)(\w+)")


def load(path: Path) -> Any:
    """The keras.Model in a .keras or .h5 file, without a closing softmax: the largest logit has the largest share. A
    separable convolution is its two convolutions.

    ConfigError: no such file, or none of Keras; UnsupportedError: it holds Python code, or layers that neither Keras
    nor QKeras has.
    """
    _require_small(path)
    _require_few_parameters(path)
    try:
        model = with_separable_split(without_softmax(keras.saving.load_model(path, compile=False, safe_mode=True)))
        for layer in blocks.nested_layers(model):
            if type(getattr(layer, "activation", None)) is qkeras.quantized_linear:
                layer.activation = FixedLinear(**layer.activation.get_config())
        return model
    except UnsupportedError:
        raise
    except Exception as error:  # Keras raises whatever its zip, json and h5 readers raise
        raise _refusal(path, " ".join(str(error).split()) or type(error).__name__) from error


def _require_small(path: Path) -> None:
    try:
        size = schema.file_size(path)
        if path.suffix.lower() == ".keras" and not zipfile.is_zipfile(path):
            raise ConfigError(f"{path}: not a zip file, as .keras files are, or truncated", "copy or save it again")
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                size = max(size, sum(part.file_size for part in archive.infolist()))
    except (OSError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or "a damaged zip file"
        raise ConfigError(f"{path}: {reason}", "name a .keras or .h5 file") from error
    if size > MOST_BYTES:
        raise UnsupportedError(f"{path}: more than {MOST_BYTES} bytes", "no such network fits a microcontroller")


def _require_few_parameters(path: Path) -> None:
    """UnsupportedError when the file describes more parameters than a file of MOST_BYTES holds: Keras would make room
    for all of them before it reads any. Of a description that cannot be read, Keras says why."""
    try:
        # What Keras notes of variables without values is a thread's own.
        with ThreadPoolExecutor(1) as aside:
            count = sum(math.prod(shape) for shape in aside.submit(_described, path).result())
    except Exception:  # whatever Keras raises; it will again, and then that is the answer
        return
    if count > MOST_BYTES // PARAMETER_BYTES:
        raise UnsupportedError(f"{path}: describes {count} parameters", "no such network fits a microcontroller")


def _described(path: Path) -> list[tuple[int, ...]]:
    """Shapes of all variables of the model that the file describes, none of which gets a value."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            described = json.loads(archive.read("config.json"))
    else:
        with h5py.File(path) as file:
            described = {"module": "keras", **json.loads(file.attrs["model_config"])}
        if described["class_name"] == "Functional":
            described["class_name"] = "Model"
    with keras.StatelessScope(initialize_variables=False):
        model = keras.saving.deserialize_keras_object(described, safe_mode=True)
        return [tuple(variable.shape) for variable in model.variables]


def _refusal(path: Path, reason: str) -> ConfigError | UnsupportedError:
    """What to say of a file that Keras does not load."""
    if "Lambda" in reason or "unsafe" in reason.lower():
        what = f"{path}: holds Python code (a Lambda layer), which is not run"
        return UnsupportedError(what, "write it with layers of Keras, and save it again")
    if found := CLASS.search(reason):
        what = f"{path}: layer class {found[1]} is neither Keras's nor QKeras's"
        return UnsupportedError(what, "write it with their layers, or as a builder in models/NAME.py")
    return ConfigError(f"{path}: not a Keras file, damaged, or of another version ({reason[:150]})", "save it again")


def without_softmax(model: Any) -> Any:
    """The keras.Model without a closing softmax, be it that of a model inside it: its logits. The layer that makes them
    may be changed. UnsupportedError: a model that is no graph of layers from one input to one output."""
    graph, softmax = keras_graph.calls(model), keras.activations.softmax
    last = graph[-1]
    if isinstance(last.layer, keras.layers.Softmax) or (
        isinstance(last.layer, keras.layers.Activation) and last.layer.activation is softmax
    ):
        return _rebuilt(model, graph[:-1])
    if getattr(last.layer, "activation", None) is softmax:
        last.layer.activation = keras.activations.linear
    return model


def _rebuilt(model: Any, graph: Sequence[Call]) -> Any:
    """The keras.Model of these calls, which begin as the model's do."""
    inputs = keras.Input(model.input_shape[1:])
    return keras.Model(inputs, keras_graph.outputs(graph, inputs)[graph[-1].name], name=model.name)


def with_separable_split(model: Any) -> Any:
    """The keras.Model with a depthwise and a 1 x 1 convolution, of the same weights, for each SeparableConv2D in it;
    the model itself where there is none. UnsupportedError: a setting of one that neither of the two has."""
    if not any(isinstance(layer, keras.layers.SeparableConv2D) for layer in blocks.nested_layers(model)):
        return model
    graph, split = keras_graph.calls(model), {}
    for call in graph:
        if keras_settings.known_class(call.layer) is keras.layers.SeparableConv2D and id(call.layer) not in split:
            keras_settings.require_known(call.layer, f"layer {call.name!r}")
            split[id(call.layer)] = _depthwise_and_pointwise(call.layer, call.shapes[0])
    return _rebuilt(model, [replace(call, layer=split.get(id(call.layer), call.layer)) for call in graph])


def _depthwise_and_pointwise(layer: Any, shape: keras_graph.Shape) -> Any:
    """A keras.Sequential that computes what the SeparableConv2D does on inputs of this shape."""
    settings = layer.get_config()
    shared = {name: settings[name] for name in ("kernel_size", "strides", "padding", "depth_multiplier", "data_format")}
    depthwise = keras.layers.DepthwiseConv2D(**shared, use_bias=False, name=f"{layer.name}_depthwise")
    of_pixels = {name: settings[name] for name in ("filters", "activation", "use_bias", "data_format")}
    pointwise = keras.layers.Conv2D(kernel_size=1, **of_pixels, name=layer.name)
    both = keras.Sequential([keras.Input(shape[1:]), depthwise, pointwise], name=f"{layer.name}_separable")
    both.set_weights(layer.get_weights())
    return both


def without_rescaling(model: Any) -> tuple[Any, float, float]:
    """(the keras.Model without the Rescaling layers at its input, scale, offset): it takes input * scale + offset. Only
    layers with one positive scale and one offset are taken off."""
    graph, source = keras_graph.calls(model), keras_graph.INPUT
    taken, scale, offset = 0, 1.0, 0.0
    for call in graph[:-1]:
        factor, shift = (np.asarray(getattr(call.layer, name, np.nan)) for name in ("scale", "offset"))
        readers = [other.name for other in graph if source in other.inputs]
        rescales = isinstance(call.layer, keras.layers.Rescaling) and factor.size == shift.size == 1
        if readers != [call.name] or not rescales or not factor > 0:
            break
        taken, source = taken + 1, call.name
        scale, offset = scale * float(factor), offset * float(factor) + float(shift)
    if not taken:
        return model, scale, offset
    inputs = keras.Input(graph[taken].shapes[0][1:])
    values = keras_graph.outputs(graph[taken:], inputs, source)
    return keras.Model(inputs, values[graph[-1].name], name=model.name), scale, offset


def require_shapes(model: Any, shape: tuple[int, ...], classes: int) -> None:
    """UnsupportedError unless the keras.Model takes samples of this shape and answers one number for each class."""
    shapes = [getattr(model, f"{end}_shape", None) for end in ("input", "output")]
    takes, answers = (shape[1:] if isinstance(shape, tuple) else shape for shape in shapes)
    if takes != shape or answers != (classes,):
        raise UnsupportedError(
            f"takes {takes} and answers {answers}; the data set has {shape} and {classes} classes",
            "name the data set that it was trained on",
        )
