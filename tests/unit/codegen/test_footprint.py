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

LAYERS = [layer.name for layer in tiny.qmodel().layers]


@pytest.fixture(scope="module", params=["host", pytest.param("netduinoplus2", marks=pytest.mark.toolchain)])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Sources, Image, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    chosen = board.load(request.param)
    sources = render.render(tiny.qmodel(), chosen)
    return sources, build.build(sources, chosen, folder), folder / "firmware.elf"


def test_groups_add_up_to_the_byte(built: tuple[Sources, Image, Path]) -> None:
    _, image, elf = built
    groups = footprint.attribute(footprint.read(elf), LAYERS)
    assert sum(groups.values()) == image.flash_bytes
    assert min(groups.values()) > 0


def test_layer_tables_are_those_that_were_rendered(built: tuple[Sources, Image, Path]) -> None:
    sources, image, elf = built
    groups = footprint.attribute(footprint.read(elf), LAYERS)
    in_image = {name: groups.get(f"layer {name}", 0) for name in LAYERS}
    assert in_image == dict(sources.layer_table_bytes)
    assert image.weights_bytes == sum(in_image.values()) > 0


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
    assert image.symbols["memory"] == arena > image.arena_bytes


def test_no_elf(tmp_path: Path) -> None:
    for name, content in (("missing", None), ("empty", b""), ("text", b"not an ELF"), ("cut", b"\x7fELF\x01\x01\x01")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ToolError, match=name) as caught:
            footprint.read(tmp_path / name)
        assert "tritmcu build" in caught.value.hint
