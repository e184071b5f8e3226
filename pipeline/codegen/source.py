"""What the templates print of a network: constant tables, constant structs and one call for each layer, as C text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from pipeline.codegen import footprint, planner, select
from pipeline.core import paths
from pipeline.core.nouns import Arg, KernelCall, LayerCode, QLayer, QModel

SUFFIXES = (".c", ".cpp", ".h", ".S")
"""Of hand-written files that a project takes."""
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
class Layer:
    """One layer as the templates see it."""

    symbol: str
    """C identifier of its function."""
    comment: str
    """Kind and shapes, for readers of model.c."""
    function: str
    """C function of the kernel; "" for a renamed input."""
    arguments: tuple[str, ...]
    """C expressions, in the order of the prototype."""
    tables: tuple[Table, ...]
    """Its constant arrays."""
    constants: tuple[Constant, ...]
    """Its constant structs."""
    scratch_offset: int
    """First byte of its scratch in the arena."""
    scratch_bytes: int
    """Of its scratch."""
    context_bytes: int
    """What of the scratch is the kernel's own."""
    preparation: str
    """A statement that comes before its call, or ""."""
    output_offset: int
    """First byte of its output in the arena."""
    output_bytes: int
    """Of its output."""


def hand_written(folder: str = "") -> Iterator[tuple[PurePosixPath, str]]:
    """(path below firmware/, text) of the files that lie in this folder of it, in the order of their paths."""
    root = paths.shipped("firmware")
    for path in sorted((root / folder).rglob("*")):
        if path.suffix in SUFFIXES:
            yield PurePosixPath(path.relative_to(root).as_posix()), path.read_text(encoding="utf-8")


def is_kernel_of(path: PurePosixPath, families: Sequence[str]) -> bool:
    """Whether a file of firmware/nn is common to all kernels, or one of these families."""
    return len(path.parts) == 2 or path.parts[1] in families


def layers(
    model: QModel, calls: Sequence[KernelCall | None], plan: planner.MemoryPlan, prefix: str = ""
) -> list[Layer]:
    """Every layer of the model; prefix: of every C identifier."""
    symbols = [f"{prefix}{footprint.layer_symbol(i, layer.name)}" for i, layer in enumerate(model.layers)]
    return [_layer(model, i, symbols[i], call, plan) for i, call in enumerate(calls)]


def code(
    model: QModel, calls: Sequence[KernelCall | None], unserved: Mapping[str, str] = MappingProxyType({})
) -> tuple[LayerCode, ...]:
    """What every layer of the model becomes. unserved: by layer, as `select.unserved` has it."""
    rows = zip(model.layers, calls, strict=True)
    return tuple(_code(layer, call, unserved.get(layer.name, "")) for layer, call in rows)


def _code(layer: QLayer, call: KernelCall | None, unserved: str) -> LayerCode:
    if call is None:
        return LayerCode(layer.name, kernel=None, weights_bytes=0, tables_bytes=0)
    weights = call.tables[select.FILTER].nbytes if select.FILTER in call.tables else 0
    return LayerCode(layer.name, call.function, weights, sum(t.nbytes for t in call.tables.values()), unserved)


def _layer(model: QModel, index: int, symbol: str, call: KernelCall | None, plan: planner.MemoryPlan) -> Layer:
    layer = model.layers[index]
    tables = _tables(symbol, call)
    constants: list[Constant] = []
    arguments = [_argument(arg, symbol, layer, plan, index, constants) for arg in call.args] if call else []
    scratch_offset = plan.scratch_offsets[index] or 0
    preparation, arguments = _prepared(call, symbol, scratch_offset, arguments)
    return Layer(
        symbol=symbol,
        comment=f"{layer.kind}, {_shape(model, layer)}",
        function=call.function if call else "",
        arguments=tuple(arguments),
        tables=tables,
        constants=tuple(constants),
        scratch_offset=scratch_offset,
        scratch_bytes=call.scratch_bytes if call else 0,
        context_bytes=call.context_bytes if call else 0,
        preparation=preparation,
        output_offset=plan.tensor_offsets[index + 1],
        output_bytes=layer.output.size_bytes,
    )


def _prepared(call: KernelCall | None, symbol: str, scratch_offset: int, arguments: list[str]) -> tuple[str, list[str]]:
    """(statement that expands the call's trits, arguments that read what it wrote); "" and as they are without any."""
    if call is None or call.trits is None:
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


def _argument(
    arg: Arg, symbol: str, layer: QLayer, plan: planner.MemoryPlan, index: int, constants: list[Constant]
) -> str:
    """C text of one argument; structs it points to are added to `constants`."""
    if arg.kind == "input":
        return f"arena + {plan.tensor_offsets[layer.inputs[arg.index]]}"
    if arg.kind == "output":
        return f"arena + {plan.tensor_offsets[index + 1]}"
    if arg.kind == "table":
        return f"{symbol}_{arg.name}"
    if arg.kind == "ctx":
        return "&ctx"
    if arg.kind == "quant":
        text, ctype, suffix = f"{{{symbol}_multiplier, {symbol}_shift}}", "nn_per_channel_quant_params", "quant"
    elif arg.kind == "dims":
        text, ctype, suffix = _initializer(arg.fields), "nn_dims", f"dims{len(constants)}"
    else:
        text, ctype, suffix = _initializer(arg.fields), arg.ctype, "params"
    constants.append(Constant(f"{symbol}_{suffix}", ctype, text))
    return f"&{symbol}_{suffix}"


def _initializer(fields: Mapping[str, Any]) -> str:
    """Designated initializer of a (nested) struct of ints."""
    parts = (f".{k} = {_initializer(v) if isinstance(v, Mapping) else v}" for k, v in fields.items())
    return "{" + ", ".join(parts) + "}"
