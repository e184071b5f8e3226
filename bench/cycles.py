"""A model of the Cortex-M4's cycles, not a measurement on silicon.

Timings of the Cortex-M4 Technical Reference Manual (r0p1, 3.3.1), zero wait states, no contention on the buses:
data processing, multiplies and multiply-accumulates 1, LDR 2 but 1 directly after another LDR whose result is not its
address, STR 1 (2 with a register offset), LDRD, LDM, STM, PUSH and POP 1 + registers, taken branches and writes
of the program counter REFILL more, divisions 7, MRS and MSR 2. Costs are per block, so a pair of loads across a branch
is not recognized.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import capstone
from capstone import arm

REFILL = 2
"""Cycles to refill the pipeline; the manual says 1 to 3."""
DIVISION = 7
"""Cycles of SDIV and UDIV; the manual says 2 to 12."""
LOADS = frozenset({"ldr", "ldrb", "ldrh", "ldrsb", "ldrsh"})
STORES = frozenset({"str", "strb", "strh"})
DOUBLES = frozenset({"ldrd", "strd"})
STACKS = frozenset({"push", "pop", "vpush", "vpop"})
MULTIPLES = frozenset({"ldm", "ldmdb", "ldmia", "stm", "stmdb", "stmia", "vldmia", "vstmia"})
CALLS = frozenset({"bl", "blx", "bx"})
JUMPS = frozenset({"b", "cbz", "cbnz"})
TABLE_BRANCHES = frozenset({"tbb", "tbh"})
DIVISIONS = frozenset({"sdiv", "udiv"})
SYSTEM = frozenset({"mrs", "msr"})
CONDITIONS = ("eq", "ne", "hs", "lo", "cs", "cc", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le")


@dataclass(frozen=True)
class BlockCost:
    """A block of instructions that is left only at its end. cycles: when the branch at its end is not taken;
    taken_cycles: what a branch there costs more."""

    instructions: int
    cycles: int
    taken_cycles: int


def disassembler() -> capstone.Cs:
    """For Thumb code of the M profile, with operands."""
    decoder = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS)
    decoder.detail = True
    return decoder


def block_cost(instructions: Iterable[capstone.CsInsn]) -> BlockCost:
    """What one pass through the block costs."""
    count = cycles = taken = 0
    loaded: int | None = None  # by the instruction before, a single load
    for instruction in instructions:
        name = mnemonic(instruction)
        count += 1
        cycles += _cycles(instruction, name, loaded)
        taken = REFILL if name in JUMPS else 0
        loaded = instruction.operands[0].reg if name in LOADS else None
    return BlockCost(count, cycles, taken)


def mnemonic(instruction: capstone.CsInsn) -> str:
    """The instruction's name without width, type and condition: "ldrb.w" and "ldrbne" are "ldrb"."""
    name: str = instruction.mnemonic.partition(".")[0]
    conditional = instruction.cc not in (arm.ARM_CC_AL, arm.ARM_CC_INVALID)
    return name[:-2] if conditional and name.endswith(CONDITIONS) else name


def _cycles(instruction: capstone.CsInsn, name: str, loaded: int | None) -> int:
    if name in LOADS:
        pipelined = loaded is not None and loaded not in _address_registers(instruction)
        return (1 if pipelined else 2) + (REFILL if instruction.operands[0].reg == arm.ARM_REG_PC else 0)
    if name in STORES:
        return 2 if loaded is None and _has_index(instruction) else 1
    if name in STACKS or name in MULTIPLES:
        registers = instruction.operands if name in STACKS else instruction.operands[1:]
        return 1 + len(registers) + (REFILL if any(o.reg == arm.ARM_REG_PC for o in registers) else 0)
    return _FIXED.get(name, 1)


_FIXED = {
    **dict.fromkeys(DOUBLES, 3),
    **dict.fromkeys(CALLS, 1 + REFILL),
    **dict.fromkeys(TABLE_BRANCHES, 2 + REFILL),
    **dict.fromkeys(DIVISIONS, DIVISION),
    **dict.fromkeys(SYSTEM, 2),
}
"""Cycles by name; instructions not listed take one."""


def _address_registers(instruction: capstone.CsInsn) -> set[int]:
    memory = [o.mem for o in instruction.operands if o.type == arm.ARM_OP_MEM]
    return {register for m in memory for register in (m.base, m.index) if register}


def _has_index(instruction: capstone.CsInsn) -> bool:
    return any(o.type == arm.ARM_OP_MEM and o.mem.index for o in instruction.operands)
