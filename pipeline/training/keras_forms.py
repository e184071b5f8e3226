"""Keras models of other people in the form in which the device computes them: layers that have no kernel of their own,
written as those that do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.core.errors import UnsupportedError
from pipeline.training import keras_graph, keras_rows, keras_settings
from pipeline.training.keras_backend import keras, qkeras, to_numpy
from pipeline.training.keras_graph import Call

TINY = 1e-12
"""Added to the variance of a Normalization, which has none itself."""
CLOSING = (keras.activations.softmax, keras.activations.log_softmax, keras.activations.sigmoid)
"""Activations after which the largest output is that of the largest logit."""


def normal(model: Any) -> Any:
    """A flat keras.Model that computes the logits of the given one, whose layers it shares and changes.

    A closing softmax or sigmoid is gone; one logit for two classes is two, half apart; a separable convolution is its
    two convolutions, a sum of many tensors sums of two, a Normalization a BatchNormalization or a Rescaling; what was
    computed in mixed precision is computed in float32. UnsupportedError: a model that is no graph of layers from one
    input to one output; a setting of a rewritten layer that its form does not have.
    """
    for layer in _everything(model):
        if layer.dtype_policy.name.startswith("mixed_"):
            layer.dtype_policy = "float32"
    model = keras_graph.rebuilt(model, _to_logits(keras_graph.calls(model)))
    return _formed(model)


def _formed(model: Any) -> Any:
    """The keras.Model with every layer that has a form in _FORMS in that form; itself where none has."""
    graph, made = keras_graph.calls(model), {}
    keys = [(id(call.layer), len(call.inputs), len(call.shapes[0])) for call in graph]
    for call, key in zip(graph, keys, strict=True):
        form = _FORMS.get(type(call.layer))
        if form is not None and key not in made:
            made[key] = form(call)
    if not made:
        return model
    layers = [made.get(key, call.layer) for call, key in zip(graph, keys, strict=True)]
    return keras_graph.rebuilt(model, [replace(c, layer=layer) for c, layer in zip(graph, layers, strict=True)])


def _everything(model: Any) -> Iterator[Any]:
    """The keras.Model and all layers and models in it."""
    yield model
    for layer in model.layers:
        yield from _everything(layer) if isinstance(layer, keras.Model) else [layer]


def _to_logits(graph: tuple[Call, ...]) -> tuple[Call, ...]:
    """The calls up to the logits; the layer that makes them may be changed."""
    last, closing = graph[-1].layer, getattr(graph[-1].layer, "activation", None)
    if isinstance(last, keras.layers.Softmax):
        graph, closing = graph[:-1], keras.activations.softmax
    elif closing in CLOSING and type(last) is keras.layers.Activation:
        graph = graph[:-1]
    elif closing in CLOSING:
        last.activation = keras.activations.linear
    one = graph and type(graph[-1].layer) is keras.layers.Dense and graph[-1].layer.units == 1
    # One unit says something of two classes by its sign; a softmax of it is always 1.
    if one and closing in (keras.activations.linear, keras.activations.sigmoid):
        graph = (*graph[:-1], replace(graph[-1], layer=_two_logits(graph[-1])))
    return graph


def _two_logits(call: Call) -> Any:
    """A keras.layers.Dense of two units, minus and plus half of what the one unit of the called one answers: their
    softmax is its sigmoid."""
    made = keras.layers.Dense(2, use_bias=call.layer.use_bias, name=call.name)
    made.build(call.shapes[0])
    made.set_weights([np.concatenate([-w / 2, w / 2], axis=-1) for w in call.layer.get_weights()])
    return made


def _split(call: Call) -> Any:
    """Of a SeparableConv2D."""
    keras_settings.require_known(call.layer, f"layer {call.name!r}")
    return _depthwise_and_pointwise(call.layer, call.shapes[0])


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


def _summed(call: Call) -> Any:
    """A keras.Model that adds the tensors two at a time; the layer itself where there are only two."""
    if len(call.inputs) <= 2:
        return call.layer
    first, *others = inputs = [keras.Input(shape[1:]) for shape in call.shapes]
    total = first
    for number, other in enumerate(others, 1):
        total = keras.layers.Add(name=call.name if number == len(others) else f"{call.name}_{number}")([total, other])
    return keras.Model(inputs, total, name=f"{call.name}_sums")


def _normalized(call: Call) -> Any:
    """A Rescaling with the mean and variance of a Normalization, a BatchNormalization if each channel has its own."""
    layer = call.layer
    mean, variance = (to_numpy(value).reshape(-1) for value in (layer.mean, layer.variance))
    if layer.invert or mean.size not in (1, call.shapes[0][-1]):
        what = (
            f"layer {call.name!r}: a Normalization of {mean.size} means on {call.shapes[0][1:]}, invert={layer.invert}"
        )
        raise UnsupportedError(what, "normalize channels, axis=-1, or everything at once, axis=None")
    if mean.size == 1:
        gain = 1 / np.sqrt(float(variance[0]) + TINY)
        return keras.layers.Rescaling(gain, -float(mean[0]) * gain, name=call.name)
    made = keras.layers.BatchNormalization(epsilon=TINY, center=False, scale=False, name=call.name)
    made.build(call.shapes[0])
    made.set_weights([mean, variance])
    return made


def _on_pixels(call: Call) -> Any:
    """The dense layer of a call on an image, as the convolution of 1 x 1 that it is; another one as it is."""
    return call.layer if len(call.shapes[0]) == keras_rows.RANK else keras_rows.per_pixel(call)


_FORMS: Mapping[type, Callable[[Call], Any]] = {
    keras.layers.Add: _summed,
    keras.layers.Dense: _on_pixels,
    qkeras.QDense: _on_pixels,
    keras.layers.Normalization: _normalized,
    keras.layers.SeparableConv2D: _split,
}
"""What a call of a layer of that class is written as."""


def fitted(model: Any, shape: tuple[int, ...]) -> Any:
    """The keras.Model for samples of that shape: one that takes images of any size, or samples without an axis for
    their one channel, is made to take them, with layers over steps as layers over one row (keras_rows); any other is
    returned as it is.

    UnsupportedError: a layer over steps that no device layer computes.
    """
    takes = model.input_shape[1:]
    without_channel = len(shape) == 3 and shape[-1] == 1 and _covers(takes, shape[:-1])
    if not without_channel and not _covers(takes, shape):
        return model
    if keras_rows.over_steps(model):
        return _formed(keras_rows.in_one_row(model, shape))
    return model if takes == shape else keras_graph.rebuilt(model, keras_graph.calls(model), keras.Input(shape))


def _covers(takes: keras_graph.Shape, shape: tuple[int, ...]) -> bool:
    """Whether the shape is one of those that `takes`, where None is any size, describes."""
    return len(takes) == len(shape) and all(n in (None, m) for n, m in zip(takes, shape, strict=True))


def without_rescaling(model: Any) -> tuple[Any, float, float]:
    """(the keras.Model without the Rescaling layers at its input, scale, offset): it takes input * scale + offset. Only
    layers with one positive scale and one offset are taken off; a change of shape among them stays."""
    graph, source = keras_graph.calls(model), keras_graph.INPUT
    dropped: dict[str, str] = {}
    scale, offset = 1.0, 0.0
    for call in graph[:-1]:
        factor, shift = (np.asarray(getattr(call.layer, name, np.nan)) for name in ("scale", "offset"))
        rescales = isinstance(call.layer, keras.layers.Rescaling) and factor.size == shift.size == 1
        readers = [other.name for other in graph if source in other.inputs]
        if readers != [call.name] or not (isinstance(call.layer, RESHAPING) or (rescales and 0 < factor < np.inf)):
            break
        source = call.name
        if rescales:
            dropped[call.name] = dropped.get(call.inputs[0], call.inputs[0])
            scale, offset = scale * float(factor), offset * float(factor) + float(shift)
    if not dropped:
        return model, scale, offset
    kept = [replace(c, inputs=tuple(dropped.get(i, i) for i in c.inputs)) for c in graph if c.name not in dropped]
    return keras_graph.rebuilt(model, kept), scale, offset


RESHAPING = (keras.layers.Flatten, keras.layers.Reshape)
"""Layers that change no element."""


def require_shapes(model: Any, shape: tuple[int, ...], classes: int) -> None:
    """UnsupportedError unless the keras.Model takes samples of this shape and answers one number for each class."""
    shapes = [getattr(model, f"{end}_shape", None) for end in ("input", "output")]
    takes, answers = (shape[1:] if isinstance(shape, tuple) else shape for shape in shapes)
    if takes != shape or answers != (classes,):
        one_row = len(answers or ()) == 1
        raise UnsupportedError(
            f"takes {takes} and answers {answers}; the data set has {shape} and {classes} classes",
            "name the data set that it was trained on" if one_row else "end it with Flatten, or a pooling of the map",
        )
