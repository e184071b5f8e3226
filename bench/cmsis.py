"""CMSIS-NN's int8 kernels beside ours: an already built library is linked into a firmware whose model calls its public
interface with the same weights, one byte each. Nothing of CMSIS-NN is in this repository; CMSIS_NN_ROOT says where it
is: a folder with Include/ and, anywhere below, static libraries for one core or several."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from pipeline.codegen import planner, select
from pipeline.config.board import Board
from pipeline.core import shell
from pipeline.core.errors import ToolError, UnsupportedError
from pipeline.core.nouns import QLayer, QModel, Sources, TensorSpec
from pipeline.network import arith
from pipeline.stages import render

ENVIRONMENT = "CMSIS_NN_ROOT"
HEADER = "arm_nnfunctions.h"
SCRATCH_BYTES = 16384
ARCHITECTURES = {11: "Armv6-M", 12: "Armv6S-M", 10: "Armv7-M", 13: "Armv7E-M", 16: "Armv8-M baseline",
                 17: "Armv8-M mainline", 21: "Armv8.1-M mainline"}  # fmt: skip
"""Tag_CPU_arch of the Addenda to the ABI for the Arm Architecture."""
_MAGIC, _MEMBER_HEADER = b"!<arch>\n", 60


@dataclass(frozen=True)
class Abi:
    """What objects must share to be linked and to run: architecture, where floats are passed, vector extension."""

    architecture: str
    hard_float: bool
    vectors: bool

    def __str__(self) -> str:
        return (
            f"{self.architecture}{', vectors' if self.vectors else ''}, {'hard' if self.hard_float else 'soft'} float"
        )


@dataclass(frozen=True)
class Library:
    """A static library and the headers that go with it."""

    include: Path
    archive: Path


def root() -> Path | None:
    """The folder CMSIS_NN_ROOT names, None when it is not set."""
    value = os.environ.get(ENVIRONMENT)
    return Path(value) if value else None


def libraries(folder: Path, boards: Mapping[str, Board]) -> dict[str, Library]:
    """The library for each board's core, by the board's key; those without one are left out.

    ToolError when the folder holds no CMSIS-NN, or nothing for any of these cores; it names what was found.
    """
    include = folder / "Include"
    archives = _archives(folder)
    found = {path: _abi_of_archive(path) for path in archives}
    wanted = {core: _abi_of_compiler(board) for core, board in boards.items()}
    fitting = {core: next((p for p in archives if found[p] == abi), None) for core, abi in wanted.items()}
    if not any(fitting.values()):
        there = "; ".join(f"{path.relative_to(folder)} is for {abi}" for path, abi in found.items())
        needed = "; ".join(f"{core} is {abi}" for core, abi in wanted.items())
        raise ToolError(f"{ENVIRONMENT}={folder}: {there}; {needed}", "build CMSIS-NN for that core and float ABI")
    return {core: Library(include.resolve(), path.resolve()) for core, path in fitting.items() if path}


def sources(model: QModel, board: Board, library: Library) -> Sources:
    """The project of `model` for `board` with CMSIS-NN's kernels instead of ours."""
    wide = replace(model, layers=tuple(replace(layer, weight_bits=8) for layer in model.layers))
    ours = render.render(wide, board, "reference")
    calls = select.calls(wide, board, "reference")
    link = f'\ntarget_include_directories(firmware SYSTEM PRIVATE "{library.include}")\n'
    link += f'target_link_libraries(firmware PRIVATE "{library.archive}")\n'
    link += "target_compile_options(firmware PRIVATE -Wno-unused-const-variable)\n"
    files = {
        **ours.files,
        "CMakeLists.txt": ours.files["CMakeLists.txt"] + link,
        "generated/model.c": _model_c(wide, planner.plan(wide, calls)),
    }
    return replace(ours, files=files)


def _archives(folder: Path) -> list[Path]:
    """Static libraries below the folder. ToolError when it, its headers or libraries are missing."""
    hint = f"{ENVIRONMENT} must name a folder with Include/{HEADER} and libcmsis-nn.a"
    if not folder.is_dir():
        raise ToolError(f"{ENVIRONMENT}={folder}: no such folder", hint)
    content = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    if not (folder / "Include" / HEADER).is_file():
        raise ToolError(f"{ENVIRONMENT}={folder}: no Include/{HEADER}; found {content}", hint)
    archives = sorted(folder.rglob("*.a"))
    if not archives:
        raise ToolError(f"{ENVIRONMENT}={folder}: no static library (*.a); found {content}", hint)
    return archives


def _abi_of_archive(path: Path) -> Abi:
    """Of its first object."""
    data = path.read_bytes()
    place = len(_MAGIC)
    while data.startswith(_MAGIC) and place + _MEMBER_HEADER < len(data):
        size = int(data[place + 48 : place + 58])
        member = data[place + _MEMBER_HEADER :][:size]
        if member.startswith(b"\x7fELF"):
            return _abi(member, path)
        place += _MEMBER_HEADER + size + size % 2
    raise ToolError(f"{path}: no static library with ELF objects in it", "build it with arm-none-eabi-gcc and -ar")


