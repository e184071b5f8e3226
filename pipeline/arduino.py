"""A firmware project as an Arduino library: what the Arduino IDE, arduino-cli and PlatformIO compile."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from pipeline import __version__, templating
from pipeline.board import Board
from pipeline.errors import ConfigError
from pipeline.types import Sources

SKETCH = "port/arduino/sketch.cpp"
EXAMPLE = "examples/serve/serve.ino"
_SUFFIXES = (".c", ".cpp", ".h", ".S")


def require(board: Board) -> None:
    """ConfigError when the board's firmware does not run on an Arduino core."""
    if not board.is_arduino:
        raise ConfigError(
            f"board {board.name!r}: its firmware is bare metal, port {board.port!r}, no Arduino sketch",
            f'tritmcu export --format cmake --board {board.name}, or a board whose file says port = "arduino"',
        )


def library_name(model: str) -> str:
    """Name of the library: letters, digits and underscores."""
    return "tritmcu_" + re.sub(r"\W", "_", model, flags=re.ASCII)


def library(sources: Sources, board: Board, model: str) -> dict[str, str]:
    """Text by path in the library's folder: library.properties, README.md, all code side by side in src (the only place
    where the Arduino tools look for headers) and the sketch as an example. The firmware's digest stays the same."""
    require(board)
    name = library_name(model)
    context = {"board": board, "sources": sources, "name": name, "model": model, "version": __version__}
    environment = templating.environment()

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
