from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.codegen import footprint
from pipeline.config import board
from pipeline.config.board import Board, Memory, Region
from pipeline.core import shell
from pipeline.core.errors import ConfigError, FitError, ToolError
from pipeline.core.nouns import Part, Sources
from pipeline.stages import build, flash, render
from tests.support import tiny

HOST = board.load("host")
F405 = board.load("netduinoplus2")


def with_memory(base: Board, flash_bytes: int | None = None, ram_bytes: int | None = None) -> Board:
    """The board with less memory."""
    flash, ram = base.memory.flash, base.memory.ram
    memory = Memory(
        flash=Region(origin=flash.origin, length=flash_bytes or flash.length),
        ram=Region(origin=ram.origin, length=ram_bytes or ram.length),
        stack_bytes=base.memory.stack_bytes,
    )
    return base.model_copy(update={"memory": memory})


def sources_for(chosen: Board, changed: Mapping[str, str] | None = None) -> Sources:
    """The tiny model's project, some files replaced."""
    sources = render.render(tiny.qmodel(), chosen)
    return replace(sources, files={**sources.files, **(changed or {})})


@pytest.mark.toolchain
def test_image_says_what_was_built(tmp_path: Path) -> None:
    sources = sources_for(F405)
    seen: list[tuple[str, int, int]] = []
    image = build.build(
        sources, F405, tmp_path, progress=lambda what, done, total, info: seen.append((what, done, total))
    )
    assert (image.digest, image.board, image.arena_bytes) == (sources.digest, "netduinoplus2", sources.arena_bytes)
    assert image.flash_bytes == (tmp_path / "firmware.bin").stat().st_size == image.weights_bytes + image.code_bytes
    assert image.stack_bytes == F405.memory.stack_bytes
    assert image.sections[".nn"] > 0
    assert Part("flash", ("layers", "model_layers"), 12 * len(tiny.qmodel().layers)) in image.parts
    assert "arm-none-eabi-gcc" in image.compiler
    assert {"-mcpu=cortex-m4", "-O2", "-Werror", "-std=c11"} <= set(image.flags)
    assert not any(str(tmp_path) in flag for flag in image.flags)
    assert [done for what, done, total in seen if (what, total) == ("build", 3)] == [0, 1, 2, 3]


