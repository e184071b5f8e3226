"""TensorFlow Lite models made from a seed with the schema that TensorFlow ships: random networks over every option."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np

from pipeline.network import arith


@cache
def schema() -> Any:
    """TensorFlow's own schema module, without TensorFlow, which a process of the interpreter must not load."""
    found = importlib.util.find_spec("tensorflow")
    assert found is not None and found.origin is not None
    path = Path(found.origin).parent / "lite" / "python" / "schema_py_generated.py"
    spec = importlib.util.spec_from_file_location("schema_py_generated", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Builder:
    """Adds tensors and operations; `shape` and `last` are of the newest activation."""

    def __init__(self, shape: tuple[int, ...], random: np.random.Generator) -> None:
        self.s, self.random = schema(), random
        self.model = self.s.ModelT()
        self.model.version = 3
        self.model.description = b"random"
        self.graph = self.s.SubGraphT()
        self.model.subgraphs = [self.graph]
        self.model.operatorCodes, self.model.buffers = [], [self.s.BufferT()]
        self.graph.tensors, self.graph.operators, self.graph.name = [], [], b"main"
        self.last = self.activation(shape, 2.0 ** random.uniform(-8, -2))
        self.graph.inputs = [self.last]

    def tensor(self, shape: Sequence[int], kind: int, scales: Any = None, zeros: Any = None, axis: int = 0) -> int:
        t = self.s.TensorT()
        t.shape, t.type, t.name, t.buffer = [int(n) for n in shape], kind, f"t{len(self.graph.tensors)}".encode(), 0
        if scales is not None:
            q = self.s.QuantizationParametersT()
            q.scale = [float(v) for v in np.float32(np.atleast_1d(scales))]
            q.zeroPoint = [int(v) for v in np.broadcast_to(0 if zeros is None else zeros, len(q.scale))]
            q.quantizedDimension = axis
            t.quantization = q
        self.graph.tensors.append(t)
        return len(self.graph.tensors) - 1

    def activation(self, shape: Sequence[int], scale: float, zero_point: int | None = None) -> int:
        if zero_point is None:
            zero_point = int(self.random.choice([-128, 0, 127, int(self.random.integers(-128, 128))]))
        self.shape, self.scale, self.zero_point = tuple(shape), float(np.float32(scale)), zero_point
        return self.tensor(shape, self.s.TensorType.INT8, scale, zero_point)

    def constant(self, values: Any, scales: Any = None, axis: int = 0) -> int:
        values = np.asarray(values)
        kind = {"int8": self.s.TensorType.INT8, "int32": self.s.TensorType.INT32}[values.dtype.name]
        index = self.tensor(values.shape, kind, scales, axis=axis)
        buffer = self.s.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self.graph.tensors[index].buffer = len(self.model.buffers)
        self.model.buffers.append(buffer)
        return index

    def operation(self, name: str, inputs: Sequence[int], output: int, table: str = "", **options: Any) -> None:
        code, op = self.s.OperatorCodeT(), self.s.OperatorT()
        code.builtinCode = getattr(self.s.BuiltinOperator, name)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), VERSIONS.get(name, 1)
        op.opcodeIndex, op.inputs, op.outputs = len(self.model.operatorCodes), list(inputs), [output]
        if table:
            op.builtinOptionsType = getattr(self.s.BuiltinOptions, table)
            op.builtinOptions = getattr(self.s, table + "T")()
            for key, value in options.items():
                assert hasattr(op.builtinOptions, key), key
                setattr(op.builtinOptions, key, value)
        self.model.operatorCodes.append(code)
        self.graph.operators.append(op)
        self.last = output

    def finish(self) -> bytes:
        self.graph.outputs = [self.last]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    # Random operations on the newest activation.

    def pick(self, *choices: Any) -> Any:
        return choices[int(self.random.integers(len(choices)))]

    def window(self, kernel: tuple[int, int]) -> tuple[dict[str, Any], tuple[int, int]]:
        """(options, output size)."""
        fits = kernel[0] <= self.shape[1] and kernel[1] <= self.shape[2]
        padding = self.pick("SAME", "VALID") if fits else "SAME"
        stride = self.pick(1, 1, 2, 3), self.pick(1, 1, 2, 3)
        sizes = [
            -(-n // s) if padding == "SAME" else (n - k) // s + 1
            for n, k, s in zip(self.shape[1:3], kernel, stride, strict=True)
        ]
        options = {"padding": getattr(self.s.Padding, padding), "strideH": stride[0], "strideW": stride[1]}
        return options, (sizes[0], sizes[1])

    def fused(self) -> dict[str, int]:
        return {"fusedActivationFunction": int(self.random.integers(0, 4))}

    def weights(
        self, shape: Sequence[int], channels: int, axis: int, taps: int, *none: list[int]
    ) -> tuple[list[int], float]:
        """(weights and bias as operands, a scale for the output). none: how a bias may be left out."""
        low, high = self.pick((-127, 128), (-1, 2), (-7, 8))
        values = self.random.integers(low, high, shape).astype(np.int8)
        scales = 2.0 ** self.random.uniform(-9, -4, channels if self.random.random() < 0.6 else 1)
        filters = self.constant(values, scales, axis)
        out = self.scale * float(np.mean(scales)) * math.sqrt(taps) * (high - low) * 0.29 * 74 / 40
        bound = 100 * math.sqrt(taps) * high
        bias = self.random.integers(-bound, bound + 1, channels).astype(np.int32)
        given = self.constant(bias, self.scale * scales)
        return [filters, *self.pick([given], [given], *none)], out * 2.0 ** self.random.uniform(-1.5, 1.5)

    def conv2d(self) -> None:
        kernel = int(self.random.integers(1, 5)), int(self.random.integers(1, 5))
        options, size = self.window(kernel)
        c, channels = self.shape[3], int(self.random.integers(1, 9))
        operands, scale = self.weights((channels, *kernel, c), channels, 0, math.prod(kernel) * c)
        source = self.last
        out = self.activation((1, *size, channels), scale)
        dilation = {"dilationHFactor": 1 if kernel[0] > 1 else self.pick(1, 2), "dilationWFactor": 1}
        self.operation("CONV_2D", [source, *operands], out, "Conv2DOptions", **options, **self.fused(), **dilation)

    def depthwise(self) -> None:
        kernel = int(self.random.integers(1, 5)), int(self.random.integers(1, 5))
        options, size = self.window(kernel)
        multiplier = self.pick(1, 1, 2, 3)
        channels = self.shape[3] * multiplier
        operands, scale = self.weights((1, *kernel, channels), channels, 3, math.prod(kernel), [])
        source = self.last
        out = self.activation((1, *size, channels), scale)
        options |= {"depthMultiplier": multiplier, "dilationHFactor": 1, "dilationWFactor": 1}
        table = "DepthwiseConv2DOptions"
        self.operation("DEPTHWISE_CONV_2D", [source, *operands], out, table, **options, **self.fused())

    def dense(self) -> None:
        features, units = math.prod(self.shape), int(self.random.integers(2, 12))
        operands, scale = self.weights((units, features), units, 0, features, [], [-1])
        q = self.graph.tensors[operands[0]].quantization
        if len(q.scale) > 1:  # the interpreter's own check of the bias asks for one scale
            q.scale, q.zeroPoint = q.scale[:1], q.zeroPoint[:1]
            if len(operands) > 1 and operands[1] >= 0:
                bias = self.graph.tensors[operands[1]].quantization
                bias.scale, bias.zeroPoint = [float(np.float32(self.scale * q.scale[0]))], [0]
        source = self.last
        out = self.activation((1, units), scale)
        self.operation("FULLY_CONNECTED", [source, *operands], out, "FullyConnectedOptions", **self.fused())

    def pool(self) -> None:
        name = self.pick("AVERAGE_POOL_2D", "MAX_POOL_2D")
        kernel = int(self.random.integers(1, 5)), int(self.random.integers(1, 5))
        options, size = self.window(kernel)
        source = self.last
        out = self.activation((1, *size, self.shape[3]), self.scale, self.zero_point)
        options |= {"filterHeight": kernel[0], "filterWidth": kernel[1], **self.fused()}
        self.operation(name, [source], out, "Pool2DOptions", **options)

    def pad(self) -> None:
        amounts = np.zeros((len(self.shape), 2), np.int32)
        amounts[1:-1] = self.random.integers(0, 4, (len(self.shape) - 2, 2))
        source = self.last
        shape = [n + int(more) for n, more in zip(self.shape, amounts.sum(axis=1), strict=True)]
        out = self.activation(shape, self.scale, self.zero_point)
        self.operation("PAD", [source, self.constant(amounts)], out, "PadOptions")

    def mean(self) -> None:
        axes, shape, keep = self.map_axes()
        source, same = self.last, self.random.random() < 0.3
        scale = self.scale if same else self.scale * 2.0 ** self.random.uniform(-4, 1)
        out = self.activation(shape, scale, self.zero_point if same else None)
        self.operation("MEAN", [source, axes], out, "ReducerOptions", keepDims=keep)

    def maximum(self) -> None:
        axes, shape, keep = self.map_axes()
        source, out = self.last, self.activation(shape, self.scale, self.zero_point)
        self.operation("REDUCE_MAX", [source, axes], out, "ReducerOptions", keepDims=keep)

    def map_axes(self) -> tuple[int, tuple[int, ...], bool]:
        """(the axes of an image, or that of steps, as an operand, the shape without their sizes, whether it keeps
        them)."""
        keep, steps = self.pick(True, False), len(self.shape) == 3
        axes = self.pick([1], [-2]) if steps else self.pick([1, 2], [2, 1], [-3, -2], [1, -2])
        ones = (1,) * len(axes) if keep else ()
        return self.constant(np.array(axes, np.int32)), (1, *ones, self.shape[-1]), keep

    def in_one_row(self) -> None:
        """An operation on an image of one row, or one column, of the steps, as converters write those of 1D layers."""
        _, steps, channels = self.shape
        axis = self.pick(1, 2)
        listed = np.array(self.pick(axis, axis - 4), np.int32)
        operands = [self.last, self.constant(self.pick(listed, listed.reshape(1)))]
        shape = (1, 1, steps, channels) if axis == 1 else (1, steps, 1, channels)
        self.operation(
            "EXPAND_DIMS", operands, self.activation(shape, self.scale, self.zero_point), "ExpandDimsOptions"
        )
        getattr(self, self.pick("conv2d", "depthwise", "pool"))()
        source, shape = self.last, (1, self.shape[3 - axis], self.shape[3])
        out = self.activation(shape, self.scale, self.zero_point)
        if self.random.random() < 0.5:
            self.operation("SQUEEZE", [source], out, "SqueezeOptions", squeezeDims=[self.pick(axis, axis - 4)])
        else:
            self.operation("RESHAPE", [source, self.constant(np.array(shape, np.int32))], out, "ReshapeOptions")

    def relu(self) -> None:
        source, same = self.last, self.random.random() < 0.5
        scale = self.scale if same else self.scale * 2.0 ** self.random.uniform(-2, 2)
        out = self.activation(self.shape, scale, self.zero_point if same else None)
        self.operation(self.pick("RELU", "RELU6", "RELU_N1_TO_1"), [source], out)

    def quantize(self) -> None:
        """Mostly another lattice; at times one on which every value stays as it is."""
        same = self.random.random() < 0.3
        scale = self.scale * (1.0001 if same else 2.0 ** self.random.uniform(-3, 3))
        source, out = self.last, self.activation(self.shape, scale, self.zero_point if same else None)
        self.operation("QUANTIZE", [source], out, "QuantizeOptions")
        if same:
            self.relu()

    def reshape(self) -> None:
        n, source = math.prod(self.shape), self.last
        free = self.random.random() < 0.5
        as_operand = self.random.random() < 0.7
        out = self.activation((1, n), self.scale, self.zero_point)
        shape = [1, -1] if free else [1, n]
        operands = [source, self.constant(np.array(shape, np.int32))] if as_operand else [source]
        options = {} if as_operand else {"newShape": shape}
        self.operation("RESHAPE", operands, out, "ReshapeOptions", **options)

    def computed_reshape(self) -> None:
        """To a shape whose first size is the batch, as Keras's Reshape is converted."""
        n, source, scale, zero = math.prod(self.shape), self.last, self.scale, self.zero_point
        kind, sizes = self.s.TensorType.INT32, len(self.shape)
        zeroth, first = self.constant(np.array([0], np.int32)), self.constant(np.array([1], np.int32))
        shape, batch, wanted = (self.tensor(of, kind) for of in ((sizes,), (), (2,)))
        self.operation("SHAPE", [source], shape, "ShapeOptions", outType=kind)
        ends = [shape, zeroth, first, first]
        self.operation("STRIDED_SLICE", ends, batch, "StridedSliceOptions", shrinkAxisMask=1)
        self.operation("PACK", [batch, self.constant(np.array(n, np.int32))], wanted, "PackOptions", valuesCount=2)
        self.operation("RESHAPE", [source, wanted], self.activation((1, n), scale, zero), "ReshapeOptions")

    def residual(self) -> None:
        """The newest activation, and a layer of the same shape on it, added or joined."""
        source, shape, scale, zero = self.last, self.shape, self.scale, self.zero_point
        if self.random.random() < 0.5:
            self.relu()
            out = self.activation(shape, max(scale, self.scale) * 2.0 ** self.random.uniform(-1, 2))
            pair = self.pick([source, self.last], [self.last, source], [source, source])
            self.operation("ADD", pair, out, "AddOptions", **self.fused())
        else:
            other = self.activation(shape, scale, zero)
            self.operation("RELU", [source], other)
            out = self.activation((*shape[:-1], 3 * shape[-1]), scale, zero)
            axis = self.pick(-1, len(shape) - 1)
            self.operation("CONCATENATION", [source, other, source], out, "ConcatenationOptions", axis=axis)

    def softmax(self) -> None:
        source = self.last
        out = self.activation(self.shape, 1 / 256, -128)
        self.operation("SOFTMAX", [source], out, "SoftmaxOptions", beta=1.0)


VERSIONS = {
    "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 6, "ADD": 2, "AVERAGE_POOL_2D": 2, "MAX_POOL_2D": 2,
    "MEAN": 2, "PAD": 2, "SOFTMAX": 2, "CONCATENATION": 2, "RELU": 2, "RELU6": 2, "RELU_N1_TO_1": 1,
    "QUANTIZE": 1, "REDUCE_MAX": 2,
}  # fmt: skip
"""The first version of each operator with int8."""
ON_IMAGES = ("conv2d", "conv2d", "depthwise", "pool", "pad", "relu", "residual")


def random_model(seed: int) -> bytes:
    """A .tflite file: one to four operations on an image, then nothing, a mean or a dense layer, then maybe a
    softmax."""
    random = np.random.default_rng(seed)
    b = Builder((1, int(random.integers(3, 10)), int(random.integers(3, 10)), int(random.integers(1, 5))), random)
    for _ in range(int(random.integers(1, 5))):
        getattr(b, b.pick(*ON_IMAGES))()
    flat = b.pick("reshape", "computed_reshape")
    for name in b.pick(["mean"], [flat, "dense"], ["dense"], ["mean", "relu"], ["dense", "residual"], []):
        getattr(b, name)()
    if len(b.shape) == 2 and random.random() < 0.3:
        b.softmax()
    return b.finish()


def steps_model(seed: int) -> bytes:
    """A .tflite file: one to four operations on steps, then nothing, or what makes a vector of them."""
    random = np.random.default_rng(seed)
    b = Builder((1, int(random.integers(3, 12)), int(random.integers(1, 5))), random)
    for _ in range(int(random.integers(1, 5))):
        getattr(b, b.pick("in_one_row", "in_one_row", "pad", "relu", "residual"))()
    for name in b.pick(["mean"], ["maximum", "dense"], ["reshape", "dense"], ["dense"], []):
        getattr(b, name)()
    return b.finish()


def single(name: str, seed: int) -> bytes:
    """A .tflite file of that one random operation."""
    random = np.random.default_rng(seed)
    b = Builder((1, int(random.integers(3, 10)), int(random.integers(3, 10)), int(random.integers(1, 5))), random)
    getattr(b, name)()
    return b.finish()


FEATURES = 64


def decisive(kind: str, bias: bool) -> tuple[bytes, Any]:
    """(a .tflite file of one layer, its input) whose outputs differ between a multiplier from a product of scales in
    double precision and one from a product in float32."""
    random = np.random.default_rng(7)
    b = Builder((1, 1, 1, FEATURES) if kind == "CONV_2D" else (1, FEATURES), random)
    zero, reach = b.zero_point, 900_000
    x = np.full(FEATURES, zero + (100 if zero <= 0 else -100), np.int8)
    step = int(x[0]) - zero
    x[-1] = zero + (1 if zero <= 0 else -1)
    accumulators = np.arange(-reach // 2, reach // 2)
    while True:
        scale, out = (float(np.float32(v)) for v in (random.uniform(0.01, 0.02), random.uniform(5, 7)))
        out = float(np.float32(b.scale * scale * 700 * out))
        double, single = b.scale * scale / out, float(np.float32(b.scale) * np.float32(scale)) / out
        answers = [arith.requantize(accumulators, *arith.quantize_multiplier(r)) for r in (double, single)]
        found = accumulators[answers[0] != answers[1]]
        if len(found) > 1:
            break
    weights = np.zeros((len(found), FEATURES), np.int64)
    for unit, acc in zip(weights, found, strict=True):
        whole, unit[-1] = divmod(int(acc) * (1 if step > 0 else -1), 100)
        unit[:-1] = [whole // (FEATURES - 1) + (i < whole % (FEATURES - 1)) for i in range(FEATURES - 1)]
    filters = weights.astype(np.int8).reshape((-1, 1, 1, FEATURES) if kind == "CONV_2D" else (-1, FEATURES))
    operands = [b.last, b.constant(filters, scale)]
    if bias:
        operands.append(b.constant(np.zeros(len(found), np.int32), b.scale * scale))
    result = b.activation((1, 1, 1, len(found)) if kind == "CONV_2D" else (1, len(found)), out, 0)
    options = {"strideH": 1, "strideW": 1} if kind == "CONV_2D" else {}
    b.operation(kind, operands, result, "Conv2DOptions" if options else "FullyConnectedOptions", **options)
    return b.finish(), x


def mutated(data: bytes, random: np.random.Generator) -> bytes:
    """The file cut off, or with one to eight places changed: a bit, a byte, a word, or a word of another place."""
    kind, damaged = int(random.integers(5)), bytearray(data)
    if kind == 0:
        return data[: int(random.integers(len(data)))]
    for _ in range(int(random.integers(1, 9))):
        at, other = (4 * int(n) for n in random.integers(len(data) // 4 - 1, size=2))
        if kind == 1:
            damaged[at] ^= 1 << int(random.integers(8))
        elif kind == 2:
            damaged[at + int(random.integers(4))] = int(random.integers(256))
        elif kind == 3:
            word = random.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, int(random.integers(2**32))])
            damaged[at : at + 4] = int(word).to_bytes(4, "little")
        else:
            damaged[at : at + 4] = damaged[other : other + 4]
    return bytes(damaged)
