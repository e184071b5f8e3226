"""Keras networks over steps, (steps, channels), as networks of images of one row, (1, steps, channels): what Conv1D
computes along the steps, Conv2D computes along the columns of that row, product by product."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.training import keras_graph, keras_reader, keras_settings
from pipeline.training.keras_backend import keras, qkeras, to_numpy
from pipeline.training.keras_graph import INPUT, Call, Shape

RANK = 3
"""Of steps, with the batch axis."""
L = keras.layers


def over_steps(model: Any) -> bool:
    """Whether some layer of the keras.Model computes with steps; a change of shape, or of single elements, does not."""
    return any(_reads_steps(call) and not isinstance(call.layer, ANY_SHAPE) for call in keras_graph.calls(model))


def in_one_row(model: Any, shape: tuple[int, ...]) -> Any:
    """A keras.Model that computes the same on samples of that shape, whose elements are those of the model's own: its
    layers over steps have become layers over an image of one row.

    UnsupportedError: a layer over steps, or a setting of one, that no device layer computes.
    """
    takes = model.input_shape[1:]
    if len(takes) + 1 == RANK:
        model = keras_graph.rebuilt(model, keras_graph.calls(model), keras.Input(shape[: len(takes)]))
    graph, made = keras_graph.calls(model), {}
    for call in graph:
        key = id(call.layer), len(call.shapes[0])
        if key not in made:
            made[key] = _form(call)
    calls = [replace(call, layer=made[id(call.layer), len(call.shapes[0])]) for call in graph]
    if len(takes) + 1 == RANK:
        row = keras_graph.free_name("row", {INPUT, *(call.name for call in graph)})
        first = Call(L.Reshape((1, *shape[: len(takes)])), row, (INPUT,), ((None, *shape),))
        calls = [first, *(replace(c, inputs=tuple(row if i == INPUT else i for i in c.inputs)) for c in calls)]
    return keras_graph.rebuilt(model, calls, keras.Input(shape))


def per_pixel(call: Call) -> Any:
    """The dense layer of a call on an image, or on steps, as the convolution of 1 x 1 that it is there; on a vector
    itself."""
    layer = call.layer
    if len(call.shapes[0]) == 2:
        return layer
    keras_settings.require_known(layer, f"layer {call.name!r}")
    settings = {key: value for key, value in layer.get_config().items() if key not in ("units", "quantization_config")}
    kind = _POINTWISE[type(layer)]
    made = kind.from_config({**settings, "filters": layer.units, "kernel_size": 1})
    return _with_weights(made, call, [w[None, None] if w.ndim == 2 else w for w in _weights(layer)])


def _reads_steps(call: Call) -> bool:
    return len(call.shapes[0]) == RANK


def _form(call: Call) -> Any:
    """The layer that computes what the call does on images of one row; its own where that makes no difference."""
    layer = call.layer
    if type(layer) is L.Reshape:
        made = layer.compute_output_shape(call.shapes[0])[1:]
        return L.Reshape((1, *made)) if len(made) + 1 == RANK else layer
    if not _reads_steps(call) or isinstance(layer, (*ANY_SHAPE, L.Add)):
        return layer
    form = _FORMS.get(type(layer))
    if form is None:
        raise keras_reader.unknown(call)
    keras_settings.require_known(layer, f"layer {call.name!r}")
    return form(call)


def _row(shape: Shape) -> Shape:
    """(batch, steps, channels) -> (batch, 1, steps, channels)."""
    return (shape[0], 1, *shape[1:])


def _weights(layer: Any) -> list[Any]:
    return [to_numpy(weight) for weight in layer.weights]


def _with_weights(made: Any, call: Call, weights: list[Any]) -> Any:
    """The layer, built for the call's input in one row, with these weights."""
    shape = call.shapes[0]
    made.build(_row(shape) if len(shape) == RANK else shape)
    made.set_weights(weights)
    return made


def _along_the_row(kind: Any) -> Callable[[Call], Any]:
    """Of a layer with a window: the 2D layer of that class whose window is one row high."""

    def form(call: Call) -> Any:
        settings = call.layer.get_config()
        for name in ("kernel_size", "pool_size", "strides", "dilation_rate"):
            if name in settings:
                (size,) = np.atleast_1d(settings[name])
                # Keras wants the strides of a depthwise layer equal; one row is passed in any.
                settings[name] = (
                    int(size) if name == "strides" and "depthwise_initializer" in settings else 1,
                    int(size),
                )
        causal = settings.get("padding") == "causal"
        made = kind.from_config({**settings, **({"padding": "valid"} if causal else {})})
        _with_weights(made, call, [w[None] if w.ndim == RANK else w for w in _weights(call.layer)])
        return _padded(made, call, settings) if causal else made

    return form


def _padded(made: Any, call: Call, settings: Mapping[str, Any]) -> Any:
    """A keras.Sequential of zeros before the first step, and the layer."""
    before = settings["kernel_size"][1] - 1
    padding = L.ZeroPadding2D(((0, 0), (before, 0)), name=f"{call.name}_before")
    return keras.Sequential([keras.Input(_row(call.shapes[0])[1:]), padding, made], name=f"{call.name}_causal")


def _whole_row(kind: Any) -> Callable[[Call], Any]:
    """Of a global pooling: the 2D layer of that class."""
    return lambda call: kind.from_config(call.layer.get_config())


def _zeros(call: Call) -> Any:
    return L.ZeroPadding2D(((0, 0), tuple(call.layer.padding)), name=call.name)


def _shifted_axis(call: Call) -> Any:
    """Of a layer whose axis is counted from the front: that axis of the image."""
    layer, settings = call.layer, call.layer.get_config()
    made = type(layer).from_config({**settings, "axis": layer.axis + 1 if layer.axis > 0 else layer.axis})
    return _with_weights(made, call, _weights(layer)) if layer.weights else made


ANY_SHAPE = (L.Activation, L.Flatten, L.ReLU, L.Rescaling, L.Reshape, qkeras.QActivation)
"""Layers that change only a shape, or every element alone."""
_POINTWISE: Mapping[type, Any] = {L.Dense: L.Conv2D, qkeras.QDense: qkeras.QConv2D}
_FORMS: Mapping[type, Callable[[Call], Any]] = {
    L.Conv1D: _along_the_row(L.Conv2D),
    L.DepthwiseConv1D: _along_the_row(L.DepthwiseConv2D),
    L.SeparableConv1D: _along_the_row(L.SeparableConv2D),
    qkeras.QConv1D: _along_the_row(qkeras.QConv2D),
    L.MaxPooling1D: _along_the_row(L.MaxPooling2D),
    L.AveragePooling1D: _along_the_row(L.AveragePooling2D),
    L.GlobalMaxPooling1D: _whole_row(L.GlobalMaxPooling2D),
    L.GlobalAveragePooling1D: _whole_row(L.GlobalAveragePooling2D),
    L.ZeroPadding1D: _zeros,
    L.BatchNormalization: _shifted_axis,
    L.Concatenate: _shifted_axis,
    L.Dense: per_pixel,
    qkeras.QDense: per_pixel,
}
"""What a call of a layer of that class on steps is written as."""
