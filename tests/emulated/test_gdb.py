"""A debugger loads the image: every section lies where the ELF says, and what was loaded runs."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from pipeline.config import board
from pipeline.core import registry, shell
from pipeline.device.session import Session
from pipeline.stages import build, render
from tests.support import tiny

GDB = "gdb-multiarch"
COMPARE = "compare-sections -r"
PATIENCE_S = 60
"""How long the debugger waits for an answer of the emulator."""
EMULATED = [name for name in board.names() if board.load(name).runner == "qemu"]
pytestmark = [
    pytest.mark.toolchain,
    pytest.mark.emulator,
    pytest.mark.skipif(shell.find(GDB) is None, reason=f"{GDB} is not installed: {shell.install_hint(GDB)}"),
]


def debugger(socket: Path, elf: Path, *commands: str) -> str:
    """Output of gdb with the program `elf` at the emulator that listens at `socket`."""
    patience = f"set remotetimeout {PATIENCE_S}"  # gdb gives up after two seconds, which a busy computer may need
    steps = (patience, f"target extended-remote {socket}", *commands)
    words = [word for step in steps for word in ("-ex", step)]
    return shell.run([GDB, "-nx", "-batch", *words, elf], timeout_s=2 * PATIENCE_S).output


@pytest.mark.parametrize("name", EMULATED)
def test_load_compare_run(name: str, tmp_path: Path) -> None:
    """The emulator starts halted with an older firmware; gdb replaces it, compares, and lets it run."""
    target = board.load(name)
    old, new = tmp_path / "old", tmp_path / "new"
    build.build(render.render(tiny.qmodel(1), target), target, old)
    image = build.build(render.render(tiny.qmodel(2), target), target, new)
    socket, elf = tmp_path / "gdb", new / "firmware.elf"
    assert target.emulator is not None
    halted = (*target.emulator.arguments, "-S", "-gdb", f"unix:{socket},server=on,wait=off")
    waiting = target.model_copy(update={"emulator": target.emulator.model_copy(update={"arguments": halted})})
    attach, links = registry.load("runners", "qemu").attach, registry.load("links", "tcp")
    with attach(waiting, old) as place, closing(links.open_link(waiting, place)) as link:
        # One session: a debugger that leaves lets the older firmware run, perhaps into an interrupt handler.
        text = debugger(socket, elf, COMPARE, "load", COMPARE, *start(target.memory.flash.origin), "detach")
        before, after = text.split("Loading section", 1)
        assert "MIS-MATCHED" in before, "another firmware is there"
        sections = [line for line in after.splitlines() if line.startswith("Section ")]
        assert len(sections) >= 2
        assert all(line.endswith(": matched.") for line in sections), after
        assert Session(link).hello().digest == image.digest


def start(flash: int) -> list[str]:
    """What a reset does: stack pointer and program counter come from the vector table."""
    return [f"set $sp = *(unsigned *){flash:#x}", f"set $pc = *(unsigned *){flash + 4:#x}"]
