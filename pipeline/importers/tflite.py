"""The import of int8 TensorFlow Lite models as QModels, operation by operation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ConfigError, UnsupportedError
from pipeline.core.nouns import Int8Array, Int32Array, QLayer, QModel, Quantization, TensorSpec
from pipeline.importers import flatbuffer, tflite_graph, tflite_schema, tflite_sizes
from pipeline.importers.flatbuffer import Row
from pipeline.importers.tflite_graph import NONE, Graph, Operation, Tensor
from pipeline.importers.tflite_sizes import Sizes
from pipeline.network import arith, geometry, packing, rescale

Pair = tuple[int, int]


def checked(path: Path) -> tuple[Graph, int]:
    """(the graph of a file that `import_model` can import, number of the tensor with its logits). Errors as there."""
    found = _Import(tflite_graph.read(path)).convert()
    return found.graph, found.logits


def import_model(path: Path, name: str, classes: Sequence[str] = ()) -> QModel:
    """The int8 model in the file as a QModel: the same integers, operation by operation.

    A closing softmax or sigmoid is left out; one logit for two classes becomes two, zero and itself; a padding becomes
    part of the convolution after it; tensors of (steps, channels) are images of one row, samples without an axis for
    their channel get one. classes: by default numbers.
    ConfigError: a file that is missing or damaged, or a wrong number of classes. UnsupportedError names the operation,
    and the setting, that no layer kind computes.
    """
    graph = tflite_graph.read(path)
    found = _Import(graph).convert()
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


@dataclass(frozen=True)
class _Padding:
    """A PAD that the operation after it may take over."""

    source: int
    """The tensor that is padded."""
    before: Pair
    """Rows above, columns to the left."""
    after: Pair
    """Rows below, columns to the right."""


@dataclass(frozen=True)
class _Window:
    """Where the window of a convolution or pooling lies."""

    source: int
    """The tensor it slides over."""
    params: Mapping[str, Pair]
    """stride, padding."""


class _Import:
    """Walks the operations once, in order. `number` maps a tensor of the file to the QModel's, `paddings` holds those
    that no layer computes yet, `sizes` what the file computes of shapes; closing: the operation of CLOSING that
    ended it, or ""."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.number = {graph.input: 0}
        self.paddings: dict[int, _Padding] = {}
        self.sizes: dict[int, Sizes] = {}
        self.layers: list[QLayer] = []
        self.logits = graph.output
        self.closing = ""

    def convert(self) -> _Import:
        """Itself, with all layers."""
        for op in self.graph.operations:
            if op.name not in CONVERSIONS:
                known = ", ".join(sorted(CONVERSIONS))
                nearest = NEAREST.get(op.name)
                raise self.unsupported(
                    op, "no layer computes it", f"{nearest}; known: {known}" if nearest else f"known: {known}"
                )
            conversion = CONVERSIONS[op.name]
            low, high = conversion.operands
            written = {*self.number, *self.paddings, *self.sizes}
            if not low <= len(op.inputs) <= high or len(op.outputs) != 1 or op.outputs[0] in written:
                raise self.damaged(op, f"has {len(op.inputs)} operands and writes tensors {op.outputs}")
            self.check_options(op, conversion)
            conversion.convert(self, op)
        if self.source(self.graph.output) != len(self.layers) or not self.layers:
            raise UnsupportedError(f"{self.graph.path}: its output is not what its last operation computes")
        return self

    def check_options(self, op: Operation, conversion: Conversion) -> None:
        if conversion.options and (op.options is None or conversion.options not in self.written_options(op)):
            raise self.damaged(op, f"has no {conversion.options}")
        if op.options is not None and op.options[flatbuffer.UNKNOWN]:
            slots = ", ".join(map(str, op.options[flatbuffer.UNKNOWN]))
            raise self.unsupported(
                op, f"settings that are not known here (slots {slots})", "convert it with an older TensorFlow"
            )

    def written_options(self, op: Operation) -> str:
        number = op.number - self.graph.operations[0].number
        kind = self.graph.root["subgraphs"][0]["operators"][number]["builtin_options_type"]
        return next((name for name, number in tflite_schema.OPTIONS.items() if number == kind), "")

    def source(self, tensor: int) -> int:
        """The QModel's number of an activation; a padding that nothing took over becomes a layer."""
        if tensor in self.paddings:
            self.add_padding(tensor, self.paddings.pop(tensor))
        if tensor not in self.number:
            what = "is read before it is computed, or is a constant"
            raise UnsupportedError(f"{self.graph.path}: tensor {tensor} {what}")
        if tensor == self.graph.input and self.number[tensor] == 0 and self.spec(tensor) != self.samples:
            self.append(tensor, "flatten", (0,))
        return self.number[tensor]

    @property
    def samples(self) -> TensorSpec:
        """The spec of the QModel's input: (height, width) and (steps, channels) get an axis for one channel, as a data
        set gives them one."""
        spec = self.graph.spec(self.graph.input)
        return TensorSpec((*spec.shape, 1), spec.quantization) if len(spec.shape) == 2 else spec

    def spec(self, tensor: int) -> TensorSpec:
        """The spec of an activation as layers compute it: (steps, channels) are an image of one row."""
        spec = self.graph.spec(tensor)
        return TensorSpec((1, *spec.shape), spec.quantization) if len(spec.shape) == 2 else spec

    def declared(self, tensor: int) -> tuple[int, ...]:
        """The shape of an activation as the file has it, with the batch axis."""
        return self.graph.tensors[tensor].shape

    def bytes_of(self, tensor: int) -> int:
        """The QModel's number of an activation whose shape does not matter: the input as it is."""
        return 0 if tensor == self.graph.input and self.number[tensor] == 0 else self.source(tensor)

    def same(self, made: int, source: int) -> None:
        """That both tensors of the file are one of the QModel, or one padding."""
        if source in self.paddings:
            self.paddings[made] = self.paddings[source]
        else:
            self.number[made] = self.source(source)

    def image(self, op: Operation, tensor: int) -> TensorSpec:
        """The spec of an activation (h, w, c)."""
        spec = self.spec(tensor)
        if len(spec.shape) != 3:
            raise self.unsupported(op, f"a tensor of shape {spec.shape}", "it takes (height, width, channels)")
        return spec

    def append(self, tensor: int, kind: str, inputs: Iterable[int], **rest: Any) -> None:
        """A layer that computes `tensor` of the file from these tensors of the QModel."""
        layer = QLayer(f"{kind}{len(self.layers)}", kind, tuple(inputs), self.spec(tensor), **rest)
        self.layers.append(layer)
        self.number[tensor] = len(self.layers)

    def require_shape(self, op: Operation, shape: tuple[int, ...]) -> None:
        declared = self.spec(op.outputs[0]).shape
        if declared != shape:
            raise self.damaged(op, f"makes shape {shape}, its output has {declared}")

    def require_same_lattice(self, op: Operation, a: Quantization, b: Quantization) -> None:
        if (a.scale, a.zero_point) != (b.scale, b.zero_point):
            lattices = f"scales {a.scale:g} and {b.scale:g}, zero points {a.zero_point} and {b.zero_point}"
            raise self.unsupported(op, lattices, "input and output have the same there")

    def constant(self, op: Operation, operand: int, kind: str) -> Tensor:
        """The operand of that position: a constant of that type."""
        tensor = self.graph.tensors[op.inputs[operand]] if op.inputs[operand] != NONE else None
        if tensor is None or tensor.constant is None or tensor.type != kind or op.inputs[operand] in self.number:
            raise self.unsupported(op, f"operand {operand} is not a constant of type {kind}", tflite_graph.QUANTIZE)
        return tensor

    def size(self, op: Operation, operand: int) -> NDArray[Any]:
        """The operand of that position: int32, a constant or computed of shapes."""
        if op.inputs[operand] in self.sizes:
            return self.sizes[op.inputs[operand]]
        constant = self.constant(op, operand, "int32").constant
        assert constant is not None
        return constant

    def keep_sizes(self, op: Operation, values: Sizes) -> None:
        """That the operation computes these of shapes."""
        tensor = self.graph.tensors[op.outputs[0]]
        if tensor.type != "int32" or tensor.shape != values.shape:
            raise self.damaged(op, f"makes int32 {values.shape}, its output is {tensor.type} {tensor.shape}")
        self.sizes[op.outputs[0]] = values

    def unsupported(self, op: Operation, what: str, hint: str = "") -> UnsupportedError:
        return UnsupportedError(f"{self.graph.path}: {op}: {what}", hint)

    def damaged(self, op: Operation, what: str) -> ConfigError:
        return ConfigError(f"{self.graph.path}: damaged, {op} {what}", "download or convert it again")

    def window(self, op: Operation, kernel: Pair, *, foldable: bool = True) -> _Window:
        """The window of that size with the op's stride and padding, and the padding before it if it may take it over.
        foldable: what lies outside the input has no part in the result, or the part that padding has."""
        assert op.options is not None
        stride = int(op.options["stride_h"]), int(op.options["stride_w"])
        if op.options["padding"] not in (0, 1) or min(*stride, *kernel) < 1 or max(*stride, *kernel) > 1 << 15:
            raise self.damaged(op, f"has stride {stride}, window {kernel} and padding {op.options['padding']}")
        padding = tflite_schema.PADDING[op.options["padding"]]
        tensor = op.inputs[0]
        shape = self.image(op, tensor).shape
        axes = [geometry.extent(n, k, s, padding) for n, k, s in zip(shape[:2], kernel, stride, strict=True)]
        out, before = (axes[0][0], axes[1][0]), (axes[0][1], axes[1][1])
        if min(out) < 1:
            raise self.damaged(op, f"has a window of {kernel} on {shape}")
        self.require_shape(op, (*out, self.spec(op.outputs[0]).shape[-1]))
        taken = self.paddings.get(tensor)
        if taken and foldable:
            both = before[0] + taken.before[0], before[1] + taken.before[1]
            if _touches(self.spec(taken.source).shape[:2], kernel, stride, both, out):
                return _Window(self.source(taken.source), {"stride": stride, "padding": both})
        return _Window(self.source(tensor), {"stride": stride, "padding": before})

    def weighted(
        self, op: Operation, kind: str, inputs: Iterable[int], filters: Tensor, params: Mapping[str, Any]
    ) -> None:
        """A layer with the op's weights, in the layout of pipeline.network.layers."""
        assert op.options is not None and filters.constant is not None
        output = self.spec(op.outputs[0]).quantization
        weights = filters.constant[0] if kind == "depthwise_conv2d" else filters.constant
        channels = weights.shape[-1] if kind == "depthwise_conv2d" else weights.shape[0]
        axis = 3 if kind == "depthwise_conv2d" else 0
        if (
            filters.zero_points.any()
            or len(filters.scales) not in (1, channels)
            or (len(filters.scales) > 1 and filters.axis != axis)
        ):
            what = f"weights with {len(filters.scales)} scales on axis {filters.axis}, zero points other than 0"
            raise self.unsupported(op, what, "one scale, or one for each output channel; zero points 0")
        bias = self.bias(op, channels)
        factors = np.broadcast_to(self.factors(op, kind, filters), channels)
        self.finish(op, kind, inputs, np.ascontiguousarray(weights), 8, bias, factors, clamp(self, op, output), params)

    def bias(self, op: Operation, channels: int) -> Int32Array:
        """int32 (channels,): the third operand, zeros when it is left out."""
        if len(op.inputs) < 3 or op.inputs[2] == NONE:
            return np.zeros(channels, np.int32)
        tensor = self.constant(op, 2, "int32")
        assert tensor.constant is not None
        if tensor.constant.size != channels:
            raise self.damaged(op, f"has {tensor.constant.size} biases for {channels} channels")
        return tensor.constant.reshape(channels).astype(np.int32)

    def factors(self, op: Operation, kind: str, filters: Tensor) -> NDArray[np.float64]:
        """Real value of an accumulator step in output steps, per scale of the weights, rounded as TensorFlow Lite does:
        of a dense layer with one scale the product of the scales is a float32."""
        source, output = (self.spec(n).quantization.scale for n in (op.inputs[0], op.outputs[0]))
        if kind == "dense" and len(filters.scales) == 1:
            return (np.float32(source) * filters.scales).astype(np.float64) / output
        return rescale.weighted(source, filters.scales, output)

    def finish(
        self, op: Operation, kind: str, inputs: Iterable[int], weights: Int8Array, bits: int, bias: Int32Array,
        factors: NDArray[Any], activation: Pair, params: Mapping[str, Any],
    ) -> None:  # fmt: skip
        """Appends a weighted layer. UnsupportedError when an accumulator could leave int32."""
        pairs = [self.multiplier(op, float(f)) for f in factors]
        shift = np.array([s for _, s in pairs], np.int8)
        reach = rescale.largest_input(self.spec(op.inputs[0]).quantization)
        rows = np.moveaxis(weights, -1, 0) if kind == "depthwise_conv2d" else weights
        sums = np.abs(rows.astype(np.int64)).reshape(len(rows), -1).sum(axis=1)
        if not arith.requantization_is_safe(sums * reach + np.abs(bias.astype(np.int64)), shift).all():
            raise self.unsupported(op, "its accumulators could overflow 32 bits", "give its output a coarser scale")
        self.append(
            op.outputs[0], kind, inputs, params={**params, "activation": activation}, weights=weights,
            weight_bits=bits, bias=bias, multiplier=np.array([m for m, _ in pairs], np.int32), shift=shift,
        )  # fmt: skip
        packing.require_range(self.layers[-1])

    def multiplier(self, op: Operation, real: float) -> Pair:
        try:
            return arith.quantize_multiplier(real)
        except ValueError as error:
            raise self.unsupported(op, str(error), "give its output a coarser scale") from error

    def add_padding(self, tensor: int, padding: _Padding) -> None:
        params = {"before": padding.before, "after": padding.after}
        self.append(tensor, "pad2d", (self.source(padding.source),), params=params)


