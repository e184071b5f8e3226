"""render: a QModel and a Board become a firmware project in text. Templates print; everything is decided here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pipeline.codegen import buffers, footprint, planner, select
from pipeline.config.board import Board
from pipeline.config.cores import kernel_families
from pipeline.config.job import FirmwareConfig
from pipeline.core import paths, templates
from pipeline.core.digest import digest_of
from pipeline.core.nouns import Arg, KernelCall, LayerCode, QLayer, QModel, Sources
from pipeline.protocol import wire

HEADERS_AND_MODEL = ("board.h", "wire.h", "model.h", "model.c")
DIGEST_FILE = "generated/build_id.h"
C_TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "uint16": "uint16_t", "int32": "int32_t",
           "uint32": "uint32_t"}  # fmt: skip
MAIN = PurePosixPath("app/main.c")
"""Arduino cores have their own."""


@dataclass(frozen=True)
class Table:
    """A constant array as the templates see it."""

    name: str
    """C identifier."""
    ctype: str
    """C type of an element."""
    values: tuple[int, ...]
    """Its elements."""
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


def render(
    model: QModel, board: Board, kernels: select.Kernels = "auto", firmware: FirmwareConfig = select.DEFAULT
) -> Sources:
    """The project of `model` for `board`. UnsupportedError names a layer that no kernel serves.

    kernels: "auto" takes the fastest kernel the core can run, "reference" the portable ones.
    """
    calls = select.calls(model, board, kernels, firmware)
    plan = planner.plan(model, calls)
    layers = [_layer(model, i, call, plan) for i, call in enumerate(calls)]
    files = dict(_firmware_files(board))
    context = {
        "board": board,
        "buffers": buffers.plan(board, plan.arena_bytes, model.input.size_bytes),
        "qmodel": model,
        "layers": layers,
        "arena_bytes": plan.arena_bytes,
        "input_offset": plan.tensor_offsets[0],
        "wire": wire,
        "sources": ["generated/model.c", *_compiled(files, "app/", "link/", "port/")],
        "kernel_sources": _compiled(files, "nn/"),
        "folders": sorted({str(PurePosixPath(f).parent) for f in files if f.startswith(("nn/", "port/"))}),
        "headers": sorted(PurePosixPath(f).name for f in files if f.startswith("nn/") and f.endswith(".h")),
    }
    environment = templates.environment()
    for path, template in _templates(board).items():
        files[path] = environment.get_template(template).render(context)
    digest = digest_of(files)[: 2 * wire.DIGEST_BYTES]
    files[DIGEST_FILE] = environment.get_template("build_id.h.j2").render(context, digest=digest)
    code = tuple(_code(layer, call) for layer, call in zip(model.layers, calls, strict=True))
    return Sources(dict(sorted(files.items())), digest, board.name, model.digest, plan.arena_bytes, code)


def _code(layer: QLayer, call: KernelCall | None) -> LayerCode:
    if call is None:
        return LayerCode(layer.name, kernel=None, weights_bytes=0, tables_bytes=0)
    weights = call.tables[select.FILTER].nbytes if select.FILTER in call.tables else 0
    return LayerCode(layer.name, call.function, weights, sum(table.nbytes for table in call.tables.values()))


def _templates(board: Board) -> dict[str, str]:
    """Template of every generated file: what CMake needs is left out where only an Arduino tool can build."""
    files = {f"generated/{name}": f"{name}.j2" for name in HEADERS_AND_MODEL}
    if not board.build_programs:
        return files
    files["CMakeLists.txt"] = "CMakeLists.txt.j2"
    if board.is_avr:
        files["arduino_core.cmake"] = "arduino_core.cmake.j2"
    if not board.is_host:
        family = "avr" if board.is_avr else "arm"
        files["toolchain.cmake"] = f"toolchain_{family}.cmake.j2"
        files["generated/link.ld"] = f"link_{family}.ld.j2"
    return files


def _compiled(files: Mapping[str, str], *folders: str) -> list[str]:
    return sorted(f for f in files if f.startswith(folders) and f.endswith((".c", ".cpp", ".S")))


def _firmware_files(board: Board) -> Iterator[tuple[str, str]]:
    """(path in the project, text) of every hand-written file this board's project needs."""
    root = paths.shipped("firmware")
    for path in sorted(root.rglob("*")):
        relative = PurePosixPath(path.relative_to(root).as_posix())
        if path.suffix in {".c", ".cpp", ".h", ".S"} and _belongs(relative, board):
            yield str(relative), path.read_text(encoding="utf-8")


def _belongs(path: PurePosixPath, board: Board) -> bool:
    """Of a port the innermost folder and all around it, of the kernels those that the core executes."""
    if path.parts[0] == "port":
        return PurePosixPath("port", board.port).is_relative_to(path.parent)
    if path.parts[0] == "nn" and len(path.parts) > 2:
        return path.parts[1] in kernel_families(board.core)
    return path != MAIN or not board.is_arduino


def _layer(model: QModel, index: int, call: KernelCall | None, plan: planner.MemoryPlan) -> Layer:
    layer = model.layers[index]
    symbol = footprint.layer_symbol(index, layer.name)
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
