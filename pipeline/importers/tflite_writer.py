"""An integer network as an int8 TensorFlow Lite file: operation by operation the same integers.

Weights of 1 to 4 bits are widened to int8. What the file's operations cannot express exactly is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import UnsupportedError
from pipeline.core.nouns import Int8Array, QLayer, QModel, Quantization, TensorSpec
from pipeline.importers import flatbuffer, tflite_scales, tflite_schema, tflite_walk
from pipeline.importers.flatbuffer import Row
from pipeline.network import arith, geometry, rescale

VERSIONS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "RESHAPE": 1, "QUANTIZE": 1}
"""The first version of each operator with int8; of others 2."""
DESCRIPTION = "tritmcu"
Pair = tuple[int, int]


def contents(model: QModel, gain: float = 1.0) -> bytes:
    """The file. Its input is stated in units of `gain` times the network's own.

    UnsupportedError, naming the layer and the value: lattices below 8 bits, clamps, windows or multipliers that no
    operation of TensorFlow Lite has.
    """
    return _Writer(model, gain).run()


class _Writer:
    """Appends tensors and operations; `tensor` maps a tensor of the network to the file's, `specs` holds what the file
    says of it, `number` is that of the layer being written."""

    def __init__(self, model: QModel, gain: float) -> None:
        self.model = model
        self.tensors: list[Row] = []
        self.buffers: list[Row] = [{}]
        self.operators: list[Row] = []
        self.codes: list[str] = []
        first, renamed = model.layers[0], len(model.layers) > 1 and _relabels(model, model.layers[0])
        self.input = first.output if renamed else model.input
        if gain != 1.0:
            q = self.input.quantization
            self.input = TensorSpec(self.input.shape, Quantization(q.scale * gain, q.zero_point, q.bits))
        self.specs = [self.input, *(layer.output for layer in model.layers)]
        self.tensor = {0: self.activation("input", self.input)}
        self.number = self.skipped = 1 if renamed else 0
        if renamed:
            self.tensor[1], self.specs[1] = self.tensor[0], self.input

    def run(self) -> bytes:
        for number, layer in enumerate(self.model.layers[self.skipped :], self.skipped + 1):
            if layer.kind not in _WRITERS:
                known = ", ".join(_WRITERS)
                raise UnsupportedError(f"layer {layer.name!r}: a {layer.kind} has no counterpart", f"known: {known}")
            self.number = number
            self.tensor[number] = _WRITERS[layer.kind](self, layer)
        graph = {
            "tensors": self.tensors, "operators": self.operators, "name": "main",
            "inputs": [self.tensor[0]], "outputs": [self.tensor[len(self.model.layers)]],
        }  # fmt: skip
        root = {
            "version": tflite_schema.VERSION, "operator_codes": [_code(name) for name in self.codes],
            "subgraphs": [graph], "description": DESCRIPTION, "buffers": self.buffers,
        }  # fmt: skip
        return flatbuffer.write(root, "Model", tflite_schema.TABLES, tflite_schema.IDENTIFIER)

    def spec(self, layer: QLayer, which: int = 0) -> TensorSpec:
        """Of an input of the layer."""
        return self.specs[layer.inputs[which]]

    def source(self, layer: QLayer, which: int = 0) -> int:
        """The file's tensor that an input of the layer is."""
        return self.tensor[layer.inputs[which]]

    def activation(self, name: str, spec: TensorSpec) -> int:
        q = spec.quantization
        quantization = {"scale": [rescale.single(q.scale)], "zero_point": [q.zero_point]}
        return self._tensor(name, (1, *spec.shape), "int8", quantization, 0)

    def constant(self, name: str, values: NDArray[Any], scales: Any = None, axis: int = 0) -> int:
        """The tensor of these values, int8 or int32, with weight scales along `axis`."""
        self.buffers.append({"data": np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)})
        quantization = None
        if scales is not None:
            quantization = {"scale": scales, "zero_point": [0] * len(scales), "quantized_dimension": axis}
        return self._tensor(name, values.shape, values.dtype.name, quantization, len(self.buffers) - 1)

    def _tensor(self, name: str, shape: tuple[int, ...], kind: str, quantization: Row | None, buffer: int) -> int:
        number = tflite_schema.TYPES.index(kind)
        row = {"shape": list(shape), "type": number, "buffer": buffer, "name": name, "quantization": quantization}
        self.tensors.append(row)
        return len(self.tensors) - 1

    def operation(self, name: str, inputs: list[int], output: int, table: str, **settings: Any) -> int:
        """The tensor `output`, once the operation that writes it is appended."""
        if name not in self.codes:
            self.codes.append(name)
        self.operators.append({
            "opcode_index": self.codes.index(name), "inputs": inputs, "outputs": [output],
            "builtin_options_type": tflite_schema.OPTIONS[table], "builtin_options": (table, settings),
        })  # fmt: skip
        return output

    def reshaped(self, name: str, source: int, spec: TensorSpec) -> int:
        """The tensor under another shape."""
        shape = np.array([1, *spec.shape], np.int32)
        output = self.activation(name, spec)
        operands = [source, self.constant(f"{name}/shape", shape)]
        return self.operation("RESHAPE", operands, output, "ReshapeOptions", new_shape=shape)

    def quantized(self, name: str, source: int, spec: TensorSpec) -> int:
        """The tensor on another lattice."""
        return self.operation("QUANTIZE", [source], self.activation(name, spec), "QuantizeOptions")

    def settled(self, layer: QLayer, made: int, spec: TensorSpec) -> int:
        """The tensor that later layers read of a weighted layer whose output is stated as `spec`. Weighted layers
        choose their scales by it; for others it is put back on the layer's own lattice, which changes no value."""
        own = _image(layer.output)
        readers = [other for other in self.model.layers if self.number in other.inputs]
        if spec == own or all(other.weights is not None for other in readers):
            self.specs[self.number] = replace(layer.output, quantization=spec.quantization)
            return made
        return self.quantized(f"{layer.name}/own", made, own)

    def padded(self, layer: QLayer, spec: TensorSpec, source: int, before: Pair, after: Pair, name: str) -> int:
        """The image with zeros around it."""
        amounts = np.array([(0, 0), (before[0], after[0]), (before[1], after[1]), (0, 0)], np.int32)
        h, w, c = spec.shape
        shape = (h + before[0] + after[0], w + before[1] + after[1], c)
        output = self.activation(name, TensorSpec(shape, spec.quantization))
        return self.operation("PAD", [source, self.constant(f"{name}/amounts", amounts)], output, "PadOptions")

    def window(self, layer: QLayer, kernel: Pair, *, foldable: bool) -> tuple[int, dict[str, int]]:
        """(input tensor, settings) of an operation with the layer's window; foldable: zeros may be put around it."""
        spec, source, stride = self.spec(layer), self.source(layer), layer.params["stride"]
        outputs = geometry.outputs(layer)
        wanted = tuple(zip(outputs, layer.params["padding"], strict=True))
        strides = {"stride_h": stride[0], "stride_w": stride[1]}
        for number, padding in enumerate(tflite_schema.PADDING):
            sizes = zip(spec.shape[:2], kernel, stride, strict=True)
            if tuple(geometry.extent(n, k, s, padding) for n, k, s in sizes) == wanted:
                return source, {"padding": number, **strides}
        (top, bottom), (left, right) = geometry.margins(layer, spec.shape[:2], kernel)
        grown = spec.shape[0] + top + bottom, spec.shape[1] + left + right
        padded = zip(grown, kernel, stride, strict=True)
        if not foldable or tuple((n - k) // s + 1 for n, k, s in padded) != outputs:
            what = f"a window of {kernel} with padding {layer.params['padding']} on {spec.shape}"
            raise UnsupportedError(f"layer {layer.name!r}: {what}", 'padding "same" or "valid"')
        source = self.padded(layer, spec, source, (top, left), (bottom, right), f"{layer.name}/padded")
        return source, {"padding": tflite_schema.PADDING.index("valid"), **strides}

    def clamp(self, layer: QLayer, spec: TensorSpec | None = None, scale: float | None = None) -> int:
        """The number of the fused activation that clamps as the layer does. spec: of an input whose values the output
        has; what none of them exceeds needs no clamp. scale: what the output's is stated as, by default its own."""
        wanted, q = tuple(layer.params["activation"]), layer.output.quantization
        if spec is not None and wanted[0] <= spec.quantization.qmin and spec.quantization.qmax <= wanted[1]:
            return tflite_schema.ACTIVATIONS.index("NONE")
        lattice = Quantization(rescale.single(scale or q.scale), q.zero_point)
        for name in tflite_walk.LIMITS:
            if tflite_walk.limits(name, lattice) == wanted:
                return tflite_schema.ACTIVATIONS.index(name)
        known = ", ".join(f"{name} {tflite_walk.limits(name, lattice)}" for name in tflite_walk.LIMITS)
        raise UnsupportedError(f"layer {layer.name!r}: clamps to {wanted} of {q.bits} bits", f"known there: {known}")

    def scales(self, layer: QLayer, weights: Int8Array) -> tflite_scales.Scales:
        """UnsupportedError when no float32 scales give the layer's requantization."""
        found, exact = tflite_scales.find(layer, self.spec(layer).quantization, weights)
        for channel in np.flatnonzero(~exact)[:1]:
            assert layer.multiplier is not None and layer.shift is not None
            what = f"multiplier {layer.multiplier[channel]} * 2^{int(layer.shift[channel]) - 31}"
            raise UnsupportedError(
                f"layer {layer.name!r}, channel {channel}: no float32 scale of its weights gives its {what}",
                "networks that are lowered now have such scales: lower it again from its run or Keras file",
            )
        return found

    def require_lattice(self, layer: QLayer, which: int = 0) -> None:
        """UnsupportedError unless an input has the lattice of the output."""
        a, b = self.spec(layer, which).quantization, layer.output.quantization
        if not _same_lattice(a, b):
            what = f"input of scale {a.scale:g}, zero point {a.zero_point}, output of {b.scale:g}, {b.zero_point}"
            raise UnsupportedError(f"layer {layer.name!r}: {what}", f"a {layer.kind} there has one lattice")


def _same_lattice(a: Quantization, b: Quantization) -> bool:
    """As a file states them."""
    return (rescale.single(a.scale), a.zero_point) == (rescale.single(b.scale), b.zero_point)


def _relabels(model: QModel, layer: QLayer) -> bool:
    """Whether the layer gives other real values to the network's input, and alone reads it."""
    alone = sum(0 in other.inputs for other in model.layers) == 1
    return layer.kind == "flatten" and alone and layer.output.quantization != model.input.quantization


def _code(name: str) -> Row:
    number = tflite_schema.OPERATORS.index(name)
    return {"deprecated_builtin_code": min(number, 127), "builtin_code": number, "version": VERSIONS.get(name, 2)}


def _conv2d(file: _Writer, layer: QLayer) -> int:
    assert layer.weights is not None
    _, rows, columns, _ = layer.weights.shape
    source, settings = file.window(layer, (rows, columns), foldable=True)
    return _weighted(file, layer, layer.weights, source, "CONV_2D", "Conv2DOptions", settings)


def _depthwise(file: _Writer, layer: QLayer) -> int:
    assert layer.weights is not None
    rows, columns, _ = layer.weights.shape
    source, settings = file.window(layer, (rows, columns), foldable=True)
    settings["depth_multiplier"] = layer.output.shape[2] // file.spec(layer).shape[2]
    weights = np.moveaxis(layer.weights, -1, 0)
    return _weighted(file, layer, weights, source, "DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions", settings)


def _weighted(
    file: _Writer, layer: QLayer, weights: Int8Array, source: int, name: str, table: str, settings: Mapping[str, int]
) -> int:  # fmt: skip
    """An operation with one scale for each channel; weights (channels, ...). Of a vector it makes an image."""
    found = file.scales(layer, weights)
    filters, bias = tflite_scales.multiplied(layer, weights, found)
    depthwise = name == "DEPTHWISE_CONV_2D"
    stored = np.moveaxis(filters, 0, -1)[None] if depthwise else filters
    products = (np.float32(file.spec(layer).quantization.scale) * found.scales).astype(np.float32)
    operands = [
        source,
        file.constant(f"{layer.name}/weights", stored, found.scales, 3 if depthwise else 0),
        file.constant(f"{layer.name}/bias", bias, products),
    ]
    spec = _image(layer.output)
    if found.output != rescale.single(spec.quantization.scale):
        spec = replace(spec, quantization=replace(spec.quantization, scale=found.output))
    fused, output = file.clamp(layer, scale=found.output), file.activation(layer.name, spec)
    made = file.operation(name, operands, output, table, **settings, fused_activation_function=fused)
    return file.settled(layer, made, spec)


def _image(spec: TensorSpec) -> TensorSpec:
    """A vector as an image of one pixel."""
    return spec if len(spec.shape) == 3 else TensorSpec((1, 1, spec.size_bytes), spec.quantization)


def _dense(file: _Writer, layer: QLayer) -> int:
    """A convolution of 1 x 1 where channels have scales of their own: a dense layer there has one."""
    assert layer.weights is not None
    one = tflite_scales.find_one(layer, file.spec(layer).quantization)
    if one is not None:
        return _dense_of_one_scale(file, layer, one)
    pixel = _image(TensorSpec((layer.weights.shape[1],), file.spec(layer).quantization))
    source = file.reshaped(f"{layer.name}/pixel", file.source(layer), pixel)
    weights = layer.weights[:, None, None, :]
    settings = {"padding": tflite_schema.PADDING.index("valid"), "stride_h": 1, "stride_w": 1}
    made = _weighted(file, layer, weights, source, "CONV_2D", "Conv2DOptions", settings)
    return file.reshaped(f"{layer.name}/vector", made, file.specs[file.number])


def _dense_of_one_scale(file: _Writer, layer: QLayer, scale: np.float32) -> int:
    assert layer.weights is not None and layer.bias is not None
    product = np.float32(file.spec(layer).quantization.scale) * scale
    operands = [
        file.source(layer),
        file.constant(f"{layer.name}/weights", layer.weights, [scale]),
        file.constant(f"{layer.name}/bias", layer.bias, [product]),
    ]
    fused, output = file.clamp(layer), file.activation(layer.name, layer.output)
    table = "FullyConnectedOptions"
    return file.operation("FULLY_CONNECTED", operands, output, table, fused_activation_function=fused)


def _add(file: _Writer, layer: QLayer) -> int:
    first, second, output = (
        Quantization(rescale.single(q.scale), q.zero_point)
        for q in (file.spec(layer).quantization, file.spec(layer, 1).quantization, layer.output.quantization)
    )
    written = {**layer.params, **rescale.add_params(first, second, output)}
    if written != dict(layer.params) and not _same_sums(layer, written, (first, second), output):
        what = f"adds with scales {first.scale:g} and {second.scale:g} to {output.scale:g}"
        raise UnsupportedError(f"layer {layer.name!r}: {what}: float32 scales give other sums")
    operands, made = [file.source(layer), file.source(layer, 1)], file.activation(layer.name, layer.output)
    return file.operation("ADD", operands, made, "AddOptions", fused_activation_function=file.clamp(layer))


def _same_sums(
    layer: QLayer, params: Mapping[str, Any], inputs: tuple[Quantization, ...], output: Quantization
) -> bool:
    """Whether every pair of elements has the same sum with other parameters."""
    every = np.arange(-128, 128, dtype=np.int64)
    wide = [(every - q.zero_point) << arith.ADD_LEFT_SHIFT for q in inputs]

    def sums(p: Mapping[str, Any]) -> NDArray[Any]:
        a, b = (arith.requantize(x, p[f"input{i}_mult"], p[f"input{i}_shift"]) for i, x in enumerate(wide, 1))
        total = arith.requantize(a[:, None] + b[None, :], p["output_mult"], p["output_shift"])
        return arith.clamp(total + output.zero_point, *layer.params["activation"])

    return bool(np.array_equal(sums(layer.params), sums(params)))


def _concatenate(file: _Writer, layer: QLayer) -> int:
    if file.clamp(layer, layer.output) != tflite_schema.ACTIVATIONS.index("NONE"):
        raise UnsupportedError(f"layer {layer.name!r}: a relu inside a concatenation", "a relu on its inputs")
    operands, made = [_joined(file, layer, which) for which in (0, 1)], file.activation(layer.name, layer.output)
    axis = len(layer.output.shape)
    return file.operation("CONCATENATION", operands, made, "ConcatenationOptions", axis=axis)


def _joined(file: _Writer, layer: QLayer, which: int) -> int:
    """An input of a concatenation on the lattice of its output."""
    spec, output = file.spec(layer, which), layer.output.quantization
    values = rescale.requantized_values(spec.quantization, output)
    wide = rescale.widened(np.arange(-128, 128), spec)
    wanted = rescale.rescaled(wide, layer, f"input{which + 1}", True) + output.zero_point
    if not np.array_equal(values, rescale.clamped(layer, wanted)):
        what = f"joins a tensor of scale {spec.quantization.scale:g} to one of {output.scale:g}"
        raise UnsupportedError(f"layer {layer.name!r}: {what}: float32 scales give other values")
    source = file.source(layer, which)
    if _same_lattice(spec.quantization, output):
        return source
    return file.quantized(f"{layer.name}/input{which + 1}", source, replace(spec, quantization=output))


def _pool(name: str) -> Callable[[_Writer, QLayer], int]:
    def write(file: _Writer, layer: QLayer) -> int:
        file.require_lattice(layer)
        pool = tuple(layer.params["pool"])
        source, settings = file.window(layer, pool, foldable=False)
        settings |= {"filter_height": pool[0], "filter_width": pool[1]}
        fused = file.clamp(layer, file.spec(layer))
        image = _image(layer.output)
        made = file.operation(
            name, [source], file.activation(layer.name, image), "Pool2DOptions", **settings,
            fused_activation_function=fused,
        )  # fmt: skip
        return made if image == layer.output else file.reshaped(f"{layer.name}/vector", made, layer.output)

    return write


def _mean(file: _Writer, layer: QLayer) -> int:
    a, b = (rescale.single(q.scale) for q in (file.spec(layer).quantization, layer.output.quantization))
    h, w, _ = file.spec(layer).shape
    pair = arith.divide_multiplier(*arith.quantize_multiplier(a / b), h * w)
    if pair != (layer.params["multiplier"], layer.params["shift"]):
        raise UnsupportedError(f"layer {layer.name!r}: a mean from scale {a:g} to {b:g} has another multiplier there")
    if tuple(layer.params["activation"]) != (-128, 127):
        raise UnsupportedError(f"layer {layer.name!r}: clamps to {layer.params['activation']}", "a mean there does not")
    operands = [file.source(layer), file.constant(f"{layer.name}/axes", np.array([1, 2], np.int32))]
    made = file.activation(layer.name, layer.output)
    return file.operation("MEAN", operands, made, "ReducerOptions", keep_dims=len(layer.output.shape) == 3)


def _pad(file: _Writer, layer: QLayer) -> int:
    file.require_lattice(layer)
    before, after = (tuple(layer.params[end]) for end in ("before", "after"))
    return file.padded(layer, file.spec(layer), file.source(layer), before, after, layer.name)


def _flatten(file: _Writer, layer: QLayer) -> int:
    file.require_lattice(layer)
    return file.reshaped(layer.name, file.source(layer), layer.output)


_WRITERS: Mapping[str, Callable[[_Writer, QLayer], int]] = {
    "conv2d": _conv2d,
    "depthwise_conv2d": _depthwise,
    "dense": _dense,
    "add": _add,
    "concatenate": _concatenate,
    "average_pool2d": _pool("AVERAGE_POOL_2D"),
    "max_pool2d": _pool("MAX_POOL_2D"),
    "mean2d": _mean,
    "pad2d": _pad,
    "flatten": _flatten,
}
"""By the layer's kind."""