def _abi_of_compiler(board: Board) -> Abi:
    """What the compiler makes for the board's core."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.o"
        shell.run(["arm-none-eabi-gcc", *board.core_flags, "-x", "c", "-c", os.devnull, "-o", path])
        return _abi(path.read_bytes(), path)


def _abi(elf: bytes, path: Path) -> Abi:
    try:
        section = ELFFile(io.BytesIO(elf)).get_section_by_name(".ARM.attributes")
    except ELFError as error:
        raise ToolError(f"{path}: cannot be read as ELF ({error})", "build it again") from error
    if section is None:
        raise ToolError(f"{path}: holds objects of another machine than Arm", "build it with arm-none-eabi-gcc")
    parts = (part for vendor in section.iter_subsections() for part in vendor.iter_subsubsections())
    tags = {attribute.tag: attribute.value for part in parts for attribute in part.iter_attributes()}
    number = tags.get("TAG_CPU_ARCH", 0)
    name = ARCHITECTURES.get(number, f"architecture {number}")
    return Abi(name, tags.get("TAG_ABI_VFP_ARGS", 0) == 1, tags.get("TAG_MVE_ARCH", 0) > 0)


Fields = Mapping[str, Any]


def _model_c(model: QModel, plan: planner.MemoryPlan) -> str:
    """generated/model.c with calls of CMSIS-NN; the layout in the arena is the plan's."""
    parts = [
        '#include "arm_nnfunctions.h"\n#include "model.h"\n',
        f"static int32_t scratch[{SCRATCH_BYTES // 4}];",
        "static const cmsis_nn_context ctx = {scratch, sizeof scratch};\n",
    ]
    for number, layer in enumerate(model.layers):
        inputs = [f"arena + {plan.tensor_offsets[t]}" for t in layer.inputs]
        output = f"arena + {plan.tensor_offsets[number + 1]}"
        definitions, call = _layer(number, layer, model.input_specs(layer), inputs, output)
        parts.append(f"{definitions}static void {_symbol(number)}(int8_t *arena) {{\n    {call}\n}}\n")
    rows = (
        f"    {{{_symbol(n)}, {plan.tensor_offsets[n + 1]}, {layer.output.size_bytes}}},"
        for n, layer in enumerate(model.layers)
    )
    return "\n".join([*parts, "const model_layer model_layers[MODEL_LAYERS] = {", *rows, "};", ""])


def _symbol(number: int) -> str:
    return f"layer{number}_run"


def _layer(
    number: int, layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[str], output: str
) -> tuple[str, str]:
    """(definitions, statement) of one layer."""
    writers: dict[str, Callable[..., tuple[str, str]]] = {
        "conv2d": _convolution, "depthwise_conv2d": _convolution, "dense": _dense, "add": _add,
        "average_pool2d": _pool, "max_pool2d": _pool, "flatten": lambda *_: ("", "(void)arena;"),
    }  # fmt: skip
    if layer.kind not in writers:
        raise UnsupportedError(f"layer {layer.name!r}: the bench calls no CMSIS-NN kernel for {layer.kind}")
    return writers[layer.kind](f"layer{number}", layer, specs, inputs, output)


def _convolution(
    name: str, layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[str], output: str
) -> tuple[str, str]:
    assert layer.weights is not None
    depthwise = layer.kind == "depthwise_conv2d"
    shape = (1, *layer.weights.shape) if depthwise else layer.weights.shape
    params = _conv_params(layer, specs[0])
    if depthwise:
        params["ch_mult"] = shape[3] // specs[0].shape[2]
    ctype, function = ("dw_conv", "depthwise_conv") if depthwise else ("conv", "convolve")
    text = _tables(name, layer) + _struct(f"cmsis_nn_{ctype}_params", f"{name}_params", params)
    text += f"static const cmsis_nn_per_channel_quant_params {name}_quant = {_quant(name)};\n"
    text += _dims(name, input=_map(specs[0].shape), weights=shape, bias=(1, 1, 1, layer.output.shape[-1]),
                  output=_map(layer.output.shape))  # fmt: skip
    call = f"arm_{function}_wrapper_s8(&ctx, &{name}_params, &{name}_quant, {_data(name, inputs[0], output)});"
    return text, call


def _conv_params(layer: QLayer, spec: TensorSpec) -> dict[str, Any]:
    return {
        **_offsets(layer, spec),
        "stride": _tile(layer.params["stride"]),
        "padding": _tile(layer.params["padding"]),
        "dilation": _tile((1, 1)),
    }


