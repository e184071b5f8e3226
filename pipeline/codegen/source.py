"""What the templates print of a network: constant tables, constant structs and one call for each layer, as C text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from pipeline.codegen import cascade, footprint, planner, select
from pipeline.codegen.cascade import Cascade
from pipeline.core import paths
from pipeline.core.nouns import Arg, KernelCall, LayerCode, QLayer, QModel

SUFFIXES = (".c", ".cpp", ".h", ".S")
"""Of hand-written files that a compiler takes."""
BUILD_SUFFIX = ".cmake"
"""Of those that say what a port's image needs besides compiling and linking."""
C_TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "uint16": "uint16_t", "int32": "int32_t",
           "uint32": "uint32_t"}  # fmt: skip
"""By the dtype of a table."""


@dataclass(frozen=True)
class Table:
    """A constant array as the templates see it."""

    name: str
    """C identifier."""
    ctype: str
    """C type of an element."""
    values: tuple[int | str, ...]
    """Its elements: integers, or C constants."""
    size_bytes: int
    """Of the whole array."""


@dataclass(frozen=True)
class Constant:
    """A constant struct as the templates see it."""

    name: str
    """C identifier."""
    ctype: str
    """C type."""
    initializer: str
    """Text of its C initializer."""


@dataclass(frozen=True)
class Check:
    """A static_assert as the templates see it."""

    condition: str
    """C expression; {arena} means the size of the arena."""
    message: str
    """Of a compiler where it does not hold."""


@dataclass(frozen=True)
class Layer:
    """One layer as the templates see it."""

    symbol: str
    """C identifier of its function."""
    comment: str
    """Kind and shapes, for readers of model.c."""
    tables: tuple[Table, ...]
    """Its constant arrays."""
    constants: tuple[Constant, ...]
    """Its constant structs."""
    checks: tuple[Check, ...]
    """What must hold of the places that it uses."""
    statements: tuple[str, ...]
    """C lines of its function, indented from there on."""
    output_offset: int
    """First byte of its output in the arena."""
    output_bytes: int
    """Bytes of its output; 0 if it is never in the arena as a whole."""


def hand_written(folder: str = "") -> Iterator[tuple[PurePosixPath, str]]:
    """(path below firmware/, text) of the files that lie in this folder of it, in the order of their paths."""
    root = paths.shipped("firmware")
    for path in sorted((root / folder).rglob("*")):
        if path.suffix in (*SUFFIXES, BUILD_SUFFIX):
            yield PurePosixPath(path.relative_to(root).as_posix()), path.read_text(encoding="utf-8")


def is_kernel_of(path: PurePosixPath, families: Sequence[str]) -> bool:
    """Whether a file of firmware/nn is common to all kernels, or one of these families."""
    return len(path.parts) == 2 or path.parts[1] in families


def layers(model: QModel, program: select.Program, prefix: str = "") -> list[Layer]:
    """Every layer of the model; prefix: of every C identifier."""
    symbols = [f"{prefix}{footprint.layer_symbol(i, layer.name)}" for i, layer in enumerate(model.layers)]
    writers = [_Writer(model, program.memory, i, symbol) for i, symbol in enumerate(symbols)]
    cascades = {i: c for c in program.memory.cascades for i in c.layers}
    statements = {c.last: _in_stripes(writers, program, c) for c in program.memory.cascades}
    return [
        _part(writer, call, cascades[i], statements.get(i, ())) if i in cascades else _whole(writer, call)
        for i, (writer, call) in enumerate(zip(writers, program.calls, strict=True))
    ]


def code(
    model: QModel, program: select.Program, unserved: Mapping[str, str] = MappingProxyType({})
) -> tuple[LayerCode, ...]:
    """What every layer of the model becomes. unserved: by layer, as `select.unserved` has it."""
    cascades = {i: c for c in program.memory.cascades for i in c.layers}
    rows = zip(model.layers, program.calls, strict=True)
    found = [_code(layer, call, unserved.get(layer.name, "")) for layer, call in rows]
    for i, c in cascades.items():
        found[i] = replace(found[i], cascade=model.layers[c.last].name, stripes=len(c.works(i)))
    return tuple(found)


def _code(layer: QLayer, call: KernelCall | None, unserved: str) -> LayerCode:
    if call is None:
        return LayerCode(layer.name, kernel=None, weights_bytes=0, tables_bytes=0)
    weights = call.tables[select.FILTER].nbytes if select.FILTER in call.tables else 0
    return LayerCode(layer.name, call.function, weights, sum(t.nbytes for t in call.tables.values()), unserved)


