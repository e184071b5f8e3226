"""A .tflite file as a graph of tensors and operations, read and checked without an interpreter, which crashes on files
that are damaged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core import schema
from pipeline.core.errors import ConfigError, UnsupportedError
from pipeline.core.nouns import Quantization, TensorSpec
from pipeline.importers import flatbuffer, tflite_schema
from pipeline.importers.flatbuffer import Row

MOST_BYTES = 1 << 26
"""Of a file. No network for a microcontroller comes near."""
MOST_ELEMENTS = 1 << 24
"""Of one tensor."""
NONE = -1
"""The number of an operand that is left out."""
QUANTIZE = (
    "quantize it fully: tf.lite.TFLiteConverter with optimizations = [tf.lite.Optimize.DEFAULT], a "
    "representative_dataset, target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8], inference_input_type = "
    "inference_output_type = tf.int8"
)
"""What to do with a model that is not int8 throughout."""
DTYPES: Mapping[str, np.dtype[Any]] = {"int8": np.dtype("<i1"), "int32": np.dtype("<i4"), "int64": np.dtype("<i8")}
"""Constants that are read."""
ZERO_POINTS = {"int8": (-128, 127), "uint8": (0, 255), "int32": (0, 0)}
"""Lowest and highest zero point. Those of other types, which a converter may leave at float tensors, are not used."""


@dataclass(frozen=True)
class Tensor:
    """One tensor of the graph."""

    name: str
    """As in the file."""
    shape: tuple[int, ...]
    """With the batch axis; each at least 1, their product at most MOST_ELEMENTS."""
    type: str
    """A name of tflite_schema.TYPES."""
    scales: NDArray[np.float32]
    """Finite and positive, (1,) or one for each index of `axis`; empty: not quantized."""
    zero_points: NDArray[np.int64]
    """Like scales."""
    axis: int
    """The axis of per-channel scales."""
    constant: NDArray[Any] | None
    """Its values, shaped; None for an activation, or a type that is not read."""


@dataclass(frozen=True)
class Operation:
    """One operation of the graph."""

    number: int
    """Its position."""
    name: str
    """The operator, a name of tflite_schema.OPERATORS."""
    inputs: tuple[int, ...]
    """Numbers of tensors, NONE for one that is left out."""
    outputs: tuple[int, ...]
    """Numbers of tensors."""
    options: Row | None
    """Its settings; None when it has none, or none that are known."""

    def __str__(self) -> str:
        return f"operation {self.number} ({self.name})"


@dataclass(frozen=True)
class Graph:
    """The network in a file: one subgraph with one input and one output. Operations that only bring real or uint8
    inputs to an int8 lattice, and outputs from one, are left out: their int8 side is input or output here."""

    path: Path
    """The file it was read from."""
    tensors: tuple[Tensor, ...]
    """By their numbers in the file."""
    operations: tuple[Operation, ...]
    """In the order they run."""
    input: int
    """Number of the input tensor."""
    output: int
    """Number of the output tensor."""
    root: Row
    """What was read, for `contents`."""

    def changes_type(self, operation: Operation) -> bool:
        """Whether the operation does nothing but go from real numbers to an int8 lattice, or back; or from a lattice of
        uint8 to the same one of int8, or back."""
        numbers = (*operation.inputs, *operation.outputs)
        plain = len(operation.inputs) == len(operation.outputs) == 1 and NONE not in numbers
        if operation.name not in ("QUANTIZE", "DEQUANTIZE") or not plain:
            return False
        ends = {self.tensors[number].type: self.tensors[number] for number in numbers}
        if ends.keys() == {"float32", "int8"}:
            return True
        if ends.keys() != {"uint8", "int8"}:
            return False
        a, b = ends["uint8"], ends["int8"]
        return np.array_equal(a.scales, b.scales) and np.array_equal(a.zero_points, b.zero_points + 128)

    def contents(self) -> bytes:
        """A file of what was read of this one and of nothing else: safe to give to an interpreter."""
        return flatbuffer.write(self.root, "Model", tflite_schema.TABLES, tflite_schema.IDENTIFIER)

    def spec(self, number: int) -> TensorSpec:
        """Shape, without the batch, and quantization of an int8 activation with one scale. UnsupportedError for any
        other tensor."""
        tensor = self.tensors[number]
        what = f"{self.path}: tensor {number} ({tensor.name!r})"
        if tensor.type != "int8":
            raise UnsupportedError(f"{what} is {tensor.type}, not int8", QUANTIZE)
        if len(tensor.shape) < 2 or tensor.shape[0] != 1:
            raise UnsupportedError(f"{what} has shape {tensor.shape}", "convert the model for batches of 1")
        if len(tensor.scales) != 1:
            raise UnsupportedError(f"{what} has {len(tensor.scales)} scales", "an activation has one")
        return TensorSpec(tensor.shape[1:], Quantization(float(tensor.scales[0]), int(tensor.zero_points[0])))


def read(path: Path) -> Graph:
    """The graph in the file. ConfigError: no such file, or a damaged one; UnsupportedError: several subgraphs, inputs
    or outputs, sparse tensors, or constants outside the file's tables."""
    data = _bytes(path)
    reader = flatbuffer.Reader(data, tflite_schema.TABLES, f"{path}: not a TensorFlow Lite model, or")
    return _Graph(path, reader, reader.root("Model", tflite_schema.IDENTIFIER)).graph()


