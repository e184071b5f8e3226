"""Keras layers as TrainedLayers: one reader for each class, none for what the device does not compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import UnsupportedError
from pipeline.core.nouns import Int8Array, TrainedLayer
from pipeline.training import keras_kernel, keras_settings
from pipeline.training.keras_backend import keras, qkeras, to_numpy
from pipeline.training.keras_graph import INPUT, Call, free_name
from pipeline.training.quantizers import EMPTY_CHANNEL_SCALE, SymmetricInteger, WeightQuantizer, weight_codes

Config = dict[str, Any]
Arrays = dict[str, NDArray[Any]]
Read = tuple[str, Config, Arrays]
"""Kind, config and arrays of a TrainedLayer."""
GAIN_CODE = 127
"""The code of a gain: as large as there is, for the bias is rounded to products of it."""


_RECTIFIER = "train it with ReLU, or ReLU(6.0)"
_IN_ONE_ROW = "write it for images of one row, (1, steps, channels)"
NEAREST: Mapping[str, str] = {
    **dict.fromkeys(("ELU", "LeakyReLU", "PReLU"), _RECTIFIER),
    **dict.fromkeys(("AveragePooling1D", "Conv1D", "GlobalAveragePooling1D", "MaxPooling1D"), _IN_ONE_ROW),
    **dict.fromkeys(("GroupNormalization", "LayerNormalization"), "train it with BatchNormalization"),
    "Multiply": "train it without products of tensors, such as squeeze-and-excitation",
}
"""What comes nearest to a layer that the device lacks, by its class."""


def read(graph: Sequence[Call]) -> Iterator[TrainedLayer]:
    """The layers of the calls (keras_graph.calls), in order; an activation inside a layer is one of its own.

    UnsupportedError names a layer, or its setting, that has no counterpart on the device, and weights that are NaN.
    """
    end = {INPUT: INPUT, **ends(graph)}
    taken = {*end, *end.values()}
    for call in graph:
        for weight in call.layer.weights:
            if not np.isfinite(to_numpy(weight)).all():
                what = f"layer {call.name!r}: {weight.name} holds NaN or infinity"
                raise UnsupportedError(what, "train again, see the loss")
        layer = _layer(call, tuple(end[name] for name in call.inputs))
        yield from _alone(layer, call.shapes[0][1:], taken) if _stands_alone(call, graph) else [layer]
        if end[call.name] != call.name:
            kind, config, arrays = _function(call.layer.activation, call.name)
            yield TrainedLayer(end[call.name], kind, (call.name,), config, arrays)


def _stands_alone(call: Call, graph: Sequence[Call]) -> bool:
    """Whether the call is a batch normalization that no weighted layer can take over: it follows none, or one with an
    activation or other readers."""
    if keras_settings.known_class(call.layer) is not keras.layers.BatchNormalization:
        return False
    source = next((other for other in graph if other.name == call.inputs[0]), None)
    if source is None or keras_settings.known_class(source.layer) not in WEIGHTED_LAYERS or _bent(source.layer):
        return True
    return sum(source.name in other.inputs for other in graph) > 1


def _alone(norm: TrainedLayer, shape: tuple[int | None, ...], taken: set[str]) -> Iterator[TrainedLayer]:
    """A batch normalization as a depthwise convolution of 1 x 1: its gain is the weight, its shift the bias. shape: of
    its input; a vector becomes an image of one pixel, and a vector again, under names that are not taken."""
    gain = norm.arrays["gamma"] / np.sqrt(norm.arrays["variance"] + norm.config["epsilon"])
    arrays = {
        "codes": (GAIN_CODE * np.sign(gain)).astype(np.int8).reshape(1, 1, -1, 1),
        "scale": np.where(gain == 0, EMPTY_CHANNEL_SCALE, np.abs(gain) / GAIN_CODE),
        "bias": norm.arrays["beta"] - norm.arrays["mean"] * gain,
    }
    config: Config = {"bits": 8, "strides": (1, 1), "padding": "valid"}
    if len(shape) == 3:
        yield TrainedLayer(norm.name, "depthwise_conv2d", norm.inputs, config, arrays)
        return
    pixel, gained = (free_name(f"{norm.name}_{what}", taken) for what in ("pixel", "gain"))
    yield TrainedLayer(pixel, "flatten", norm.inputs, {"shape": (1, 1, len(gain))})
    yield TrainedLayer(gained, "depthwise_conv2d", (pixel,), config, arrays)
    yield TrainedLayer(norm.name, "flatten", (gained,), {"shape": (len(gain),)})


def ends(graph: Sequence[Call]) -> Mapping[str, str]:
    """Name of the trained layer that holds a call's output, by the call's name: that of the activation inside it, or
    its own."""
    taken = {call.name for call in graph}
    return {
        call.name: free_name(f"{call.name}_activation", taken) if _bent(call.layer) else call.name for call in graph
    }


def _bent(layer: Any) -> bool:
    """Whether a weighted layer has an activation that is not the identity."""
    return keras_settings.known_class(layer) in WEIGHTED_LAYERS and layer.activation not in (
        None,
        keras.activations.linear,
    )


def _layer(call: Call, inputs: tuple[str, ...]) -> TrainedLayer:
    kind = keras_settings.known_class(call.layer)
    if kind is None or kind not in _READERS:
        raise unknown(call)
    keras_settings.require_known(call.layer, f"layer {call.name!r}")
    name, config, arrays = _READERS[kind](call)
    return TrainedLayer(call.name, name, inputs, config, arrays)


def unknown(call: Call) -> UnsupportedError:
    """What to say of a call of a layer that the device lacks."""
    known = ", ".join(sorted(k.__name__ for k in _READERS))
    what = f"layer {call.name!r} is a {type(call.layer).__name__}, which no device layer exists for"
    nearest = NEAREST.get(type(call.layer).__name__)
    return UnsupportedError(what, f"{nearest}; known: {known}" if nearest else f"known: {known}")


def _weighted(kind: str, kernel: str) -> Callable[[Call], Read]:
    def read(call: Call) -> Read:
        layer, place = call.layer, f"layer {call.name!r}"
        codes, scale, bits = _codes(layer, kind, kernel, place)
        arrays: Arrays = {"codes": codes, "scale": scale}
        if layer.use_bias:
            arrays["bias"] = _bias(layer, place)
        config: Config = {"bits": bits}
        if kind != "dense":
            config |= {"strides": tuple(layer.strides), "padding": layer.padding.lower()}
        elif len(call.shapes[0]) != 2:
            what = f"{place}: a dense layer on shape {call.shapes[0][1:]}"
            raise UnsupportedError(what, "flatten its input first, or write it as a Conv2D of 1 x 1, which is the same")
        return kind, config, arrays

    return read


def _codes(layer: Any, kind: str, kernel: str, place: str) -> tuple[Int8Array, NDArray[np.float64], int]:
    """(codes as TrainedLayer holds them, scale per channel, bits) of the kernel; without a quantizer at 8 bits."""
    quantizer = layer.get_quantizers()[0] if hasattr(layer, "get_quantizers") else None
    weights = to_numpy(getattr(layer, kernel if hasattr(layer, kernel) else "kernel"))
    channel_axes = 2 if kind == "depthwise_conv2d" else 1
    if quantizer is None:
        quantizer = SymmetricInteger(8, channel_axes)
    if not isinstance(quantizer, WeightQuantizer):
        return keras_kernel.codes(quantizer, weights, channel_axes, place)
    codes, scale = weight_codes(quantizer, weights)
    channels = int(np.prod(codes.shape[-channel_axes:]))
    if scale.size not in (1, channels):
        what = f"{type(quantizer).__name__}(channel_axes={quantizer.channel_axes}) makes {scale.size} scales"
        raise UnsupportedError(f"{place}: {what} for {channels} channels", "2 for a depthwise kernel, else 1")
    return codes, scale, quantizer.bits


def _bias(layer: Any, place: str) -> NDArray[np.float64]:
    """The bias as the layer adds it: of its quantizer, if it has one."""
    quantizer = layer.bias_quantizer_internal if getattr(layer, "bias_quantizer", None) else None
    if quantizer is None:
        return to_numpy(layer.bias).astype(np.float64)
    if keras_settings.known_class(quantizer) not in (qkeras.quantized_bits, qkeras.quantized_linear):
        raise UnsupportedError(f"{place}: bias_quantizer = {quantizer} is not computed", "use quantized_bits or none")
    if type(quantizer) in keras_settings.KERNEL_SETTINGS:
        keras_settings.require_known(quantizer, f"{place}: bias_quantizer", keras_settings.KERNEL_SETTINGS)
    else:
        keras_settings.require_known(quantizer, f"{place}: bias_quantizer")
    return to_numpy(quantizer(layer.bias)).astype(np.float64)


def _batch_normalization(call: Call) -> Read:
    layer, rank = call.layer, len(call.shapes[0])
    if layer.axis not in (-1, rank - 1):
        raise UnsupportedError(f"layer {call.name!r}: normalizes axis {layer.axis}", "normalize channels: axis=-1")
    mean = to_numpy(layer.moving_mean).astype(np.float64)
    arrays = {
        "gamma": to_numpy(layer.gamma).astype(np.float64) if layer.scale else np.ones_like(mean),
        "beta": to_numpy(layer.beta).astype(np.float64) if layer.center else np.zeros_like(mean),
        "mean": mean,
        "variance": to_numpy(layer.moving_variance).astype(np.float64),
    }
    return "batch_normalization", {"epsilon": float(layer.epsilon)}, arrays


def _function(activation: Any, name: str, limit: float | None = None) -> Read:
    """The activation of the layer of that name: a quantizer, or keras' relu or relu6, whose lattice is calibrated: it
    ends where they do. limit: of a relu, its largest value."""
    if activation in (keras.activations.relu, keras.activations.relu6):
        limit = 6.0 if activation is keras.activations.relu6 else limit
        config: Config = {"function": "relu", "scale": None, "zero_point": None, "bits": None}
        return "activation", config if limit is None else {**config, "limit": float(limit)}, {}
    kind = keras_settings.known_class(activation)
    if kind not in (qkeras.quantized_relu, qkeras.quantized_bits, qkeras.quantized_linear):
        what = getattr(activation, "__name__", None) or str(activation)
        raise UnsupportedError(
            f"layer {name!r}: activation {what} has no device counterpart",
            "use relu, relu6, quantized_relu or quantized_bits",
        )
    keras_settings.require_known(activation, f"layer {name!r}")
    bits, integer = int(activation.bits), int(activation.integer)
    if kind is qkeras.quantized_relu:
        config = {"function": "relu", "scale": 2.0 ** (integer - bits), "zero_point": -(1 << (bits - 1))}
    else:
        config = {"function": "linear", "scale": 2.0 ** (integer - bits + 1), "zero_point": 0}
        if kind is qkeras.quantized_linear and activation.symmetric:
            config["symmetric"] = True
    return "activation", {**config, "bits": bits}, {}


def _pool(kind: str) -> Callable[[Call], Read]:
    def read(call: Call) -> Read:
        layer = call.layer
        config = {"pool": tuple(layer.pool_size), "strides": tuple(layer.strides), "padding": layer.padding.lower()}
        return kind, config, {}

    return read


def _global_pool(kind: str) -> Callable[[Call], Read]:
    return lambda call: (kind, {"keepdims": bool(call.layer.keepdims)}, {})


def _concatenate(call: Call) -> Read:
    if call.layer.axis not in (-1, len(call.shapes[0]) - 1):
        what = f"layer {call.name!r}: concatenates axis {call.layer.axis}"
        raise UnsupportedError(what, "concatenate channels: axis=-1")
    return "concatenate", {}, {}


def _add(call: Call) -> Read:
    if len(call.inputs) != 2:
        what = f"layer {call.name!r}: adds {len(call.inputs)} tensors"
        raise UnsupportedError(what, "add two of them, quantize the sum, add the next")
    return "add", {}, {}


def _padding(call: Call) -> Read:
    (top, bottom), (left, right) = call.layer.padding
    return "pad2d", {"before": (top, left), "after": (bottom, right)}, {}


def _reshape(call: Call) -> Read:
    """The same elements in the same order, under another shape."""
    shape = tuple(call.layer.compute_output_shape(call.shapes[0])[1:])
    if len(shape) not in (1, 3):
        what = f"layer {call.name!r}: makes the shape {shape}"
        raise UnsupportedError(what, "a tensor is (features,) or (height, width, channels)")
    return "flatten", {"shape": shape}, {}


def _rescaling(call: Call) -> Read:
    scale, offset = (np.asarray(value, np.float64) for value in (call.layer.scale, call.layer.offset))
    if scale.size != 1 or offset.size != 1 or not (np.isfinite(offset).all() and 0 < scale < np.inf):
        what = f"layer {call.name!r}: Rescaling(scale={call.layer.scale}, offset={call.layer.offset})"
        raise UnsupportedError(what, "one positive scale and one offset for all channels")
    return "rescaling", {"scale": float(scale), "offset": float(offset)}, {}


def _activation(call: Call) -> Read:
    if call.layer.activation is keras.activations.softmax:
        what = f"layer {call.name!r}: a softmax that is not the last layer"
        raise UnsupportedError(what, "leave it out: the largest logit has the largest probability")
    return _function(call.layer.activation, call.name)


WEIGHTED_LAYERS = (
    qkeras.QConv2D, qkeras.QDepthwiseConv2D, qkeras.QDense,
    keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense,
)  # fmt: skip
"""Classes with a kernel, and with an activation inside."""
_READERS: Mapping[type, Callable[[Call], Read]] = {
    keras.layers.Conv2D: _weighted("conv2d", "kernel"),
    keras.layers.DepthwiseConv2D: _weighted("depthwise_conv2d", "depthwise_kernel"),
    keras.layers.Dense: _weighted("dense", "kernel"),
    keras.layers.Activation: _activation,
    keras.layers.ZeroPadding2D: _padding,
    qkeras.QConv2D: _weighted("conv2d", "kernel"),
    qkeras.QDepthwiseConv2D: _weighted("depthwise_conv2d", "depthwise_kernel"),
    qkeras.QDense: _weighted("dense", "kernel"),
    keras.layers.BatchNormalization: _batch_normalization,
    qkeras.QActivation: lambda call: _function(call.layer.activation, call.name),
    keras.layers.ReLU: lambda call: _function(keras.activations.relu, call.name, call.layer.max_value),
    keras.layers.Reshape: _reshape,
    keras.layers.Rescaling: _rescaling,
    keras.layers.MaxPooling2D: _pool("max_pool2d"),
    keras.layers.AveragePooling2D: _pool("average_pool2d"),
    keras.layers.GlobalAveragePooling2D: _global_pool("global_average_pool2d"),
    keras.layers.GlobalMaxPooling2D: _global_pool("global_max_pool2d"),
    keras.layers.Flatten: lambda call: ("flatten", {}, {}),
    keras.layers.Add: _add,
    keras.layers.Concatenate: _concatenate,
}