class _Writer:
    """Collects the constants of a layer and writes its calls."""

    def __init__(self, model: QModel, memory: planner.MemoryPlan, index: int, symbol: str) -> None:
        self.model, self.memory, self.index, self.symbol = model, memory, index, symbol
        self.layer = model.layers[index]
        self.comment = f"{self.layer.kind}, {_shape(model, self.layer)}"
        self.scratch_offset = memory.scratch_offsets[index] or 0
        self.constants: list[Constant] = []

    def context(self, size: int, name: str) -> str:
        """The statement that defines the kernel's scratch."""
        fields = f"arena + {self.scratch_offset}, {size}" if size else "0, 0"
        return f"const nn_context {name} = {{{fields}}};"

    def call(self, call: KernelCall, inputs: Sequence[str], output: str, context: str) -> list[str]:
        """The statements that call a kernel, with C expressions of its inputs, output and context."""
        arguments = [self._argument(arg, inputs, output, context) for arg in call.args]
        preparation, arguments = _prepared(call, self.symbol, self.scratch_offset, arguments)
        return [*([preparation] if preparation else []), f"{call.function}({', '.join(arguments)});"]

    def _argument(self, arg: Arg, inputs: Sequence[str], output: str, context: str) -> str:
        if arg.kind == "input":
            return inputs[arg.index]
        if arg.kind == "output":
            return output
        if arg.kind == "table":
            return f"{self.symbol}_{arg.name}"
        if arg.kind == "ctx":
            return f"&{context}"
        if arg.kind == "quant":
            multiplier, shift = f"{self.symbol}_multiplier", f"{self.symbol}_shift"
            return self._constant("nn_per_channel_quant_params", f"{{{multiplier}, {shift}}}", "quant")
        if arg.kind == "dims":
            return self._constant("nn_dims", _initializer(arg.fields), f"dims{len(self.constants)}")
        return self._constant(arg.ctype, _initializer(arg.fields), "params")

    def _constant(self, ctype: str, text: str, suffix: str) -> str:
        """The address of a constant struct."""
        names = [constant.name for constant in self.constants]
        name = f"{self.symbol}_{suffix}"
        new = Constant(name if name not in names else f"{name}{len(names)}", ctype, text)
        same = (c for c in self.constants if (c.ctype, c.initializer) == (ctype, text) and self._is_shared)
        found = next(same, None)
        if found is None:
            self.constants.append(found := new)
        return f"&{found.name}"

    @property
    def _is_shared(self) -> bool:
        """Whether several calls share constants."""
        return any(self.index in c.layers for c in self.memory.cascades)

    def finished(self, call: KernelCall | None, checks: Sequence[Check], statements: Sequence[str], size: int) -> Layer:
        """The layer, of whose output so many bytes lie in the arena when it has run."""
        return Layer(
            symbol=self.symbol,
            comment=self.comment,
            tables=_tables(self.symbol, call),
            constants=tuple(self.constants),
            checks=tuple(checks),
            statements=tuple(statements),
            output_offset=self.memory.tensor_offsets[self.index + 1],
            output_bytes=size,
        )

    def checks(self, size: int, scratch: int) -> list[Check]:
        """Whether so many bytes of output and of scratch lie in the arena."""
        parts = {
            "output": (self.memory.tensor_offsets[self.index + 1], size),
            "scratch": (self.scratch_offset, scratch),
        }
        return [
            Check(f"{offset} + {count} <= {{arena}}", f"{what} of {self.symbol}")
            for what, (offset, count) in parts.items()
            if what == "output" or count
        ]


def _part(writer: _Writer, call: KernelCall | None, c: Cascade, statements: Sequence[str]) -> Layer:
    """A layer of a cascade; statements: of the last one, which compute all of them."""
    model, memory, index = writer.model, writer.memory, writer.index
    last = index == c.last
    size = writer.layer.output.size_bytes if last else cascade.window_bytes(model, c, index + 1)
    checks = writer.checks(size, planner.scratch_bytes(call, index, c))
    if not last:
        return writer.finished(call, checks, ["(void)arena; /* computed with the last layer of its cascade */"], 0)
    output = memory.tensor_offsets[c.output]
    for t in c.inputs:
        offset, lead = memory.tensor_offsets[t], cascade.lead(model, c, t)
        if output < offset + model.tensor(t).size_bytes and offset < output + size:
            condition = f"{output} == {offset}" if output == offset else f"{output} + {lead} <= {offset}"
            checks.append(Check(condition, f"output of {writer.symbol} over rows that were read"))
    return writer.finished(call, checks, statements, size)


