"""What a network costs on a core: built, run in the emulator, checked against the specification, every layer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from bench import linked, machine, networks
from bench.machine import LayerRun
from pipeline.codegen import planner, select
from pipeline.codegen.cmsis_nn import Library
from pipeline.codegen.select import Kernels
from pipeline.config import board
from pipeline.config.board import Board
from pipeline.config.job import FirmwareConfig
from pipeline.core import registry
from pipeline.core.errors import MismatchError
from pipeline.core.nouns import Image, Int8Array, QLayer, QModel, Sources, TensorSpec
from pipeline.device import session
from pipeline.network import twin
from pipeline.stages import build, render

M4 = "cortex-m4f"
"""The core whose cycles are modelled."""
BOARDS = {
    M4: "netduinoplus2",
    "cortex-m7": "mps2-an500",
    "cortex-m3": "mps2-an385",
    "cortex-m0": "mps2-an385",
    "cortex-m55": "mps3-an547",
}
"""Emulated board of each core. A Cortex-M3 executes what is compiled for a Cortex-M0, instruction by instruction."""
CORES = {"cortex-m7": "cortex-m7d"}
"""Where the board files use another name for the core."""


@dataclass(frozen=True)
class Counted:
    """A firmware and what it executed. layers: instructions of each layer; outputs: of the last one, int8."""

    image: Image
    folder: Path
    sources: Sources
    layers: tuple[int, ...]
    instructions: int
    output: Int8Array
    stack_bytes: int


@dataclass(frozen=True)
class Network:
    """A network on a core, with the kernels the project chooses. sample: int8, one input."""

    model: QModel
    core: str
    folder: Path
    firmware: FirmwareConfig = select.DEFAULT

    @cached_property
    def board(self) -> Board:
        return target(self.core)

    @cached_property
    def sample(self) -> Int8Array:
        return np.asarray(networks.samples(self.model.input, 1)[0])

    @cached_property
    def expected(self) -> list[Int8Array]:
        """Each layer's output by the NumPy specification."""
        return [values[0].ravel() for values in twin.specification(self.model, self.sample[None])]

    @cached_property
    def program(self) -> select.Program:
        return select.program(self.model, self.board, firmware=self.firmware)

    def count(self, kernels: Kernels = "auto") -> Counted:
        """With the project's kernels. MismatchError when the output is not the specification's."""
        name = f"{kernels}-{self.firmware.trits_per_byte}" + ("" if self.firmware.cascades else "-whole")
        return self._count(render.render(self.model, self.board, kernels, self.firmware), name)

    def count_cmsis(self, library: Library) -> Counted:
        """With CMSIS-NN's kernels and weights of one byte each, bit for bit the same outputs."""
        wide = replace(self.model, layers=tuple(replace(layer, weight_bits=8) for layer in self.model.layers))
        return self._count(render.render(wide, self.board, "cmsis-nn", library=library), "cmsis-nn")

    def _count(self, sources: Sources, name: str) -> Counted:
        folder = self.folder / f"{self.model.name}-{self.core}-{name}"
        image = build.build(sources, self.board, folder)
        with session.connect(self.board, folder) as device:
            device.hello()
            result = device.run_sample(self.sample.tobytes())
            stack = device.stats()["stack_high_water"]
        if not np.array_equal(result.output, self.expected[-1]):
            raise MismatchError(
                f"{self.model.name} on {self.core}, {name} kernels: outputs are not the specification's"
            )
        ticks = tuple(int(t) for t in result.layer_ticks)
        return Counted(image, folder, sources, ticks, result.ticks, result.output, stack)

    def runs(self, counted: Counted) -> list[LayerRun]:
        """Every layer in the Cortex-M4 model. MismatchError when a layer's output is not the specification's."""
        offset = int(re.findall(r"MODEL_INPUT_OFFSET (\d+)", counted.sources.files["generated/model.h"])[0])
        runs = list(machine.run_layers(counted.folder / build.ELF, self.board, offset, self.sample))
        for layer, run, expected in zip(self.model.layers, runs, self.expected, strict=True):
            if not np.array_equal(run.output, expected):
                raise MismatchError(f"{self.model.name}: layer {layer.name!r} is not the specification's")
        return runs

    def activation_bytes(self) -> int:
        """The arena if no kernel needed scratch."""
        return planner.activation_bytes(self.model, self.program.memory, self.program.calls)


