"""The walk over the operations of a TensorFlow Lite graph: what their conversions, in tflite.py, ask and say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ConfigError, UnsupportedError
from pipeline.core.nouns import Int8Array, Int32Array, QLayer, Quantization, TensorSpec
from pipeline.importers import flatbuffer, tflite_graph, tflite_schema
from pipeline.importers.tflite_graph import NONE, Graph, Operation, Tensor
from pipeline.importers.tflite_sizes import Sizes
from pipeline.network import arith, geometry, packing, rescale

Pair = tuple[int, int]


@dataclass(frozen=True)
class Padding:
    """A PAD that the operation after it may take over."""

    source: int
    """The tensor that is padded."""
    before: Pair
    """Rows above, columns to the left."""
    after: Pair
    """Rows below, columns to the right."""


@dataclass(frozen=True)
class Window:
    """Where the window of a convolution or pooling lies."""

    source: int
    """The tensor it slides over."""
    params: Mapping[str, Pair]
    """stride, padding."""


class Walk:
    """Walks the operations once, in order. `number` maps a tensor of the file to the QModel's, `paddings` holds those
    that no layer computes yet, `sizes` what the file computes of shapes; closing: the operation, left out, that
    ended it, or ""."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.number = {graph.input: 0}
        self.paddings: dict[int, Padding] = {}
        self.sizes: dict[int, Sizes] = {}
        self.layers: list[QLayer] = []
        self.logits = graph.output
        self.closing = ""

    def convert(self, conversions: Mapping[str, Conversion], nearest_to: Mapping[str, str]) -> Walk:
        """Itself, with all layers. conversions: by operator; nearest_to: what to do about an operator without one."""
        for op in self.graph.operations:
            if op.name not in conversions:
                known = ", ".join(sorted(conversions))
                nearest = nearest_to.get(op.name)
                raise self.unsupported(
                    op, "no layer computes it", f"{nearest}; known: {known}" if nearest else f"known: {known}"
                )
            conversion = conversions[op.name]
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

    def window(self, op: Operation, kernel: Pair, *, foldable: bool = True) -> Window:
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
                return Window(self.source(taken.source), {"stride": stride, "padding": both})
        return Window(self.source(tensor), {"stride": stride, "padding": before})

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

    def add_padding(self, tensor: int, padding: Padding) -> None:
        params = {"before": padding.before, "after": padding.after}
        self.append(tensor, "pad2d", (self.source(padding.source),), params=params)


def _touches(shape: tuple[int, ...], kernel: Pair, stride: Pair, before: Pair, out: Pair) -> bool:
    """Whether every window has a part in the input."""
    axes = zip(shape, kernel, stride, before, out, strict=True)
    return all(b < k and (o - 1) * s - b < n for n, k, s, b, o in axes)


def clamp(model: Walk, op: Operation, output: Quantization, name: str = "") -> Pair:
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


@dataclass(frozen=True)
class Conversion:
    """How an operation becomes layers."""

    convert: Callable[[Walk, Operation], None]
    """Appends its layers."""
    operands: tuple[int, int]
    """Fewest and most."""
    options: str = ""
    """The table of settings it must have, "" for none."""