def _touches(shape: tuple[int, ...], kernel: Pair, stride: Pair, before: Pair, out: Pair) -> bool:
    """Whether every window has a part in the input."""
    axes = zip(shape, kernel, stride, before, out, strict=True)
    return all(b < k and (o - 1) * s - b < n for n, k, s, b, o in axes)


def clamp(model: _Import, op: Operation, output: Quantization, name: str = "") -> Pair:
    """Lowest and highest output of the op's fused activation, or of the one of that name."""
    code = op.options["fused_activation_function"] if op.options is not None and not name else 0
    known = 0 <= code < len(tflite_schema.ACTIVATIONS)
    name = name or (tflite_schema.ACTIVATIONS[code] if known else f"number {code}")
    if name not in LIMITS:
        raise model.unsupported(op, f"fused activation {name}", f"known: {', '.join(LIMITS)}")
    qmin, qmax = limits(name, output)
    if qmin > qmax:
        raise model.unsupported(op, f"{name} leaves nothing of an output of scale {output.scale:g}")
    return qmin, qmax


def limits(name: str, output: Quantization) -> Pair:
    """Lowest and highest output of the activation of that name, one of LIMITS."""
    low, high = LIMITS[name]
    qmin = output.qmin if low is None else max(output.qmin, _steps(low, output))
    qmax = output.qmax if high is None else min(output.qmax, _steps(high, output))
    return qmin, qmax