def _bytes(path: Path) -> bytes:
    try:
        if schema.file_size(path) > MOST_BYTES:
            raise UnsupportedError(f"{path}: more than {MOST_BYTES} bytes", "no such network fits a microcontroller")
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", "name a .tflite file") from error


class _Graph:
    """Checks the tables of a file against each other."""

    def __init__(self, path: Path, reader: flatbuffer.Reader, model: Row) -> None:
        self.path, self.reader, self.model = path, reader, model
        if model["version"] != tflite_schema.VERSION:
            raise self.unsupported(f"format version {model['version']}", f"known: {tflite_schema.VERSION}")
        subgraphs = model["subgraphs"] or []
        if len(subgraphs) != 1:
            raise self.unsupported(f"{len(subgraphs)} subgraphs", "convert a model without control flow")
        self.subgraph: Row = subgraphs[0]
        self.rows = self.subgraph["tensors"] or []

    def graph(self) -> Graph:
        tensors = tuple(self.tensor(number, row) for number, row in enumerate(self.rows))
        operations = tuple(self.operation(number, row) for number, row in enumerate(self.subgraph["operators"] or []))
        ends = {}
        for end in ("inputs", "outputs"):
            numbers = self.numbers(self.subgraph[end], f"its {end}", 0)
            if len(numbers) != 1:
                raise self.unsupported(f"{len(numbers)} {end}", "convert a model with one input and one output")
            ends[end] = numbers[0]
        self.require_sizes(ends["inputs"])
        return self.within(Graph(self.path, tensors, operations, ends["inputs"], ends["outputs"], {}))

    def require_sizes(self, source: int) -> None:
        """UnsupportedError unless the input's shape says the size of all axes but the batch's."""
        signature = self.rows[source]["shape_signature"]
        if signature is not None and any(n < 0 for n in signature[1:]):
            what = f"tensor {source}, its input, of the shape {tuple(int(n) for n in signature)}"
            raise self.unsupported(what, "convert a model whose input has a fixed size, as in keras.Input((96, 96, 1))")

    def within(self, graph: Graph) -> Graph:
        """The graph between the operations that quantize its input and dequantize its output."""
        operations, source, output = list(graph.operations), graph.input, graph.output
        readers = [operation for operation in operations if source in operation.inputs]
        if readers and readers == operations[:1] and graph.changes_type(readers[0]):
            source = operations.pop(0).outputs[0]
        if operations and operations[-1].outputs == (output,) and graph.changes_type(operations[-1]):
            output = operations.pop().inputs[0]
        ends = {"inputs": np.array([source], np.int32), "outputs": np.array([output], np.int32)}
        rows = [self.subgraph["operators"][operation.number] for operation in operations]
        self.subgraph = {**self.subgraph, **ends, "operators": rows}
        return replace(
            graph, operations=tuple(operations), input=source, output=output, root=self.root(tuple(operations))
        )

    def root(self, operations: tuple[Operation, ...]) -> Row:
        """The tables as they are written again: the unions of options filled in."""
        operators = []
        for row, operation in zip(self.subgraph["operators"] or [], operations, strict=True):
            name = next((n for n, i in tflite_schema.OPTIONS.items() if i == row["builtin_options_type"]), None)
            known = name is not None and operation.options is not None
            union = {"builtin_options": (name, operation.options)} if known else {"builtin_options_type": None}
            operators.append({**row, "builtin_options": None, **union})
        return {**self.model, "subgraphs": [{**self.subgraph, "operators": operators}]}

    def tensor(self, number: int, row: Row) -> Tensor:
        name, place = row["name"] or "", f"tensor {number}"
        shape = tuple(int(n) for n in row["shape"]) if row["shape"] is not None else ()
        if any(n < 1 for n in shape) or math.prod(shape) > MOST_ELEMENTS:
            raise self.damaged(f"{place} has the shape {shape}")
        if not 0 <= row["type"] < len(tflite_schema.TYPES):
            raise self.unsupported(f"{place} of a type numbered {row['type']}", "convert it with int8 activations")
        for what in ("is_variable", "sparsity", "variant_tensors", "external_buffer", flatbuffer.UNKNOWN):
            if row[what]:
                raise self.unsupported(f"{place} with {what}", "convert a plain, dense model")
        kind = tflite_schema.TYPES[row["type"]]
        scales, zero_points, axis = self.quantization(place, row["quantization"], kind, shape)
        return Tensor(name, shape, kind, scales, zero_points, axis, self.constant(place, row, kind, shape))

    def quantization(
        self, place: str, row: Row | None, kind: str, shape: tuple[int, ...]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], int]:
        if row is None or row["scale"] is None or not len(row["scale"]):
            return np.zeros(0, np.float32), np.zeros(0, np.int64), 0
        if row["details"] is not None:
            raise self.unsupported(f"{place} with a custom quantization", "convert a plain model")
        scales, axis = row["scale"].astype(np.float32), int(row["quantized_dimension"])
        zeros = row["zero_point"] if row["zero_point"] is not None else np.zeros(0, np.int64)
        known = 0 <= axis < max(len(shape), 1)
        if not known or len(scales) not in (1, shape[axis] if shape else 1) or len(zeros) != len(scales):
            what = f"{len(scales)} scales and {len(zeros)} zero points on axis {axis}"
            raise self.damaged(f"{place} of shape {shape} has {what}")
        if not (np.isfinite(scales) & (scales >= np.finfo(np.float32).tiny)).all():
            raise self.damaged(f"{place} has a scale that is not a positive number")
        low, high = ZERO_POINTS.get(kind, (-math.inf, math.inf))
        for zero in zeros[(zeros < low) | (zeros > high)][:1]:
            raise self.damaged(f"{place} of type {kind} has the zero point {zero}")
        return scales, zeros.astype(np.int64), axis

    def constant(self, place: str, row: Row, kind: str, shape: tuple[int, ...]) -> NDArray[Any] | None:
        buffers = self.model["buffers"] or []
        if row["buffer"] >= len(buffers):
            raise self.damaged(f"{place} names buffer {row['buffer']} of {len(buffers)}")
        buffer = buffers[row["buffer"]]
        if buffer["offset"] > 1 or buffer["size"] > 1:
            raise self.unsupported(f"{place} with its data outside the tables", "convert a model below 2 GB")
        if buffer["data"] is None or not len(buffer["data"]) or kind not in DTYPES:
            return None
        values = buffer["data"]
        if values.nbytes != math.prod(shape) * DTYPES[kind].itemsize:
            raise self.damaged(f"{place} of shape {shape} and type {kind} has {values.nbytes} bytes")
        return np.asarray(values.view(DTYPES[kind]).reshape(shape))

    def operation(self, number: int, row: Row) -> Operation:
        codes = self.model["operator_codes"] or []
        if row["opcode_index"] >= len(codes):
            raise self.damaged(f"operation {number} names operator {row['opcode_index']} of {len(codes)}")
        code = codes[row["opcode_index"]]
        builtin = max(code["builtin_code"], code["deprecated_builtin_code"])
        known = 0 <= builtin < len(tflite_schema.OPERATORS)
        return Operation(
            number,
            tflite_schema.OPERATORS[builtin] if known else f"number {builtin}",
            self.numbers(row["inputs"], f"operation {number}", NONE),
            self.numbers(row["outputs"], f"operation {number}", 0),
            self.options(row),
        )

    def options(self, row: Row) -> Row | None:
        table = next((n for n, i in tflite_schema.OPTIONS.items() if i == row["builtin_options_type"]), None)
        if table is None or row["builtin_options"] is None:
            return None
        return self.reader.table(row["builtin_options"], table)

    def numbers(self, values: Any, place: str, lowest: int) -> tuple[int, ...]:
        numbers = tuple(int(n) for n in values) if values is not None else ()
        for number in numbers:
            if not lowest <= number < len(self.rows):
                raise self.damaged(f"{place} names tensor {number} of {len(self.rows)}")
        return numbers

    def damaged(self, what: str) -> ConfigError:
        return ConfigError(f"{self.path}: damaged, {what}", "download or convert it again")

    def unsupported(self, what: str, hint: str) -> UnsupportedError:
        return UnsupportedError(f"{self.path}: {what}", hint)