def _in_stripes(writers: Sequence[_Writer], program: select.Program, c: Cascade) -> list[str]:
    """The statements of a cascade."""
    kernels = {i: call for i in c.layers if (call := program.calls[i]) is not None}
    contexts = {i: f"ctx{i}" for i, call in kernels.items() if any(arg.kind == "ctx" for arg in call.args)}
    lines = [writers[i].context(planner.scratch_bytes(program.calls[i], i, c), name) for i, name in contexts.items()]
    for loop in cascade.loops(writers[0].model, c):
        body = [line for operation in loop.operations for line in _operation(writers, contexts, loop, operation)]
        if loop.count > 1:
            head = f"for (int32_t stripe = 0; stripe < {loop.count}; stripe++) {{"
            body = [head, *(f"    {line}" for line in body), "}"]
        lines += body
    return lines


def _operation(
    writers: Sequence[_Writer], contexts: Mapping[int, str], loop: cascade.Loop, operation: cascade.Operation
) -> list[str]:
    memory, model = writers[0].memory, writers[0].model

    def at(place: cascade.Place) -> str:
        size, step = cascade.row_bytes(model, place.tensor), loop.steps.get(place.tensor, 0)
        fixed = f"arena + {memory.tensor_offsets[place.tensor] + place.row * size}"
        return f"{fixed} + stripe * {step * size}" if step else fixed

    if isinstance(operation, cascade.Move):
        start = cascade.Place(operation.source.tensor, 0)
        count = operation.rows * cascade.row_bytes(model, start.tensor)
        return [f"memmove({at(start)}, {at(operation.source)}, {count});"]
    work = operation.work
    assert work.call is not None
    inputs = [at(place) for place in operation.inputs]
    return writers[work.layer].call(work.call, inputs, at(operation.output), contexts.get(work.layer, ""))


def _whole(writer: _Writer, call: KernelCall | None) -> Layer:
    """A layer by itself."""
    layer, offsets = writer.layer, writer.memory.tensor_offsets
    size = layer.output.size_bytes
    if call is None:
        return writer.finished(call, writer.checks(size, 0), ["(void)arena; /* renames its input */"], size)
    inputs = [f"arena + {offsets[t]}" for t in layer.inputs]
    statements = writer.call(call, inputs, f"arena + {offsets[writer.index + 1]}", "ctx")
    if any(arg.kind == "ctx" for arg in call.args):
        statements = [writer.context(call.context_bytes if call.scratch_bytes else 0, "ctx"), *statements]
    return writer.finished(call, writer.checks(size, call.scratch_bytes), statements, size)


def _prepared(call: KernelCall, symbol: str, scratch_offset: int, arguments: list[str]) -> tuple[str, list[str]]:
    """(statement that expands the call's trits, arguments that read what it wrote); "" and as they are without any."""
    if call.trits is None:
        return "", arguments
    trits, table = call.trits, f"{symbol}_{call.trits.table}"
    words = f"arena + {scratch_offset + trits.offset}"
    statement = f"nn_expand_trits({table}, {trits.groups}, {trits.threes:#010x}U, {words});"
    return statement, [f"(const void *)({words})" if argument == table else argument for argument in arguments]


def _shape(model: QModel, layer: QLayer) -> str:
    inputs = " + ".join("x".join(map(str, spec.shape)) for spec in model.input_specs(layer))
    return f"{inputs} -> {'x'.join(map(str, layer.output.shape))}"


def _tables(symbol: str, call: KernelCall | None) -> tuple[Table, ...]:
    return tuple(
        Table(f"{symbol}_{name}", C_TYPES[table.dtype.name], tuple(table.ravel().tolist()), table.nbytes)
        for name, table in (call.tables.items() if call else ())
    )


def _initializer(fields: Mapping[str, Any]) -> str:
    """Designated initializer of a (nested) struct of ints."""
    parts = (f".{k} = {_initializer(v) if isinstance(v, Mapping) else v}" for k, v in fields.items())
    return "{" + ", ".join(parts) + "}"
