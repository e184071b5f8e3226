"""export: a rendered project, or a network as a library, becomes a folder that other tools build, without Python."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from pipeline.codegen import arduino, cmsis_nn, library, select
from pipeline.config.board import Board
from pipeline.config.dataset import MfccConfig
from pipeline.config.job import FirmwareConfig
from pipeline.core import paths, registry, store, templates
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import QModel, Sources

FORMATS: Mapping[str, str] = {
    "cmake": "a CMake project",
    "arduino": "an Arduino library with its sketch, for the IDE and arduino-cli",
    "platformio": "a PlatformIO project",
    "library": "the network alone, for programs of others: CMake, Arduino, PlatformIO, Zephyr",
}
"""What can be written, by its name on the command line; the first three hold the whole firmware."""
LIBRARY = "library"


def check(folder: Path, form: str) -> None:
    """ConfigError when the folder is not new or empty, no tool could build in one of its name, or the format is
    unknown."""
    if form not in FORMATS:
        raise ConfigError(*registry.unknown("format", form, FORMATS))
    odd = paths.PLAIN.sub("", str(folder.resolve()))
    if odd:
        raise ConfigError(
            f"{folder.resolve()}: not every tool that builds it can read a path with {odd[0]!r}",
            "name another folder with --output",
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder}: exists and is not empty", "name a new folder with --output")


def check_board(board: Board, form: str) -> None:
    """ConfigError when no tool that takes the format can build firmware for the board."""
    if form == "cmake" and not board.build_programs:
        raise ConfigError(
            f"board {board.name!r}: only the tools of its Arduino core can build for it",
            arduino.export_command(board, "arduino"),
        )
    if form == "arduino":
        arduino.require(board)
    if form == "platformio":
        _check_platformio(board)


def _check_platformio(board: Board) -> None:
    if board.memory.boot is not None:
        raise ConfigError(
            f"board {board.name!r}: its ROM starts only what has a checksum, which CMake computes after linking",
            arduino.export_command(board, "cmake"),
        )
    if board.platformio is None:
        raise ConfigError(
            f"board {board.name!r}: its file does not say what PlatformIO calls it",
            f"{arduino.export_command(board, 'cmake')}; or a board file of your own with "
            'platformio = { platform = "...", board = "..." }',
        )


def export(sources: Sources, board: Board, model: str, folder: Path, form: str = "cmake") -> str:
    """The command that builds what `folder` holds afterwards, run in it; model: name of the network.

    ConfigError when the folder is not new or empty, the format is unknown or the board has no place in it.
    """
    check(folder, form)
    if form != "cmake":
        _check_complete(cmsis_nn.PROJECT_FILE in sources.files, form)
    check_board(board, form)
    writers = {"cmake": _cmake, "arduino": _arduino, "platformio": _platformio}
    files, command = writers[form](sources, board, model)
    _write(files, folder)
    return command


def export_library(
    model: QModel,
    board: Board,
    folder: Path,
    kernels: select.Kernels = "auto",
    firmware: FirmwareConfig = select.DEFAULT,
    front_end: MfccConfig | None = None,
) -> str:
    """The command that builds what `folder` holds afterwards, run in it: the network as a library; on a computer, its
    example. front_end: how its samples are made from sound, None for other networks.

    ConfigError when the folder is not new or empty; UnsupportedError names a layer that no kernel serves; FitError when
    the board's memory cannot hold the network.
    """
    check(folder, LIBRARY)
    _check_complete(select.links(kernels), LIBRARY)
    files = library.library(model, board, kernels, firmware, front_end)
    _write(files, folder)
    if board.is_host:
        return f"cmake -S {PurePosixPath(library.PROGRAM).parent} -B build && cmake --build build"
    flags = shlex.quote(" ".join(board.core_flags))
    compiler = f"-DCMAKE_C_COMPILER={'avr' if board.is_avr else 'arm-none-eabi'}-gcc -DCMAKE_C_FLAGS={flags}"
    bare = "-DCMAKE_SYSTEM_NAME=Generic -DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY"
    assembled = f" -DCMAKE_ASM_FLAGS={flags}" if any(path.endswith(".S") for path in files) else ""
    return f"cmake -B build {bare} {compiler}{assembled} && cmake --build build"


def _check_complete(linked: bool, form: str) -> None:
    """ConfigError for a firmware that is linked with CMSIS-NN, which these formats cannot say."""
    if linked:
        raise ConfigError(f"--kernels cmsis-nn, best: not for --format {form}", "--format cmake, or --kernels auto")


def _write(files: Mapping[str, str], folder: Path) -> None:
    def write(path: Path) -> None:
        for name, text in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(text, encoding="utf-8")

    store.write_folder(folder, write)


def _cmake(sources: Sources, board: Board, model: str) -> tuple[dict[str, str], str]:
    options = [] if board.is_host else ["-DCMAKE_TOOLCHAIN_FILE=toolchain.cmake"]
    options += cmsis_nn.cmake_options(board) if cmsis_nn.PROJECT_FILE in sources.files else []
    configure = shlex.join(["cmake", "-G", "Ninja", "-B", "build", *options])
    return dict(sources.files), f"{configure} && cmake --build build"


def _arduino(sources: Sources, board: Board, model: str) -> tuple[dict[str, str], str]:
    command = f"arduino-cli compile --fqbn {board.fqbn or 'FQBN'} --library . {PurePosixPath(arduino.EXAMPLE).parent}"
    return arduino.library(sources, board, model), command


def _platformio(sources: Sources, board: Board, model: str) -> tuple[dict[str, str], str]:
    headers = [path for path in sources.files if path.endswith(".h")]
    context = {"board": board, "includes": sorted({str(PurePosixPath(path).parent) for path in headers})}
    environment = templates.environment()
    files = {"platformio.ini": environment.get_template("platformio.ini.j2").render(context)}
    if board.is_arduino:
        library = arduino.library(sources, board, model)
        del library[arduino.EXAMPLE]
        files |= {f"lib/{arduino.library_name(model)}/{path}": text for path, text in library.items()}
        files["src/main.cpp"] = arduino.sketch(sources, model)
    else:
        files |= {f"src/{path}": text for path, text in sources.files.items() if "cmake" not in path.lower()}
        files["no_startfiles.py"] = environment.get_template("platformio_no_startfiles.py.j2").render(context)
    return files, "pio run"
