"""A linked firmware's layers, called one by one in Unicorn's Cortex-M4: every block executed is counted and priced."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from elftools.elf.elffile import ELFFile
from unicorn import UC_ARCH_ARM, UC_HOOK_BLOCK, UC_MODE_MCLASS, UC_MODE_THUMB, Uc
from unicorn import arm_const as arm

from bench import cycles
from bench.cycles import BlockCost
from pipeline.config.board import Board
from pipeline.core.nouns import Int8Array

ARENA, ARENA_SPACE = 0x60000000, 1 << 20
"""Where the arena lies here, and the most it may hold."""
RETURN = 0x70000000
"""A page of its own: the layer returns to it and stops there."""
PAGE = 4096


@dataclass(frozen=True)
class LayerRun:
    """Executed instructions and cycles by the model of one layer, and its output, int8 (bytes,)."""

    instructions: int
    cycles: int
    output: Int8Array


def run_layers(elf: Path, board: Board, input_offset: int, sample: Int8Array) -> Iterator[LayerRun]:
    """Yields the run of each layer of the firmware on one sample, in order."""
    machine = _Machine(elf, board)
    machine.write(ARENA + input_offset, sample.tobytes())
    for run, offset, size in layer_table(elf):
        instructions, spent = machine.call(run)
        yield LayerRun(instructions, spent, np.frombuffer(machine.read(ARENA + offset, size), np.int8))


def layer_table(elf: Path) -> list[tuple[int, ...]]:
    """(function, output offset, output bytes) of every layer: the rows of the firmware's model_layers."""
    with elf.open("rb") as file:
        image = ELFFile(file)
        symbol = image.get_section_by_name(".symtab").get_symbol_by_name("model_layers")[0]
        section = image.get_section(symbol["st_shndx"])
        start = symbol["st_value"] - section["sh_addr"]
        return list(struct.iter_unpack("<3I", section.data()[start : start + symbol["st_size"]]))


class _Machine:
    """An image in memory. No peripherals, no interrupts: only kernels run here."""

    def __init__(self, elf: Path, board: Board) -> None:
        self._uc = Uc(UC_ARCH_ARM, UC_MODE_THUMB | UC_MODE_MCLASS)
        self._uc.ctl_set_cpu_model(arm.UC_CPU_ARM_CORTEX_M4)
        for region in (board.memory.flash, board.memory.ram):
            self._uc.mem_map(region.origin, region.length)
        self._uc.mem_map(ARENA, ARENA_SPACE)
        self._uc.mem_map(RETURN, PAGE)
        with elf.open("rb") as file:
            self._load(ELFFile(file))
        self._decoder = cycles.disassembler()
        self._costs: dict[tuple[int, int], BlockCost] = {}
        self._passes: dict[tuple[int, int], int] = {}
        self._taken: dict[tuple[int, int], int] = {}
        self._block: tuple[int, int] | None = None
        self._uc.hook_add(UC_HOOK_BLOCK, self._count)

    def _load(self, elf: ELFFile) -> None:
        for segment in elf.iter_segments("PT_LOAD"):
            for address in {segment["p_paddr"], segment["p_vaddr"]} if segment["p_filesz"] else ():
                self.write(address, segment.data())
        table = elf.get_section_by_name(".symtab")
        self._stack = table.get_symbol_by_name("__stack_top")[0]["st_value"]

    def write(self, address: int, data: bytes) -> None:
        self._uc.mem_write(address, data)

    def read(self, address: int, size: int) -> bytes:
        return bytes(self._uc.mem_read(address, size))

    def call(self, function: int) -> tuple[int, int]:
        """(instructions, cycles) of function(arena)."""
        self._passes, self._taken, self._block = {}, {}, None
        self._uc.reg_write(arm.UC_ARM_REG_R0, ARENA)
        self._uc.reg_write(arm.UC_ARM_REG_SP, self._stack)
        self._uc.reg_write(arm.UC_ARM_REG_LR, RETURN | 1)
        self._uc.emu_start(function | 1, RETURN)
        instructions = spent = 0
        for block, passes in self._passes.items():
            cost = self._cost(block)
            instructions += passes * cost.instructions
            spent += passes * cost.cycles + self._taken.get(block, 0) * cost.taken_cycles
        return instructions, spent

    def _count(self, uc: Uc, address: int, size: int, user_data: Any) -> None:
        previous = self._block
        if previous is not None and previous[0] + previous[1] != address:
            self._taken[previous] = self._taken.get(previous, 0) + 1
        self._block = block = (address, size)
        if address != RETURN:
            self._passes[block] = self._passes.get(block, 0) + 1

    def _cost(self, block: tuple[int, int]) -> BlockCost:
        if block not in self._costs:
            address, size = block
            code = list(self._decoder.disasm(self.read(address, size), address))
            assert sum(i.size for i in code) == size, f"an instruction at {address:#x} cannot be decoded"
            self._costs[block] = cycles.block_cost(code)
        return self._costs[block]