LIMITS: Mapping[str, tuple[float | None, float | None]] = {
    "NONE": (None, None),
    "RELU": (0.0, None),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}
"""Real bounds of the activations."""


def _steps(real: float, output: Quantization) -> int:
    """The lattice point of a real value as TensorFlow Lite finds it: a float32 quotient, halves away from zero."""
    quotient = float(np.float32(real) / np.float32(output.scale))
    return output.zero_point + int(math.copysign(math.floor(min(abs(quotient), 512.0) + 0.5), quotient))


def _conv2d(model: _Import, op: Operation) -> None:
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


def _depthwise(model: _Import, op: Operation) -> None:
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


def _dense(model: _Import, op: Operation) -> None:
    assert op.options is not None
    filters, source = model.constant(op, 1, "int8"), model.spec(op.inputs[0])
    _require_rank(model, op, filters, 2)
    units, features = filters.shape
    if op.options["weights_format"]:
        raise model.unsupported(op, f"weights_format {op.options['weights_format']}", "known: 0 (DEFAULT)")
    if features != source.size_bytes or model.spec(op.outputs[0]).size_bytes != units:
        raise model.unsupported(op, f"weights of shape {filters.shape} on {source.shape}", "it takes one vector")
    model.weighted(op, "dense", (model.source(op.inputs[0]),), filters, {})


