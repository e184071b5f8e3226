"""An exported library in a program of somebody else's on a Cortex-M: eight lines of main, the C library's own start
code and semihosting, none of our port."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.config import board
from pipeline.core import shell
from pipeline.network import twin
from pipeline.stages import export
from tests.support import tiny
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
    {0x20400000u}, {.handler = reset}, {.handler = fault}, {.handler = fault}};
/* Standard streams are files of the host. */
__attribute__((constructor)) static void redirect(void) {
    if (!freopen("samples", "rb", stdin) || !freopen("answers", "wb", stdout)) abort();
}
"""
PLACES = ("-Wl,--section-start=.vectors=0", "-Wl,-Tdata=0x20000000")
"""The linker has its code at 0x8000; QEMU puts the initial values of variables right into the RAM."""


@pytest.mark.toolchain
@pytest.mark.emulator
@pytest.mark.parametrize("optimization", ["-O0", "-Og", "-O1"])
@pytest.mark.parametrize(("machine", "family"), [("mps2-an385", "swar"), ("mps2-an386", "dsp")])
def test_a_program_of_eight_lines_computes_the_twins_logits(
    machine: str, family: str, optimization: str, tmp_path: Path
) -> None:
    """With the kernels for its core, compiled without a warning, as a debug build too."""
    target = board.load(machine)
    model = tiny.qmodel()
    samples = tiny.samples(model, 5)
    export.export_library(model, target, tmp_path / "library")
    (tmp_path / "main.c").write_text(LOGITS)
    (tmp_path / "platform.c").write_text(PLATFORM)
    (tmp_path / "samples").write_bytes(samples.tobytes())
    sources = sorted((tmp_path / "library" / "src").rglob("*.[cS]"))
    assert LOGITS.count("\n") == 8 and any(family in path.name for path in sources)
    flags = ["-std=c11", optimization, *target.core_flags, *WARNINGS, "-Ilibrary/src", "--specs=rdimon.specs", *PLACES]
    shell.run(["arm-none-eabi-gcc", *flags, "main.c", "platform.c", *sources, "-o", "program.elf"], cwd=tmp_path)
    emulator = ["qemu-system-arm", "-M", machine, "-semihosting", "-nographic", "-monitor", "none"]
    shell.run([*emulator, "-kernel", "program.elf"], cwd=tmp_path, timeout_s=120)
    answers = np.frombuffer((tmp_path / "answers").read_bytes(), np.int8).reshape(len(samples), -1)
    logits = twin.specification(model, samples)[-1]
    assert np.array_equal(answers[:, 1:], logits)
    assert np.array_equal(answers[:, 0], logits.argmax(axis=1))
