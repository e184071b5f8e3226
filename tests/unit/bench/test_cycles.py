"""The cycle model of the bench against counts by hand, from the timings of the Cortex-M4's manual."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from bench import cycles
from bench.cycles import BlockCost
from pipeline.core import shell

pytestmark = pytest.mark.toolchain
Cost = Callable[[str], BlockCost]


@pytest.fixture
def cost(tmp_path: Path) -> Cost:
    """The cost of a block of assembly."""

    def of(source: str) -> BlockCost:
        (tmp_path / "block.s").write_text(f".syntax unified\n.thumb\n{source}\n")
        shell.run(["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-c", tmp_path / "block.s", "-o", tmp_path / "block.o"])
        with (tmp_path / "block.o").open("rb") as file:
            code = ELFFile(file).get_section_by_name(".text").data()
        return cycles.block_cost(cycles.disassembler().disasm(code, 0))

    return of


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("add r0, r1; smlad r0, r1, r2, r0; and r3, r4, r5, ror #8; ssat r0, #8, r0", 4),
        ("smmlar r0, r1, r2, r3; mla r0, r1, r2, r3; smull r0, r1, r2, r3", 3),
        ("ldr r0, [r1]", 2),
        ("ldr r0, [r1]; ldr r2, [r3]; ldrb r4, [r5]", 2 + 1 + 1),
        ("ldr r0, [r1]; ldr r2, [r0]", 2 + 2),
        ("ldr r0, [r1]; ldr r2, [r3, r0]", 2 + 2),
        ("ldr r0, [r1]; add r2, r2; ldr r3, [r4]", 2 + 1 + 2),
        ("ldr r0, [r1], #4; ldrsb r2, [r3, #1]", 2 + 1),
        ("str r0, [r1]; strb r2, [r3, #1]!", 2),
        ("str r0, [r1, r2]", 2),
        ("ldrd r0, r1, [r2]", 3),
        ("ldmia r0!, {r1, r2, r3, r4}", 5),
        ("push {r4, r5, r6, lr}", 5),
        ("pop {r4, r5, r6, pc}", 5 + cycles.REFILL),
        ("bx lr", 1 + cycles.REFILL),
        ("sdiv r0, r1, r2", cycles.DIVISION),
        ("it ne; ldrbne r0, [r1]", 1 + 2),
    ],
)
def test_cycles_as_counted_by_hand(cost: Cost, source: str, expected: int) -> None:
    assert cost(source).cycles == expected


def test_a_branch_costs_more_when_it_is_taken(cost: Cost) -> None:
    assert cost("1: subs r0, #1; bne 1b") == BlockCost(2, 2, cycles.REFILL)
    assert cost("cbz r0, 1f; 1: nop") == BlockCost(2, 2, 0), "it does not end with the branch"


def test_the_inner_loop_of_the_field_packed_convolution(cost: Cost) -> None:
    """48 multiply-accumulates: 7 loads in two bursts, 4 decodes, 12 SMLAD: 25 cycles."""
    burst = "ldr r0, [r5]; ldr r1, [r5, #36]; ldr r2, [r5, #72]"
    use = "and r4, r6, r3, ror #4; smlad r7, r0, r4, r7; smlad r8, r1, r4, r8; smlad r9, r2, r4, r9"
    block = cost(f"ldr r3, [r12], #4; {burst}; {use}; {use}; {burst}; {use}; {use}")
    assert block == BlockCost(23, 25, 0)