def _require_rank(model: _Import, op: Operation, filters: Tensor, rank: int) -> None:
    if len(filters.shape) != rank or not len(filters.scales):
        raise model.damaged(op, f"has weights of shape {filters.shape} with {len(filters.scales)} scales")


def _require_channels(model: _Import, op: Operation, channels: int) -> None:
    model.require_shape(op, (*model.spec(op.outputs[0]).shape[:2], channels))


def _refuse_dilation(model: _Import, op: Operation, kernel: Pair) -> None:
    """A filter of one row or column has none to spread."""
    assert op.options is not None
    dilation = int(op.options["dilation_h_factor"]), int(op.options["dilation_w_factor"])
    if any(d != 1 and (k > 1 or d < 1) for d, k in zip(dilation, kernel, strict=True)):
        raise model.unsupported(op, f"dilation {dilation}", "no kernel computes it; use a larger filter or a stride")


def _add(model: _Import, op: Operation) -> None:
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


def _concatenate(model: _Import, op: Operation) -> None:
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


def _pool(kind: str) -> Callable[[_Import, Operation], None]:
    def convert(model: _Import, op: Operation) -> None:
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


def _mean(model: _Import, op: Operation) -> None:
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


def _reduce_max(model: _Import, op: Operation) -> None:
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


def _over_the_map(model: _Import, op: Operation) -> TensorSpec:
    """The spec of the image whose height and width the operation reduces to one value for each channel."""
    axes, rank = model.constant(op, 1, "int32").constant, len(model.declared(op.inputs[0]))
    source = model.image(op, op.inputs[0])
    assert axes is not None and op.options is not None
    if sorted(int(a) % rank if -rank <= a < rank else a for a in axes.reshape(-1)) != list(range(1, rank - 1)):
        raise model.unsupported(op, f"axes {axes.reshape(-1).tolist()}", "height and width: 1, 2; of steps: 1")
    channels = source.shape[2]
    model.require_shape(op, (1, 1, channels) if op.options["keep_dims"] else (channels,))
    return source


