"""Every flash byte has an owner, on a real image and on a program that no linker script of ours has sorted."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.codegen import footprint
from pipeline.config import board
from pipeline.core import shell
from pipeline.core.errors import ToolError
from pipeline.core.nouns import Image, Sources
from pipeline.stages import build, render
from tests.support import tiny

NO_SOURCES = Sources({}, "", "host", "", 0, ())
PROGRAM = """
    .syntax unified
    .thumb
    .text
    .globl first, second, alias, label
    .type first, %function
    .type second, %object
    .type alias, %object
first: nop
    .size first, 2
    .balign 4
second:
alias: .word 1
    .size second, 4
    .size alias, 4
    .word 2, 3, 4
label: .word 5, 6
    .data
    .globl variable
    .type variable, %object
variable: .word 7
    .size variable, 4
"""
"""Functions, variables and labels as an assembler leaves them."""
LAYERS = [layer.name for layer in tiny.qmodel().layers]


@pytest.fixture(scope="module", params=["host", pytest.param("netduinoplus2", marks=pytest.mark.toolchain)])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Sources, Image, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    chosen = board.load(request.param)
    sources = render.render(tiny.qmodel(), chosen)
    return sources, build.build(sources, chosen, folder), folder / "firmware.elf"


def test_every_byte_has_one_owner(built: tuple[Sources, Image, Path]) -> None:
    _, image, _ = built
    sums = {memory: sum(part.size for part in image.parts if part.memory == memory) for memory in ("flash", "RAM")}
    assert sums == {"flash": image.flash_bytes, "RAM": image.ram_bytes + image.stack_bytes}
    assert min(part.size for part in image.parts) > 0
    assert sum(image.footprint.values()) == image.flash_bytes


def test_layer_tables_are_those_that_were_rendered(built: tuple[Sources, Image, Path]) -> None:
    sources, image, _ = built
    in_image = {name: image.footprint.get(f"layer {name}", 0) for name in LAYERS}
    assert in_image == dict(sources.layer_table_bytes)
    assert image.weights_bytes == sum(in_image.values()) > 0


def test_parts_are_found_under_what_they_belong_to(built: tuple[Sources, Image, Path]) -> None:
    sources, image, _ = built
    paths = {part.path for part in image.parts}
    assert ("layers", "main", "tables", "filter") in paths
    assert ("layers", "main", "call", "function") in paths
    for layer in sources.layers:
        assert layer.kernel is None or ("kernels", layer.kernel) in paths
    assert ("link", "frame_decode") in paths
    arena = {part.path[2]: part.size for part in image.parts if part.path[:2] == ("arena", "activations and scratch")}
    assert arena == sources.arena_contents
    assert sum(arena.values()) == sources.arena_bytes
    assert ("link", "link.c: buffer") in {part.path for part in image.parts if part.memory == "RAM"}


@pytest.mark.toolchain
def test_gaps_and_labels(tmp_path: Path) -> None:
    """A gap below the alignment is padding; a longer one is unnamed; labels without a size share the code after them;
    of two names for the same bytes one has them."""
    (tmp_path / "a.S").write_text(PROGRAM)
    script = "SECTIONS { .nn 0x100 : { *(.text) } .data 0x20000000 : AT(0x400) { *(.data) } }"
    (tmp_path / "a.ld").write_text(script)
    tools = ("arm-none-eabi-gcc", "-mcpu=cortex-m4", "-nostdlib", "-Wl,-n,-T,a.ld,-e,first", "a.S", "-o", "a.elf")
    shell.run(list(tools), cwd=tmp_path)
    found = footprint.read(tmp_path / "a.elf", NO_SOURCES)
    assert [(part.memory, part.path, part.size) for part in found.parts] == [
        ("flash", ("kernels", "first"), 2),
        ("flash", ("kernels", "padding"), 2),
        ("flash", ("kernels", "alias"), 4),
        ("flash", ("kernels", "unnamed"), 12),
        ("flash", ("kernels", "label"), 8),
        ("flash", ("initial values", "variable"), 4),
        ("RAM", ("other variables", "variable"), 4),
        ("flash", ("padding", "between sections"), 0x400 - 0x100 - 28),
    ]


@pytest.mark.toolchain
def test_ram_is_what_binutils_say(tmp_path: Path) -> None:
    """Independent witnesses: size and nm."""
    chosen = board.load("mps2-an386")
    image = build.build(render.render(tiny.qmodel(), chosen), chosen, tmp_path)
    size = shell.run(["arm-none-eabi-size", "-A", tmp_path / image.elf]).output
    rows = (line.split() for line in size.splitlines() if line.startswith("."))
    sections = {name: int(bytes_) for name, bytes_, _address in rows}
    assert image.ram_bytes == sections[".data"] + sections[".bss"]
    assert image.stack_bytes == sections[".stack"] == chosen.memory.stack_bytes
    symbols = shell.run(["arm-none-eabi-nm", "-S", tmp_path / image.elf]).output
    arena = next(int(line.split()[1], 16) for line in symbols.splitlines() if line.endswith(" memory"))
    owned = sum(part.size for part in image.parts if part.path[0] == "arena")
    assert owned == arena > image.arena_bytes


def test_no_elf(tmp_path: Path) -> None:
    for name, content in (("missing", None), ("empty", b""), ("text", b"not an ELF"), ("cut", b"\x7fELF\x01\x01\x01")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ToolError, match=name) as caught:
            footprint.read(tmp_path / name, NO_SOURCES)
        assert "tritmcu build" in caught.value.hint
