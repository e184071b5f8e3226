"""The exported Arduino library on Arm cores: its sketch, on an Arduino core small enough to live here (arduino_core),
runs in QEMU on the very core of each board. What a board's own core does differently is not proven by this."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.config import board
from pipeline.config.board import Board, Emulator
from pipeline.core import shell
from pipeline.device import session
from pipeline.stages import export, render
from tests.emulated.test_avr import assert_bit_exact
from tests.support import tiny

CORE = Path(__file__).with_name("arduino_core")
BOARDS = [b for b in map(board.load, board.names()) if b.is_arduino and not b.is_avr]
WARNINGS = ("-Wall", "-Wextra", "-Wshadow", "-Werror")
pytestmark = [pytest.mark.toolchain, pytest.mark.emulator]


class Machine(NamedTuple):
    """A machine of QEMU 7.2, and where its memory, UART 0, timer 0 and the UART's receive interrupt are."""

    name: str
    flash: int = 0
    ram: int = 0x20000000
    uart: int = 0x40004000
    timer: int = 0x40000000
    irq: int = 0
    clock_hz: int = 25_000_000


MACHINES = {
    "cortex-m0plus": Machine("mps2-an385"),  # Armv7-M executes all of Armv6-M
    "cortex-m3": Machine("mps2-an385"),
    "cortex-m4f": Machine("mps2-an386"),
    "cortex-m7d": Machine("mps2-an500"),
    "cortex-m33f": Machine("mps2-an505", 0x10000000, 0x38000000, 0x50200000, 0x50000000, 32, 20_000_000),
}


def build_sketch(library: Path, target: Board, machine: Machine, out: Path) -> None:
    """out/firmware.elf: library, sketch and core, each language compiled as Arduino's Arm cores do."""
    source = library / "src"
    flags = [*target.core_flags, "-Os", "-ffunction-sections", "-fdata-sections", *WARNINGS, f"-I{source}", f"-I{CORE}"]
    flags += [f"-DMPS2_UART={machine.uart:#x}U", f"-DMPS2_TIMER={machine.timer:#x}U", f"-DMPS2_IRQ={machine.irq}U"]
    flags += [f"-DMPS2_CLOCK_HZ={machine.clock_hz}U", "-c"]
    flags += ['-DBOARD_NAME="THE_CORES_OWN"']  # as the STM32 Arduino core does
    plus = ["-std=gnu++11", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics"]
    sketch = library / "examples" / "serve" / "serve.ino"
    shell.run(["arm-none-eabi-gcc", *flags, "-std=gnu11", *sorted(source.glob("*.[cS]"))], cwd=out)
    shell.run(
        ["arm-none-eabi-g++", *flags, *plus, *source.glob("*.cpp"), CORE / "mps2.cpp", "-x", "c++", sketch], cwd=out
    )
    places = [f"-Wl,--defsym=flash_origin={machine.flash:#x}", f"-Wl,--defsym=ram_origin={machine.ram:#x}"]
    link = ["-nostartfiles", "-Wl,--gc-sections", "-Wl,--fatal-warnings", *places, "-T", CORE / "link.ld"]
    shell.run(["arm-none-eabi-gcc", *target.core_flags, *link, *out.glob("*.o"), "-o", out / "firmware.elf"])


@pytest.mark.parametrize("target", BOARDS, ids=lambda b: b.name)
def test_the_exported_sketch_runs_on_the_core_of_the_board(target: Board, tmp_path: Path) -> None:
    model, machine = tiny.qmodel(), MACHINES[target.core]
    sources = render.render(model, target)
    export.export(sources, target, model.name, tmp_path / "library", "arduino")
    out = tmp_path / "out"
    out.mkdir()
    build_sketch(tmp_path / "library", target, machine, out)
    emulator = Emulator(machine=machine.name, arguments=("-icount", "shift=7,sleep=off"))
    link = target.link.model_copy(update={"kind": "tcp"})
    emulated = target.model_copy(update={"runner": "qemu", "link": link, "emulator": emulator})
    with session.connect(emulated, out) as device:
        info = device.hello()
        session.check_identity(info, sources.digest, target)
        assert (info.tick_unit, info.tick_hz) == ("us", 1_000_000), "QEMU has no cycle counter: micros() serves"
        assert_bit_exact(device, model, tiny.samples(model, 2))
        assert device.run_sample(bytes(64)).ticks > 0
        device.reset()
        device.hello()
        assert device.stats()["arena_touched"] == 0
