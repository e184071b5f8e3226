"""The import of int8 TensorFlow Lite models as QModels, operation by operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ConfigError
from pipeline.core.nouns import QLayer, QModel, TensorSpec
from pipeline.importers import tflite_graph, tflite_sizes
from pipeline.importers.flatbuffer import Row
from pipeline.importers.tflite_graph import NONE, Graph, Operation, Tensor
from pipeline.importers.tflite_sizes import Sizes
from pipeline.importers.tflite_walk import Conversion, Padding, Pair, Walk, clamp
from pipeline.network import arith, rescale


def checked(path: Path) -> tuple[Graph, int]:
    """(the graph of a file that `import_model` can import, number of the tensor with its logits). Errors as there."""
    found = _converted(tflite_graph.read(path))
    return found.graph, found.logits


def _converted(graph: Graph) -> Walk:
    return Walk(graph).convert(CONVERSIONS, NEAREST)


def import_model(path: Path, name: str, classes: Sequence[str] = ()) -> QModel:
    """The int8 model in the file as a QModel: the same integers, operation by operation.

    A closing softmax or sigmoid is left out; one logit for two classes becomes two, zero and itself; a padding becomes
    part of the convolution after it; tensors of (steps, channels) are images of one row, samples without an axis for
    their channel get one. classes: by default numbers.
    ConfigError: a file that is missing or damaged, or a wrong number of classes. UnsupportedError names the operation,
    and the setting, that no layer kind computes.
    """
    graph = tflite_graph.read(path)
    found = _converted(graph)
    layers, source = tuple(found.layers), found.samples
    # One unit says something of two classes by its sign; a softmax of it is always 1.
    one = layers[-1].output.shape == (1,) and layers[-1].kind == "dense"
    if one and (found.closing == "LOGISTIC" or (not found.closing and len(classes) == 2)):
        layers = (*layers[:-1], _two_logits(layers[-1]))
    outputs = layers[-1].output.size_bytes
    classes = tuple(classes) or tuple(map(str, range(outputs)))
    model = QModel(name, source, classes, layers)
    if outputs != len(classes):
        raise ConfigError(
            f"{path}: {outputs} outputs, {len(classes)} classes", "name the data set that it was trained on"
        )
    return model


def _two_logits(layer: QLayer) -> QLayer:
    """The dense layer of one unit with one before it, whose answer is zero: a softmax of both is its sigmoid."""
    assert layer.weights is not None and layer.bias is not None
    assert layer.multiplier is not None and layer.shift is not None
    return replace(
        layer,
        output=TensorSpec((2,), layer.output.quantization),
        weights=np.concatenate([np.zeros_like(layer.weights), layer.weights]),
        bias=np.concatenate([np.zeros_like(layer.bias), layer.bias]),
        multiplier=np.repeat(layer.multiplier, 2),
        shift=np.repeat(layer.shift, 2),
    )


def _conv2d(model: Walk, op: Operation) -> None:
    filters, source = model.constant(op, 1, "int8"), model.image(op, op.inputs[0])
    _require_rank(model, op, filters, 4)
    _, *kernel, channels = filters.shape
    _refuse_dilation(model, op, (kernel[0], kernel[1]))
    if channels != source.shape[2]:
        raise model.unsupported(
            op, f"filters of {channels} of {source.shape[2]} channels", "grouped filters are not supported"
        )
    window = model.window(op, (kernel[0], kernel[1]))
    _require_channels(model, op, filters.shape[0])
    model.weighted(op, "conv2d", (window.source,), filters, window.params)


def _depthwise(model: Walk, op: Operation) -> None:
    assert op.options is not None
    filters, source = model.constant(op, 1, "int8"), model.image(op, op.inputs[0])
    _require_rank(model, op, filters, 4)
    one, *kernel, channels = filters.shape
    _refuse_dilation(model, op, (kernel[0], kernel[1]))
    if one != 1 or channels % source.shape[2] or op.options["depth_multiplier"] != channels // source.shape[2]:
        what = f"filters of shape {filters.shape}, multiplier {op.options['depth_multiplier']}, on {source.shape}"
        raise model.damaged(op, f"has {what}")
    window = model.window(op, (kernel[0], kernel[1]))
    _require_channels(model, op, channels)
    model.weighted(op, "depthwise_conv2d", (window.source,), filters, window.params)


def _dense(model: Walk, op: Operation) -> None:
    assert op.options is not None
    filters, source = model.constant(op, 1, "int8"), model.spec(op.inputs[0])
    _require_rank(model, op, filters, 2)
    units, features = filters.shape
    if op.options["weights_format"]:
        raise model.unsupported(op, f"weights_format {op.options['weights_format']}", "known: 0 (DEFAULT)")
    if features != source.size_bytes or model.spec(op.outputs[0]).size_bytes != units:
        raise model.unsupported(op, f"weights of shape {filters.shape} on {source.shape}", "it takes one vector")
    model.weighted(op, "dense", (model.source(op.inputs[0]),), filters, {})


def _require_rank(model: Walk, op: Operation, filters: Tensor, rank: int) -> None:
    if len(filters.shape) != rank or not len(filters.scales):
        raise model.damaged(op, f"has weights of shape {filters.shape} with {len(filters.scales)} scales")


def _require_channels(model: Walk, op: Operation, channels: int) -> None:
    model.require_shape(op, (*model.spec(op.outputs[0]).shape[:2], channels))


def _refuse_dilation(model: Walk, op: Operation, kernel: Pair) -> None:
    """A filter of one row or column has none to spread."""
    assert op.options is not None
    dilation = int(op.options["dilation_h_factor"]), int(op.options["dilation_w_factor"])
    if any(d != 1 and (k > 1 or d < 1) for d, k in zip(dilation, kernel, strict=True)):
        raise model.unsupported(op, f"dilation {dilation}", "no kernel computes it; use a larger filter or a stride")


def _add(model: Walk, op: Operation) -> None:
    first, second, out = (model.spec(i) for i in (*op.inputs, op.outputs[0]))
    if first.shape != second.shape:
        raise model.unsupported(op, f"adds shapes {first.shape} and {second.shape}", "both must be the same")
    model.require_shape(op, first.shape)
    try:
        params = rescale.add_params(first.quantization, second.quantization, out.quantization)
    except ValueError as error:
        raise model.unsupported(op, str(error)) from error
    if params["output_shift"] > 0:
        raise model.unsupported(op, f"output scale {out.quantization.scale:g}", "it is too fine for its inputs")
    params["activation"] = clamp(model, op, out.quantization)
    model.append(op.outputs[0], "add", [model.source(i) for i in op.inputs], params=params)


def _concatenate(model: Walk, op: Operation) -> None:
    """Channels of any number of tensors, two at a time; all have one quantization, which changes nothing."""
    assert op.options is not None
    specs, out = [model.spec(i) for i in op.inputs], model.spec(op.outputs[0])
    rank = len(model.declared(op.outputs[0]))
    if op.options["axis"] not in (-1, rank - 1) or op.options["fused_activation_function"]:
        raise model.unsupported(
            op, f"axis {op.options['axis']}, or a fused activation", "only channels can be concatenated"
        )
    for spec in specs:
        model.require_same_lattice(op, spec.quantization, out.quantization)
        if spec.shape[:-1] != out.shape[:-1]:
            raise model.damaged(op, f"joins shapes {[s.shape for s in specs]}")
    model.require_shape(op, (*out.shape[:-1], sum(spec.shape[-1] for spec in specs)))
    q = out.quantization
    params = {**rescale.concatenate_params(q, q, q), "activation": (q.qmin, q.qmax)}
    sources = [model.source(i) for i in op.inputs]
    joined, channels = sources[0], specs[0].shape[-1]
    for source, spec in zip(sources[1:], specs[1:], strict=True):
        channels += spec.shape[-1]
        shape = TensorSpec((*out.shape[:-1], channels), q)
        model.layers.append(QLayer(f"concatenate{len(model.layers)}", "concatenate", (joined, source), shape, params))
        joined = len(model.layers)
    model.number[op.outputs[0]] = joined


def _pool(kind: str) -> Callable[[Walk, Operation], None]:
    def convert(model: Walk, op: Operation) -> None:
        assert op.options is not None
        source, output = model.image(op, op.inputs[0]), model.image(op, op.outputs[0])
        model.require_same_lattice(op, source.quantization, output.quantization)
        pool = int(op.options["filter_height"]), int(op.options["filter_width"])
        # Padding is the zero point: to a maximum nothing if that is the lowest value, to an average an element.
        lowest = source.quantization.zero_point == source.quantization.qmin
        window = model.window(op, pool, foldable=kind == "max_pool2d" and lowest)
        _require_channels(model, op, source.shape[2])
        params = {"pool": pool, **window.params, "activation": clamp(model, op, output.quantization)}
        model.append(op.outputs[0], kind, (window.source,), params=params)

    return convert


def _mean(model: Walk, op: Operation) -> None:
    """A mean over height and width: a depthwise convolution of ones, over the whole map."""
    source, output = _over_the_map(model, op), model.spec(op.outputs[0])
    h, w, _ = source.shape
    multiplier, shift = model.multiplier(op, source.quantization.scale / output.quantization.scale)
    multiplier, shift = arith.divide_multiplier(multiplier, shift, h * w)
    params = {"multiplier": multiplier, "shift": shift, "activation": (-128, 127)}
    reach = rescale.largest_input(source.quantization)
    if not arith.requantization_is_safe(np.array(reach * h * w), np.array(shift)).all():
        raise model.unsupported(op, f"a mean from scale {source.quantization.scale:g} to {output.quantization.scale:g}")
    model.append(op.outputs[0], "mean2d", (model.source(op.inputs[0]),), params=params)


def _reduce_max(model: Walk, op: Operation) -> None:
    """A maximum over height and width: a pooling of the whole map, as a vector if it is to be one."""
    source, output = _over_the_map(model, op), model.spec(op.outputs[0])
    model.require_same_lattice(op, source.quantization, output.quantization)
    params = {"pool": source.shape[:2], "stride": (1, 1), "padding": (0, 0), "activation": (-128, 127)}
    pooled = TensorSpec((1, 1, source.shape[2]), output.quantization)
    name, inputs = f"max_pool2d{len(model.layers)}", (model.source(op.inputs[0]),)
    if pooled.shape == output.shape:
        model.append(op.outputs[0], "max_pool2d", inputs, params=params)
        return
    model.layers.append(QLayer(name, "max_pool2d", inputs, pooled, params))
    model.append(op.outputs[0], "flatten", (len(model.layers),))


def _over_the_map(model: Walk, op: Operation) -> TensorSpec:
    """The spec of the image whose height and width the operation reduces to one value for each channel."""
    axes, rank = model.constant(op, 1, "int32").constant, len(model.declared(op.inputs[0]))
    source = model.image(op, op.inputs[0])
    assert axes is not None and op.options is not None
    if sorted(int(a) % rank if -rank <= a < rank else a for a in axes.reshape(-1)) != list(range(1, rank - 1)):
        raise model.unsupported(op, f"axes {axes.reshape(-1).tolist()}", "height and width: 1, 2; of steps: 1")
    channels = source.shape[2]
    model.require_shape(op, (1, 1, channels) if op.options["keep_dims"] else (channels,))
    return source


def _pad(model: Walk, op: Operation) -> None:
    """Zeros around an image."""
    amounts = model.constant(op, 1, "int64" if model.graph.tensors[op.inputs[1]].type == "int64" else "int32").constant
    assert amounts is not None
    source, output = model.image(op, op.inputs[0]), model.image(op, op.outputs[0])
    model.require_same_lattice(op, source.quantization, output.quantization)
    rank = len(model.declared(op.inputs[0]))
    if amounts.shape != (rank, 2) or (amounts < 0).any() or (amounts > 1 << 15).any() or amounts[[0, -1]].any():
        raise model.unsupported(op, f"padding of {amounts.tolist()}", "only rows and columns, or steps, can be padded")
    inner = [(int(a), int(b)) for a, b in amounts[1:-1]]
    (top, bottom), (left, right) = inner if len(inner) == 2 else [(0, 0), *inner]
    h, w, channels = source.shape
    model.require_shape(op, (h + top + bottom, w + left + right, channels))
    model.source(op.inputs[0])
    model.paddings[op.outputs[0]] = Padding(op.inputs[0], (top, left), (bottom, right))


def _reshape(model: Walk, op: Operation) -> None:
    """The same bytes under another shape. The shape is an operand or a setting; one of its sizes may be -1."""
    source, output = model.spec(op.inputs[0]), model.spec(op.outputs[0])
    if len(op.inputs) == 2 and op.inputs[1] != NONE:
        shape: NDArray[Any] | None = model.size(op, 1)
    else:
        shape = op.options["new_shape"] if op.options is not None else None
    declared = model.declared(op.outputs[0])
    sizes = [] if shape is None else [int(n) for n in np.asarray(shape).reshape(-1)]
    free = [i for i, n in enumerate(sizes) if n == -1]
    fits = len(sizes) == len(declared) and all(n in (-1, d) for n, d in zip(sizes, declared, strict=True))
    if not fits or len(free) > 1 or source.size_bytes != output.size_bytes:
        raise model.damaged(op, f"makes {sizes} of {model.declared(op.inputs[0])}, its output has {declared}")
    _renamed(model, op)


def _renamed(model: Walk, op: Operation) -> None:
    """The same bytes under another shape: a layer where layers see another one."""
    source, made = op.inputs[0], op.outputs[0]
    model.require_same_lattice(op, model.spec(source).quantization, model.spec(made).quantization)
    if model.spec(source).shape == model.spec(made).shape:
        model.same(made, source)
    else:
        model.append(made, "flatten", (model.bytes_of(source),))


def _expand_dims(model: Walk, op: Operation) -> None:
    """An axis of one element more: that of the one row of an image, as converters make it for 1D layers."""
    source, declared = model.declared(op.inputs[0]), model.declared(op.outputs[0])
    axes = np.asarray(model.size(op, 1)).reshape(-1)
    axis = int(axes[0]) if axes.size == 1 else NONE
    axis += len(declared) if axis < 0 else 0
    if axes.size != 1 or not 0 < axis < len(declared) or declared != (*source[:axis], 1, *source[axis:]):
        raise model.damaged(op, f"inserts axis {axes.tolist()} into {source}, its output has {declared}")
    _renamed(model, op)


def _squeeze(model: Walk, op: Operation) -> None:
    """Axes of one element less; without a list of them, all but the batch's."""
    assert op.options is not None
    source, declared = (1, *model.graph.spec(op.inputs[0]).shape), model.declared(op.outputs[0])
    listed = op.options["squeeze_dims"]
    axes = {int(a) % len(source) for a in (() if listed is None else listed)} or set(range(1, len(source)))
    if declared != tuple(n for axis, n in enumerate(source) if n != 1 or axis not in axes):
        raise model.damaged(op, f"takes axes {sorted(axes)} from {source}, its output has {declared}")
    _renamed(model, op)