def _pad(model: _Import, op: Operation) -> None:
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
    model.paddings[op.outputs[0]] = _Padding(op.inputs[0], (top, left), (bottom, right))


def _reshape(model: _Import, op: Operation) -> None:
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


def _renamed(model: _Import, op: Operation) -> None:
    """The same bytes under another shape: a layer where layers see another one."""
    source, made = op.inputs[0], op.outputs[0]
    model.require_same_lattice(op, model.spec(source).quantization, model.spec(made).quantization)
    if model.spec(source).shape == model.spec(made).shape:
        model.same(made, source)
    else:
        model.append(made, "flatten", (model.bytes_of(source),))


def _expand_dims(model: _Import, op: Operation) -> None:
    """An axis of one element more: that of the one row of an image, as converters make it for 1D layers."""
    source, declared = model.declared(op.inputs[0]), model.declared(op.outputs[0])
    axes = np.asarray(model.size(op, 1)).reshape(-1)
    axis = int(axes[0]) if axes.size == 1 else NONE
    axis += len(declared) if axis < 0 else 0
    if axes.size != 1 or not 0 < axis < len(declared) or declared != (*source[:axis], 1, *source[axis:]):
        raise model.damaged(op, f"inserts axis {axes.tolist()} into {source}, its output has {declared}")
    _renamed(model, op)


def _squeeze(model: _Import, op: Operation) -> None:
    """Axes of one element less; without a list of them, all but the batch's."""
    assert op.options is not None
    source, declared = model.declared(op.inputs[0]), model.declared(op.outputs[0])
    listed = op.options["squeeze_dims"]
    axes = {int(a) % len(source) for a in (() if listed is None else listed)} or set(range(1, len(source)))
    if declared != tuple(n for axis, n in enumerate(source) if n != 1 or axis not in axes):
        raise model.damaged(op, f"takes axes {sorted(axes)} from {source}, its output has {declared}")
    _renamed(model, op)


def _shape(model: _Import, op: Operation) -> None:
    model.source(op.inputs[0])
    model.keep_sizes(op, np.array(model.declared(op.inputs[0]), np.int32))


def _sizes(compute: Callable[[Sequence[NDArray[Any]], Row], Sizes]) -> Callable[[_Import, Operation], None]:
    def convert(model: _Import, op: Operation) -> None:
        assert op.options is not None
        try:
            values = compute([model.size(op, operand) for operand in range(len(op.inputs))], op.options)
        except ValueError as error:
            raise model.unsupported(op, str(error), "convert the model for batches of 1") from error
        model.keep_sizes(op, values)

    return convert


def _quantize(model: _Import, op: Operation) -> None:
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


def _relu(model: _Import, op: Operation) -> None:
    """The activation as an operation of its own, to another scale too."""
    _bounded(model, op, op.name)


def _bounded(model: _Import, op: Operation, activation: str) -> None:
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


def _softmax(model: _Import, op: Operation) -> None:
    assert op.options is not None
    if not op.options["beta"] > 0:
        raise model.damaged(op, f"has beta {op.options['beta']}")
    _closing(model, op)


def _closing(model: _Import, op: Operation) -> None:
    """Left out: the largest logit has the largest share."""
    if op.outputs[0] != model.graph.output or op is not model.graph.operations[-1]:
        raise model.unsupported(op, f"a {CLOSING[op.name][0]} that is not the last operation", CLOSING[op.name][1])
    model.logits, model.closing = op.inputs[0], op.name
    model.number[op.outputs[0]] = model.source(op.inputs[0])


@dataclass(frozen=True)
class Conversion:
    """How an operation becomes layers."""

    convert: Callable[[_Import, Operation], None]
    """Appends its layers."""
    operands: tuple[int, int]
    """Fewest and most."""
    options: str = ""
    """The table of settings it must have, "" for none."""


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
