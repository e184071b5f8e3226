"""An exported library in a program of somebody else's on a Cortex-M: eight lines of main, the C library's own start
code and semihosting, none of our port."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import board
from pipeline.config.board import Board
from pipeline.core import shell
from pipeline.core.nouns import QModel
from pipeline.network import twin
from pipeline.stages import export
from tests.emulated.test_kernels import CORES
from tests.support import networks, single, tiny
from tests.unit.stages.test_export_library import LOGITS, WARNINGS

PLATFORM = """#include <stdio.h>
#include <stdlib.h>
extern void _start(void);
static void reset(void) {
    *(volatile unsigned *)0xE000ED88 = 0xFu << 20; /* CPACR: the FPU may be used */
    _start();
}
static void fault(void) { abort(); }
typedef union { unsigned stack; void (*handler)(void); } vector;
__attribute__((section(".vectors"), used)) static const vector vectors[] = {
    {STACKu}, {.handler = reset}, {.handler = fault}, {.handler = fault}};
/* Standard streams are files of the host. */
__attribute__((constructor)) static void redirect(void) {
    if (!freopen("samples", "rb", stdin) || !freopen("answers", "wb", stdout)) abort();
}
"""
PLACES = ("-Wl,--section-start=.vectors=0", "-Wl,-Tdata=0x20000000")
"""The linker has its code at 0x8000; QEMU puts the initial values of variables right into the RAM."""


GCC = "arm-none-eabi-gcc"


def assert_same_logits(model: QModel, target: Board, folder: Path, compile_with: Sequence[str | Path]) -> None:
    """A program of eight lines, the network's library and everything else compiled so, without a warning, and linked
    by GCC: its answers in the emulator are those of the twin."""
    model = replace(model, name="tiny")
    samples = tiny.samples(model, 5)
    export.export_library(model, target, folder / "library")
    (folder / "main.c").write_text(LOGITS)
    (folder / "platform.c").write_text(PLATFORM.replace("STACK", hex(target.memory.ram.end)))
    (folder / "samples").write_bytes(samples.tobytes())
    sources = sorted((folder / "library" / "src").rglob("*.[cS]"))
    flags = ["-std=c11", *target.core_flags, *WARNINGS, "-Ilibrary/src"]
    shell.run([*compile_with, *flags, "-c", "main.c", "platform.c", *sources], cwd=folder)
    link = [GCC, *target.core_flags, "--specs=rdimon.specs", *PLACES]
    shell.run([*link, *sorted(folder.glob("*.o")), "-o", "program.elf"], cwd=folder)
    assert target.emulator is not None
    emulator = ["qemu-system-arm", "-M", target.emulator.machine, "-semihosting", "-nographic", "-monitor", "none"]
    shell.run([*emulator, "-kernel", "program.elf"], cwd=folder, timeout_s=120)
    answers = np.frombuffer((folder / "answers").read_bytes(), np.int8).reshape(len(samples), -1)
    logits = twin.specification(model, samples)[-1]
    assert np.array_equal(answers[:, 1:], logits)
    assert np.array_equal(answers[:, 0], logits.argmax(axis=1))


@pytest.mark.toolchain
@pytest.mark.emulator
@pytest.mark.parametrize("optimization", ["-O0", "-Og", "-O1"])
@pytest.mark.parametrize(("machine", "family"), [("mps2-an385", "swar"), ("mps2-an386", "dsp")])
def test_a_program_of_eight_lines_computes_the_twins_logits(
    machine: str, family: str, optimization: str, tmp_path: Path
) -> None:
    """With the kernels for its core, compiled without a warning, as a debug build too."""
    assert_same_logits(tiny.qmodel(), board.load(machine), tmp_path, [GCC, optimization])
    assert LOGITS.count("\n") == 8 and any((tmp_path / "library" / "src" / "nn").glob(f"*_{family}.c"))


def clang() -> list[str | Path]:
    """Clang for a Cortex-M with the C library of GCC; the test is skipped where there is none."""
    if shell.find("clang") is None:
        pytest.skip(f"clang is not installed: {shell.install_hint('clang')}")
    if " arm " not in shell.run(["clang", "--print-targets"]).output:
        pytest.skip("clang was built without code for Arm")
    c_library = Path(shell.run([GCC, "-print-file-name=libc.a"]).output.strip()).resolve().parent.parent
    return ["clang", "--target=arm-none-eabi", "-isystem", c_library / "include"]


@pytest.mark.toolchain
@pytest.mark.emulator
@pytest.mark.parametrize(
    ("core", "optimization"), [*((core, "-O2") for core in CORES), ("cortex-m4f", "-O0"), ("cortex-m55", "-O0")]
)
def test_clang_makes_of_it_what_gcc_does(core: str, optimization: str, tmp_path: Path) -> None:
    """C and assembly of every family of kernels, with weights of 2, 3, 4 and 8 bits."""
    model = networks.every_kind(17)
    assert {layer.weight_bits for layer in model.layers if layer.weights is not None} == {2, 3, 4, 8}
    assert_same_logits(model, CORES[core], tmp_path, [*clang(), optimization])


@pytest.mark.toolchain
@pytest.mark.emulator
def test_clang_stores_the_sums_of_a_last_pair_of_rows(tmp_path: Path) -> None:
    """Clang 14 joined stores of upper registers to an STM without a register."""
    dense = single.layer(single.Geometry("dense", (1, 1, 18), 6), np.random.default_rng(0), bits=8)
    model = single.model([dense], (1, 1, 18), 5)
    assert_same_logits(model, CORES["cortex-m0"], tmp_path, [*clang(), "-O2"])
    assert "nn_dense_s_swar(" in (tmp_path / "library" / "src" / "tiny_model.c").read_text()