def _shape(model: Walk, op: Operation) -> None:
    model.source(op.inputs[0])
    model.keep_sizes(op, np.array(model.declared(op.inputs[0]), np.int32))


def _sizes(compute: Callable[[Sequence[NDArray[Any]], Row], Sizes]) -> Callable[[Walk, Operation], None]:
    def convert(model: Walk, op: Operation) -> None:
        assert op.options is not None
        try:
            values = compute([model.size(op, operand) for operand in range(len(op.inputs))], op.options)
        except ValueError as error:
            raise model.unsupported(op, str(error), "convert the model for batches of 1") from error
        model.keep_sizes(op, values)

    return convert


def _quantize(model: Walk, op: Operation) -> None:
    """From one lattice to another; nothing where that changes no value."""
    source, output = model.spec(op.inputs[0]), model.spec(op.outputs[0])
    try:
        values = rescale.requantized_values(source.quantization, output.quantization)
    except ValueError as error:
        raise model.unsupported(op, str(error), "give its output a coarser scale") from error
    if np.array_equal(values, np.arange(-128, 128)):
        model.require_shape(op, source.shape)
        model.number[op.outputs[0]] = model.source(op.inputs[0])
    else:
        _bounded(model, op, "NONE")


def _relu(model: Walk, op: Operation) -> None:
    """The activation as an operation of its own, to another scale too."""
    _bounded(model, op, op.name)