def target(core: str) -> Board:
    """The emulated board, its code compiled for the core."""
    return board.load(BOARDS[core]).model_copy(update={"core": CORES.get(core, core)})


def layer_rows(network: Network, ours: Counted, others: dict[str, Counted]) -> list[dict[str, Any]]:
    """A row of the table for each layer that computes; others: with "reference" kernels, with "cmsis_nn". All without
    cascades, in which layers have no instructions of their own."""
    elf = ours.folder / build.ELF
    image, functions = linked.Image(elf), [row[0] for row in machine.layer_table(elf)]
    runs = network.runs(ours) if network.core == M4 else None
    rows = []
    for i, (layer, call) in enumerate(zip(network.model.layers, network.program.calls, strict=True)):
        if call is None:
            continue
        specs = network.model.input_specs(layer)
        rows.append(
            {
                "name": f"{network.model.name}/{layer.name}",
                "core": network.core,
                "shape": shape(layer, specs),
                "kernel": call.function,
                "instructions": ours.layers[i],
                "cycles_model": runs[i].cycles if runs else None,
                "macs": registry.load("layers", layer.kind).macs(layer, specs),
                "code_bytes": image.code_bytes(functions[i], ".nn"),
                "table_bytes": sum(table.nbytes for table in call.tables.values()),
                "scratch_bytes": call.scratch_bytes,
                **{f"{name}_instructions": other.layers[i] for name, other in others.items()},
            }
        )
    return rows


def network_row(network: Network, ours: Counted, others: dict[str, Counted]) -> dict[str, Any]:
    """What the whole network costs, bytes and instructions. arena_bytes: activations alone; ram_extra_bytes: all other
    RAM in use, kernel scratch and stack included."""
    tables = [(name, table.nbytes) for call in network.program.calls if call for name, table in call.tables.items()]
    activations, image = network.activation_bytes(), ours.image
    return {
        "instructions": ours.instructions,
        **{f"{name}_instructions": other.instructions for name, other in others.items()},
        **_cmsis_bytes(network.model, ours, others),
        "code_bytes": image.sections[".nn"],
        "flash_bytes": image.flash_bytes,
        "weight_bytes": sum(size for name, size in tables if name == "filter"),
        "table_bytes": sum(size for name, size in tables if name != "filter"),
        "arena_bytes": activations,
        "scratch_bytes": image.arena_bytes - activations,
        "stack_bytes": ours.stack_bytes,
        "ram_extra_bytes": image.ram_bytes - activations + ours.stack_bytes,
    }


def _cmsis_bytes(model: QModel, ours: Counted, others: dict[str, Counted]) -> dict[str, int]:
    """Where CMSIS-NN is linked: bytes of its kernels and of what they read, int8 weights and 12 bytes a channel."""
    if "cmsis_nn" not in others:
        return {}
    library = others["cmsis_nn"].image.sections[".cmsis_nn"]
    tables = sum(x.weights.size + 12 * x.output.shape[-1] for x in model.layers if x.weights is not None)
    return {"cmsis_nn_code_bytes": library, "cmsis_nn_table_bytes": tables}


def shape(layer: QLayer, specs: Sequence[TensorSpec]) -> str:
    """A layer's kind and sizes: "conv2d 3x3 s2 32x32x16 -> 16x16x32"."""
    kernel = {"conv2d": slice(1, 3), "depthwise_conv2d": slice(0, 2)}.get(layer.kind)
    window = f" {_times(layer.weights.shape[kernel])}" if kernel and layer.weights is not None else ""
    stride = max(layer.params.get("stride", (1, 1))) if kernel else 1
    step = f" s{stride}" if stride > 1 else ""
    taken = (prod(specs[0].shape),) if layer.kind == "dense" else specs[0].shape  # as one vector, whatever came before
    return f"{layer.kind}{window}{step} {_times(taken)} -> {_times(layer.output.shape)}"


def _times(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))
