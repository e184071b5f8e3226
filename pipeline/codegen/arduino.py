"""A firmware project as an Arduino library: what the Arduino IDE, arduino-cli and PlatformIO compile."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from pipeline import __version__
from pipeline.config.board import Board
from pipeline.core import shell, templates
from pipeline.core.errors import ConfigError, FitError, PipelineError, ToolError
from pipeline.core.nouns import Sources

SKETCH = "port/arduino/sketch.cpp"
EXAMPLE = "examples/serve/serve.ino"
CLI = "arduino-cli"
OUTPUTS = ("elf", "bin", "hex")
_SUFFIXES = (".c", ".cpp", ".h", ".S")


def require(board: Board) -> None:
    """ConfigError when the board's firmware does not run on an Arduino core."""
    if not board.is_arduino:
        raise ConfigError(
            f"board {board.name!r}: its firmware is bare metal, port {board.port!r}, no Arduino sketch",
            f'{export_command(board, "cmake")}; or a board whose file says port = "arduino"',
        )


def export_command(board: Board, form: str) -> str:
    """The command line that exports a network for the board in the format `form`, for hints."""
    return f"tritmcu export JOB --board {board.name} --format {form} --output DIR"


def library_name(model: str) -> str:
    """Name of the library: letters, digits and underscores."""
    return "tritmcu_" + re.sub(r"\W", "_", model, flags=re.ASCII)


def library(sources: Sources, board: Board, model: str) -> dict[str, str]:
    """Text by path in the library's folder: library.properties, README.md, all code side by side in src (the only place
    where the Arduino tools look for headers) and the sketch as an example. The firmware's digest stays the same."""
    require(board)
    name = library_name(model)
    context = {"board": board, "sources": sources, "name": name, "model": model, "version": __version__}
    environment = templates.environment()

    def rendered(template: str) -> str:
        return environment.get_template(template).render(context)

    return {
        "library.properties": rendered("arduino_library.properties.j2"),
        "README.md": rendered("arduino_readme.md.j2"),
        f"src/{name}.h": rendered("arduino_header.h.j2"),
        **{f"src/{PurePosixPath(path).name}": text for path, text in _code(sources).items()},
        EXAMPLE: sketch(sources, model),
    }


def sketch(sources: Sources, model: str) -> str:
    """The sketch, with the library's header: by it the Arduino tools find the library."""
    return sources.files[SKETCH].replace('#include "app.h"', f"#include <{library_name(model)}.h>")


def _code(sources: Sources) -> dict[str, str]:
    """Every source file but the sketch. Their names differ, so they may lie in one folder."""
    code = {path: text for path, text in sources.files.items() if path.endswith(_SUFFIXES) and path != SKETCH}
    assert len({PurePosixPath(path).name.lower() for path in code}) == len(code), "two files of one name"
    return code


def require_cli(board: Board) -> None:
    """ToolError when arduino-cli is missing, ConfigError when nobody has said what it calls the board."""
    if not board.fqbn:
        raise ConfigError(
            f"board {board.name!r}: its file does not say what the Arduino tools call it",
            f'see arduino-cli board listall; add arduino_cli = {{ fqbn = "..." }} to [flashing] of {board.name}.toml',
        )
    if shell.find(CLI) is None:
        raise ToolError(
            f"board {board.name!r}: building for it takes {CLI}, which is not installed",
            f"{shell.install_hint(CLI)}; or, for the Arduino IDE, {export_command(board, 'arduino')}",
        )


def cli_version() -> str:
    """First line of arduino-cli's version."""
    return shell.run([CLI, "version"]).output.splitlines()[0]


def compile_sketch(library: Path, board: Board, out: Path) -> dict[str, Path]:
    """Path by suffix of what arduino-cli makes of the library's sketch in `out`: elf, and bin or hex as the core does.

    ToolError when the core is missing or the compiler refuses, FitError when the program is too large.
    """
    sketch = library / PurePosixPath(EXAMPLE).parent
    options = ["--fqbn", board.fqbn, "--library", str(library), "--output-dir", str(out)]
    result = shell.run([CLI, "compile", *options, sketch], check=False)
    if result.returncode != 0:
        raise _refused(result.output, board)
    files = {suffix: out / f"{PurePosixPath(EXAMPLE).name}.{suffix}" for suffix in OUTPUTS}
    return {suffix: path for suffix, path in files.items() if path.exists()}


def _refused(output: str, board: Board) -> PipelineError:
    if re.search(r"[Pp]latform .*not (?:installed|found)|Unknown FQBN|unknown package", output):
        core = ":".join(board.fqbn.split(":")[:2])
        return ToolError(f"board {board.name!r}: its Arduino core is not installed", f"{CLI} core install {core}")
    if re.search(r"too big|will not fit in region|overflowed by|exceeds available space", output):
        tail = next(line for line in output.splitlines() if re.search(r"too big|not fit|overflow|exceeds", line))
        return FitError(f"board {board.name!r}: {tail.strip()}", "a smaller model ([model] width in the job)")
    lines = [line for line in output.splitlines() if "error:" in line] or output.strip().splitlines()[-3:]
    return ToolError(f"board {board.name!r}: the sketch does not build: {' | '.join(lines[:3])}", "tritmcu doctor")