def _bounded(model: Walk, op: Operation, activation: str) -> None:
    """A depthwise convolution of 1 x 1 ones: to another scale, within the bounds of the activation of that name."""
    source, output = model.spec(op.inputs[0]), model.spec(op.outputs[0])
    model.require_shape(op, source.shape)
    image = TensorSpec(source.shape if len(source.shape) == 3 else (1, 1, source.size_bytes), source.quantization)
    channels = image.shape[2]
    number = model.source(op.inputs[0])
    if image != source:
        model.layers.append(QLayer(f"flatten{len(model.layers)}", "flatten", (number,), image))
        number = len(model.layers)
    factor = source.quantization.scale / output.quantization.scale
    params = {"stride": (1, 1), "padding": (0, 0)}
    model.finish(
        op, "depthwise_conv2d", (number,), np.ones((1, 1, channels), np.int8), 2, np.zeros(channels, np.int32),
        np.full(channels, factor), clamp(model, op, output.quantization, activation), params,
    )  # fmt: skip
    if image != source:
        made = model.layers[-1]
        model.layers[-1] = QLayer(**{**vars(made), "output": TensorSpec(image.shape, output.quantization)})
        model.append(op.outputs[0], "flatten", (len(model.layers),))


def _softmax(model: Walk, op: Operation) -> None:
    assert op.options is not None
    if not op.options["beta"] > 0:
        raise model.damaged(op, f"has beta {op.options['beta']}")
    _closing(model, op)


