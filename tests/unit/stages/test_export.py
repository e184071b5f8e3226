"""What `tritmcu export` writes is what the other tools take: the same sources, the same digest, and it compiles."""

from __future__ import annotations

import configparser
import re
import shlex
from pathlib import Path

import pytest

from pipeline.codegen import arduino, footprint
from pipeline.config import board
from pipeline.core import shell
from pipeline.core.errors import ConfigError, FitError, PipelineError, ToolError
from pipeline.core.nouns import Sources
from pipeline.stages import build, export, render
from tests.support import tiny

MODEL = tiny.qmodel()
BOARDS = [board.load(name) for name in board.names()]
ARDUINO = [b for b in BOARDS if b.is_arduino]
BARE_METAL_PLATFORMIO = [b for b in BOARDS if b.platformio and not b.is_arduino]
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")


def exported(target: board.Board, folder: Path, form: str) -> tuple[Sources, str]:
    sources = render.render(MODEL, target)
    return sources, export.export(sources, target, MODEL.name, folder, form)


def named(b: board.Board) -> str:
    return b.name


def test_cmake_is_the_project_as_it_is_built_here(tmp_path: Path) -> None:
    for name, toolchain in (("host", False), ("netduinoplus2", True), ("uno", True)):
        folder = tmp_path / name
        sources, command = exported(board.load(name), folder, "cmake")
        written = {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}
        assert written == sources.files
        assert ("toolchain.cmake" in command) == toolchain


@pytest.mark.parametrize("target", ARDUINO, ids=named)
def test_an_arduino_library(target: board.Board, tmp_path: Path) -> None:
    """Every source file once, side by side; the sketch finds the library by its header; the digest stays the same."""
    sources, command = exported(target, tmp_path, "arduino")
    code = {p.name for p in (tmp_path / "src").iterdir()}
    wanted = {Path(f).name for f in sources.files if f.endswith((".c", ".cpp", ".h", ".S"))} - {"sketch.cpp"}
    assert code == wanted | {"tritmcu_tiny.h"}
    assert not {"main.c", "startup.c"} & code
    digits = re.findall("0x([0-9a-f]{2})", (tmp_path / "src" / "build_id.h").read_text())
    assert "".join(digits) == sources.digest
    for path in (tmp_path / "src").iterdir():
        for header in re.findall(r'#include "([^"]+)"', path.read_text()):
            assert header in code, f"{path.name} includes {header}"
    sketch = (tmp_path / "examples" / "serve" / "serve.ino").read_text()
    assert "#include <tritmcu_tiny.h>" in sketch
    assert "void setup()" in sketch and "void loop()" in sketch
    assert f"--fqbn {target.fqbn} " in command
    assert f"--fqbn {target.fqbn} " in (tmp_path / "README.md").read_text()


@pytest.mark.toolchain
@pytest.mark.parametrize("target", [b for b in ARDUINO if not b.is_avr], ids=named)
def test_the_c_files_compile_for_the_core(target: board.Board, tmp_path: Path) -> None:
    """With the C dialect of Arduino's Arm cores; the C++ file, which needs the core itself, is compiled for AVR."""
    exported(target, tmp_path, "arduino")
    sources = sorted(p.name for p in (tmp_path / "src").glob("*.[cS]"))
    flags = ("-std=gnu11", "-Os", *target.core_flags, *WARNINGS)
    shell.run(["arm-none-eabi-gcc", *flags, "-c", *sources], cwd=tmp_path / "src")


def test_odd_model_names_become_library_names() -> None:
    assert arduino.library_name("digits-2 (Übung)") == "tritmcu_digits_2___bung_"


@pytest.mark.parametrize("name", ["uno", "portenta-h7"])
def test_platformio_with_the_arduino_framework(name: str, tmp_path: Path) -> None:
    target = board.load(name)
    sources, command = exported(target, tmp_path, "platformio")
    assert command == "pio run"
    section = settings(tmp_path)[f"env:{name}"]
    assert target.platformio is not None
    assert (section["platform"], section["board"]) == (target.platformio.platform, target.platformio.board)
    assert section["framework"] == "arduino"
    assert (tmp_path / "src" / "main.cpp").read_text() == arduino.sketch(sources, MODEL.name)
    library = tmp_path / "lib" / "tritmcu_tiny"
    assert (library / "src" / "model.c").read_text() == sources.files["generated/model.c"]
    assert not (library / "examples").exists(), "PlatformIO would not build it, a reader would wonder"