@pytest.mark.toolchain
def test_a_folder_of_any_name_builds_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CMake takes ; $ and \" for syntax, Ninja # and $, compilers a comma: one of each."""
    folder = tmp_path / 'a b,c;d$e"f\\g#h`i|j<k'
    sources = sources_for(HOST)
    image = build.build(sources, HOST, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["firmware.elf", "project"]
    assert (folder / "project" / "CMakeLists.txt").read_text() == sources.files["CMakeLists.txt"]
    assert flash.flash(image, folder, HOST).digest == sources.digest
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with pytest.raises(ConfigError, match="nothing can be built in a folder of temporary files") as caught:
        build.build(sources, HOST, folder)
    assert "TMPDIR" in caught.value.hint


@pytest.mark.toolchain
def test_digest_lies_in_the_image(tmp_path: Path) -> None:
    sources = sources_for(F405)
    build.build(sources, F405, tmp_path)
    assert bytes.fromhex(sources.digest) in (tmp_path / "firmware.bin").read_bytes()


@pytest.mark.toolchain
@pytest.mark.parametrize("name", ["host", "netduinoplus2"])
def test_same_sources_same_bytes_in_any_folder(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CCACHE_DISABLE", "1")  # it would give the first folder's objects to the second
    chosen = board.load(name)
    elves = []
    for folder in (tmp_path / "a", tmp_path / "elsewhere" / "with space"):
        folder.mkdir(parents=True)
        build.build(sources_for(chosen), chosen, folder)
        elves.append((folder / "firmware.elf").read_bytes())
    assert elves[0] == elves[1]
    assert str(tmp_path).encode() not in elves[0]


@pytest.mark.toolchain
def test_no_segment_is_writable_and_executable(tmp_path: Path) -> None:
    build.build(sources_for(F405), F405, tmp_path)
    headers = shell.run(["arm-none-eabi-readelf", "-lW", tmp_path / "firmware.elf"]).output
    flags = re.findall(r"^\s+LOAD(?:\s+0x\w+){5}\s+([RWE ]{3})", headers, re.MULTILINE)
    assert flags
    assert not any("W" in f and "E" in f for f in flags)


def test_a_person_builds_the_project_without_us(tmp_path: Path) -> None:
    """The two commands in the head of its CMakeLists.txt."""
    build.build(sources_for(HOST), HOST, tmp_path)
    project = tmp_path / "project"
    assert not (project / "build").exists()
    assert "cmake -G Ninja -B build && cmake --build build" in (project / "CMakeLists.txt").read_text()
    shell.run(["cmake", "-G", "Ninja", "-B", "build"], cwd=project)
    shell.run(["cmake", "--build", "build"], cwd=project)
    assert (project / "build" / "firmware.elf").stat().st_size > 0


def test_flags_of_the_environment_do_not_reach_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CFLAGS", "-O0 -DSTRANGE")
    image = build.build(sources_for(HOST), HOST, tmp_path)
    assert not {"-O0", "-DSTRANGE"} & set(image.flags)


def test_building_again_replaces_what_was_there(tmp_path: Path) -> None:
    build.build(sources_for(HOST), HOST, tmp_path)
    (tmp_path / "project" / "stale.c").write_text("int stale;")
    build.build(sources_for(HOST), HOST, tmp_path)
    assert not (tmp_path / "project" / "stale.c").exists()


@pytest.mark.parametrize(
    ("small", "words"),
    [
        (with_memory(F405, ram_bytes=4096), "RAM, has 4.0 KiB; largest part: the stack, 2.0 KiB"),
        (
            with_memory(F405, flash_bytes=512),
            "flash, has 512 bytes; largest part: the tables of layer 'main', 231 bytes",
        ),
    ],
)
def test_refused_before_building(tmp_path: Path, small: Board, words: str) -> None:
    with pytest.raises(FitError, match=re.escape(words)) as caught:
        build.build(sources_for(small), small, tmp_path)
    assert str(caught.value).startswith("board 'netduinoplus2': needs at least ")
    assert "tritmcu boards" in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_the_arena_is_named_when_it_is_largest() -> None:
    sources = replace(sources_for(F405), arena_bytes=200 * 1024)
    words = "needs at least 203.2 KiB RAM, has 128.0 KiB; largest part: the activation arena, 200.0 KiB"
    with pytest.raises(FitError, match=re.escape(words)):
        build.check_fit(sources, F405)


@pytest.mark.toolchain
@pytest.mark.parametrize("region", ["flash", "RAM"])
def test_what_only_the_linker_can_know(tmp_path: Path, region: str) -> None:
    """Room for tables and buffers, but not for the code and variables on top: exact, from the linker."""
    measured = footprint.read(_built_elf(tmp_path / "whole"), sources_for(F405))
    flash, ram = measured.flash_bytes, measured.ram_bytes + measured.stack_bytes
    small = with_memory(F405, flash_bytes=flash - 8) if region == "flash" else with_memory(F405, ram_bytes=ram - 8)
    needed = flash if region == "flash" else ram
    part = "the code" if region == "flash" else "the stack"
    with pytest.raises(FitError, match=f"needs {needed} bytes {region}, has {needed - 8} bytes; largest part: {part}"):
        build.build(sources_for(small), small, tmp_path)
    exact = with_memory(F405, flash_bytes=flash, ram_bytes=ram)
    build.build(sources_for(exact), exact, tmp_path)


def _built_elf(folder: Path) -> Path:
    folder.mkdir()
    return folder / build.build(sources_for(F405), F405, folder).elf


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("int main(void) { return x; }", "undeclared"),
        ("int main(void) { int unused; return 0; }", "unused variable"),
        ('int main(void) { __asm("nonsense"); return 0; }', "Error: .*nonsense"),  # the assembler's
    ],
)
def test_compiler_says_no(tmp_path: Path, text: str, words: str) -> None:
    """Warnings are errors; the compiler's own line is in the message, the folder, which is gone by then, is not."""
    with pytest.raises(ToolError, match=words) as caught:
        build.build(sources_for(HOST, {"app/main.c": text + "\n"}), HOST, tmp_path)
    assert "app/main.c:1" in str(caught.value)
    assert str(tmp_path) not in f"{caught.value} {caught.value.hint}"
    assert "tritmcu export --board host --format cmake" in caught.value.hint
    assert not (tmp_path / "firmware.elf").exists()


@pytest.mark.toolchain
def test_linker_says_no(tmp_path: Path) -> None:
    """In its own words, not in those of the compiler that started it."""
    ram = F405.memory.ram.model_copy(update={"origin": F405.memory.ram.origin + 4})
    shifted = F405.model_copy(update={"memory": F405.memory.model_copy(update={"ram": ram})})
    with pytest.raises(ToolError, match=r"does not build: the stack must lie at the bottom of the RAM$"):
        build.build(sources_for(shifted), shifted, tmp_path)


@pytest.mark.parametrize("missing", ["cmake", "ninja", "arm-none-eabi-gcc"])
def test_missing_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for program in {"cmake", "ninja", "arm-none-eabi-gcc"} - {missing}:
        (programs / program).symlink_to(shell.find("true") or os.devnull)
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(ToolError, match=f"{missing} is not installed") as caught:
        build.build(sources_for(F405), F405, tmp_path / "out")
    assert caught.value.hint.startswith("sudo apt-get install")