def _closing(model: Walk, op: Operation) -> None:
    """Left out: the largest logit has the largest share."""
    if op.outputs[0] != model.graph.output or op is not model.graph.operations[-1]:
        raise model.unsupported(op, f"a {CLOSING[op.name][0]} that is not the last operation", CLOSING[op.name][1])
    model.logits, model.closing = op.inputs[0], op.name
    model.number[op.outputs[0]] = model.source(op.inputs[0])


_REMOVE = "remove it: the largest logit has the largest probability"
_RECTIFIER = "train it with ReLU or ReLU6"
CLOSING: Mapping[str, tuple[str, str]] = {
    "LOGISTIC": ("sigmoid", _RECTIFIER),
    "LOG_SOFTMAX": ("softmax", _REMOVE),
    "SOFTMAX": ("softmax", _REMOVE),
}
"""Operations that may end a network: what they are called, and what to do about one elsewhere."""
NEAREST: Mapping[str, str] = {
    **dict.fromkeys(
        ("DIV", "MUL", "SUB"),
        "convert it without Rescaling, and with each BatchNormalization right after a convolution, or import the Keras "
        "file",
    ),
    **dict.fromkeys(("ELU", "GELU", "HARD_SWISH", "LEAKY_RELU", "MAXIMUM", "MINIMUM", "PRELU", "TANH"), _RECTIFIER),
    **dict.fromkeys(
        ("BATCH_TO_SPACE_ND", "SPACE_TO_BATCH_ND"), "train it without dilation, with a larger filter or a stride"
    ),
    "DEQUANTIZE": tflite_graph.QUANTIZE,
    "TRANSPOSE": "convert it with channels last",
    "GATHER": "write a Dense over steps as a Conv1D of 1, or import the Keras file",
}
"""What comes nearest to an operation that no layer computes."""
CONVERSIONS: Mapping[str, Conversion] = {
    "CONV_2D": Conversion(_conv2d, (2, 3), "Conv2DOptions"),
    "DEPTHWISE_CONV_2D": Conversion(_depthwise, (2, 3), "DepthwiseConv2DOptions"),
    "FULLY_CONNECTED": Conversion(_dense, (2, 3), "FullyConnectedOptions"),
    "ADD": Conversion(_add, (2, 2), "AddOptions"),
    "CONCATENATION": Conversion(_concatenate, (2, 64), "ConcatenationOptions"),
    "AVERAGE_POOL_2D": Conversion(_pool("average_pool2d"), (1, 1), "Pool2DOptions"),
    "MAX_POOL_2D": Conversion(_pool("max_pool2d"), (1, 1), "Pool2DOptions"),
    "MEAN": Conversion(_mean, (2, 2), "ReducerOptions"),
    "REDUCE_MAX": Conversion(_reduce_max, (2, 2), "ReducerOptions"),
    "PAD": Conversion(_pad, (2, 2)),
    "EXPAND_DIMS": Conversion(_expand_dims, (2, 2)),
    "RESHAPE": Conversion(_reshape, (1, 2)),
    "SQUEEZE": Conversion(_squeeze, (1, 1), "SqueezeOptions"),
    "QUANTIZE": Conversion(_quantize, (1, 1)),
    "RELU": Conversion(_relu, (1, 1)),
    "RELU6": Conversion(_relu, (1, 1)),
    "RELU_N1_TO_1": Conversion(_relu, (1, 1)),
    "LOGISTIC": Conversion(_closing, (1, 1)),
    "LOG_SOFTMAX": Conversion(_closing, (1, 1)),
    "SOFTMAX": Conversion(_softmax, (1, 1), "SoftmaxOptions"),
    "SHAPE": Conversion(_shape, (1, 1), "ShapeOptions"),
    "STRIDED_SLICE": Conversion(_sizes(tflite_sizes.part), (4, 4), "StridedSliceOptions"),
    "PACK": Conversion(_sizes(tflite_sizes.pack), (1, 8), "PackOptions"),
}