def settings(folder: Path) -> configparser.ConfigParser:
    """platformio.ini; PlatformIO reads it as Python's configparser does, without interpolation."""
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=("#", ";"))
    parser.read(folder / "platformio.ini")
    return parser


@pytest.mark.toolchain
@pytest.mark.parametrize("target", BARE_METAL_PLATFORMIO, ids=named)
def test_platformio_without_a_framework(target: board.Board, tmp_path: Path) -> None:
    """Its flags, all sources below src and the linker script make a firmware that starts at the start of the flash."""
    sources, _ = exported(target, tmp_path, "platformio")
    section = settings(tmp_path)[f"env:{target.name}"]
    assert "framework" not in section
    flags = shlex.split(section["build_flags"])
    script = section["board_build.ldscript"]
    files = [str(p.relative_to(tmp_path)) for p in (tmp_path / "src").rglob("*.[cS]")]
    assert {f"src/{path}" for path in sources.files if path.endswith((".c", ".S"))} == set(files)
    assert section["extra_scripts"] == "pre:no_startfiles.py"
    link = re.search(r'LINKFLAGS=\["(.*)"\]', (tmp_path / "no_startfiles.py").read_text())
    assert link is not None
    # What PlatformIO adds by itself: the core, without its FPU; for a SAMD21 also the small C library.
    adds = [*target.core_flags[:2]]
    if target.platformio and target.platformio.platform == "atmelsam":
        adds += ["--specs=nosys.specs", "--specs=nano.specs"]
    command = ["arm-none-eabi-gcc", *adds, *flags, link[1], "-T", script, *sorted(files), "-o", "firmware.elf"]
    shell.run(command, cwd=tmp_path)
    elf = footprint.read(tmp_path / "firmware.elf", sources)
    assert elf.sections[".vectors"] > 0
    assert elf.flash_bytes < target.memory.flash.length


@pytest.mark.parametrize(
    ("name", "form", "says"),
    [
        ("uno", "cmak", "unknown format 'cmak'; did you mean 'cmake'"),
        ("netduinoplus2", "arduino", "its firmware is bare metal"),
        ("due", "cmake", "only the tools of its Arduino core"),
        ("mps2-an385", "platformio", "does not say what PlatformIO calls it"),
        ("pico", "platformio", "'pico': its ROM starts only what has a checksum, which CMake computes"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_nothing_is_written(
    name: str, form: str, says: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        exported(board.load(name), tmp_path / "out", form)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", export.FORMATS)
def test_a_folder_that_no_tool_could_build_in_is_refused(form: str, tmp_path: Path) -> None:
    """Before any work: the command line calls check first. Spaces and letters of any language are read by all."""
    export.check(tmp_path / "zwölf = @home~ +1", form)
    for odd in ",;$\"\\'#{\n\udcff":
        with pytest.raises(ConfigError, match=re.escape(f"a path with {odd!r}")) as caught:
            export.check(tmp_path / f"a{odd}b", form)
        assert "--output" in caught.value.hint


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(ConfigError, match="not empty"):
        exported(board.load("uno"), tmp_path, "arduino")
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_without_arduino_cli_there_is_the_ide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "find", lambda program: None)
    target = board.load("due")
    with pytest.raises(ToolError, match="takes arduino-cli, which is not installed") as caught:
        build.build(render.render(MODEL, target), target, tmp_path)
    assert "tritmcu export --board due --format arduino" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("output", "error", "says"),
    [
        ("Error during build: Platform 'arduino:sam' not found: platform not installed", ToolError, "core install"),
        ("src/app.c:3:1: error: no such thing", ToolError, "no such thing"),
        ("Sketch too big; see the FAQ\nError during build: text section exceeds", FitError, "Sketch too big"),
    ],
)
def test_what_arduino_cli_refuses(output: str, error: type[PipelineError], says: str) -> None:
    refused = arduino._refused(output, board.load("due"))
    assert isinstance(refused, error)
    assert says in f"{refused} {refused.hint}"