def _dense(
    name: str, layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[str], output: str
) -> tuple[str, str]:
    """With one scale for all outputs arm_fully_connected_s8, else the variant with one each."""
    assert layer.weights is not None and layer.multiplier is not None and layer.shift is not None
    assert layer.bias is not None
    outputs, features = layer.weights.shape
    offsets = _offsets(layer, specs[0])
    sums = layer.bias + offsets["input_offset"] * layer.weights.sum(axis=1, dtype=np.int32)
    text = _tables(name, layer) + _array("int32_t", f"{name}_sums", sums)
    text += f"static const cmsis_nn_context {name}_ctx = {{(void *){name}_sums, sizeof {name}_sums}};\n"
    text += _struct("cmsis_nn_fc_params", f"{name}_params", {**offsets, "filter_offset": 0})
    one_scale = len({*zip(layer.multiplier.tolist(), layer.shift.tolist(), strict=True)}) == 1
    granularity, function = ("tensor", "") if one_scale else ("channel", "per_channel_")
    quant = f"{{{layer.multiplier[0]}, {layer.shift[0]}}}" if one_scale else _quant(name)
    text += f"static const cmsis_nn_per_{granularity}_quant_params {name}_quant = {quant};\n"
    text += _dims(name, input=(1, 1, 1, features), weights=(features, 1, 1, outputs), bias=(1, 1, 1, outputs),
                  output=(1, 1, 1, outputs))  # fmt: skip
    data = _data(name, inputs[0], output)
    return text, f"arm_fully_connected_{function}s8(&{name}_ctx, &{name}_params, &{name}_quant, {data});"


def _add(name: str, layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[str], output: str) -> tuple[str, str]:
    p = layer.params
    values: list[Any] = [*inputs]
    for i, spec in enumerate(specs, 1):
        values += [-spec.quantization.zero_point, p[f"input{i}_mult"], p[f"input{i}_shift"]]
    values += [arith.ADD_LEFT_SHIFT, output, layer.output.quantization.zero_point, p["output_mult"], p["output_shift"]]
    values += [*p["activation"], layer.output.size_bytes]
    return "", f"arm_elementwise_add_s8({', '.join(map(str, values))});"


def _pool(name: str, layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[str], output: str) -> tuple[str, str]:
    function = {"average_pool2d": "arm_avgpool_s8", "max_pool2d": "arm_max_pool_s8"}[layer.kind]
    low, high = layer.params["activation"]
    params = {key: _tile(layer.params[key]) for key in ("stride", "padding")}
    text = _struct("cmsis_nn_pool_params", f"{name}_params", {**params, "activation": {"min": low, "max": high}})
    text += _dims(
        name, input=_map(specs[0].shape), weights=(1, *layer.params["pool"], 1), output=_map(layer.output.shape)
    )
    data = f"&{name}_input_dims, {inputs[0]}, &{name}_weights_dims, &{name}_output_dims, {output}"
    return text, f"{function}(&ctx, &{name}_params, {data});"


def _data(name: str, source: str, output: str) -> str:
    """(dims, data) pairs of a weighted layer."""
    constant = (f"&{name}_{part}_dims, {name}_{part}" for part in ("weights", "bias"))
    return f"&{name}_input_dims, {source}, {', '.join(constant)}, &{name}_output_dims, {output}"


def _offsets(layer: QLayer, spec: TensorSpec) -> dict[str, Any]:
    low, high = layer.params["activation"]
    return {
        "input_offset": -spec.quantization.zero_point,
        "output_offset": layer.output.quantization.zero_point,
        "activation": {"min": low, "max": high},
    }


def _quant(name: str) -> str:
    return f"{{(int32_t *){name}_multiplier, (int32_t *){name}_shift}}"


def _tables(name: str, layer: QLayer) -> str:
    arrays = {"bias": layer.bias, "multiplier": layer.multiplier, "shift": layer.shift}
    text = "".join(_array("int32_t", f"{name}_{key}", values) for key, values in arrays.items())
    return _array("int8_t", f"{name}_weights", layer.weights) + text


def _array(ctype: str, name: str, values: Any) -> str:
    return f"static const {ctype} {name}[] = {{{', '.join(map(str, values.ravel().tolist()))}}};\n"


def _struct(ctype: str, name: str, fields: Fields) -> str:
    return f"static const {ctype} {name} = {_initializer(fields)};\n"


def _initializer(fields: Fields) -> str:
    parts = (f".{k} = {_initializer(v) if isinstance(v, Mapping) else v}" for k, v in fields.items())
    return "{" + ", ".join(parts) + "}"


def _dims(name: str, **shapes: Sequence[int]) -> str:
    rows = (f"{name}_{part}_dims = {{{', '.join(map(str, shape))}}}" for part, shape in shapes.items())
    return f"static const cmsis_nn_dims {', '.join(rows)};\n"


def _map(shape: Sequence[int]) -> tuple[int, ...]:
    return (1, *shape) if len(shape) == 3 else (1, 1, 1, int(np.prod(shape)))


def _tile(pair: Sequence[int]) -> dict[str, int]:
    return {"w": pair[1], "h": pair[0]}
