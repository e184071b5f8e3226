"""build: a rendered project becomes a firmware image, with CMake and Ninja or, where only they can, Arduino's tools."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.codegen import arduino, cmsis_nn, fit, footprint, uf2
from pipeline.config.board import Board
from pipeline.core import paths, shell
from pipeline.core.errors import ConfigError, FitError, ToolError
from pipeline.core.nouns import FLASH, RAM, Image, Progress, Sources, no_progress

ELF, BIN = "firmware.elf", "firmware.bin"
OUTPUTS = (ELF, BIN, "firmware.hex")
ISYSTEM = "-isystem"
"""Option before a folder of headers."""
_CLEAN_ENVIRONMENT = {"CFLAGS": "", "CXXFLAGS": "", "CPPFLAGS": "", "LDFLAGS": "", "ASMFLAGS": ""}
_LINKER = re.compile(r"^\S*/ld(\.bfd)?: ")
"""Before what the linker says for itself."""
_COMPLAINT = re.compile(rf"(?i:(?<!collect2: )error:)|undefined reference|{_LINKER.pattern}(?!warning:)")
_OVERFLOW = re.compile(r"region [`'](FLASH|RAM)' overflowed by (\d+) bytes")


def build(
    sources: Sources, board: Board, folder: Path, *, sanitize: bool = False, progress: Progress = no_progress
) -> Image:
    """The image built from `sources`, whose project is written to folder/project; firmware.elf and, for a board with
    flash, firmware.bin and firmware.hex are put beside it; firmware.uf2 where its file has [flashing.uf2].

    sanitize: with address and undefined behaviour sanitizers, host board only. FitError when the model cannot fit the
    board (found before building where possible), ToolError when a program is missing or the compiler refuses.
    """
    check_fit(sources, board)
    if not board.build_programs:
        return _build_with_arduino(sources, board, folder, progress)
    compiler = _require_tools(board)
    options = ["-DSANITIZE=ON"] if sanitize else []
    options += cmsis_nn.cmake_options(board) if cmsis_nn.PROJECT_FILE in sources.files else []
    with _project(folder) as project:
        _write(sources.files, project)
        progress("build", 0, 3, "configure")
        _configure(project, board, options)
        progress("build", 1, 3, "compile")
        _compile(project, sources, board)
        progress("build", 2, 3, "measure")
        flags = _flags(project / "build")
        for name in OUTPUTS:
            if (project / "build" / name).exists():
                shutil.move(project / "build" / name, folder / name)
        shutil.rmtree(project / "build")
    _write_uf2(board, folder)
    image = _image(sources, board, folder / ELF, _version(compiler), flags)
    progress("build", 3, 3, f"{image.flash_bytes} bytes flash, {image.ram_bytes + image.stack_bytes} bytes RAM")
    return image


@contextmanager
def _project(folder: Path) -> Iterator[Path]:
    """folder/project, to be filled and built in. Where its path holds what CMake, Ninja or a compiler take for syntax,
    that is done in a temporary folder, and the project is moved to its place after the block. ConfigError: the folder
    of temporary files is no better."""
    place = folder / "project"
    if paths.PLAIN.fullmatch(str(place.resolve())):
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="tritmcu-build-") as elsewhere:
        if not paths.PLAIN.fullmatch(str(Path(elsewhere).resolve())):
            what = f"{elsewhere}: nothing can be built in a folder of temporary files of such a name"
            raise ConfigError(what, "set TMPDIR to another one, such as /tmp")
        folder.mkdir(parents=True, exist_ok=True)
        yield Path(elsewhere) / "project"
        shutil.rmtree(place, ignore_errors=True)
        shutil.move(Path(elsewhere) / "project", place)


def check_fit(sources: Sources, board: Board) -> None:
    """FitError when what is known before building exceeds the board's memory: constant tables against flash; arena,
    stack and link buffers against RAM. The code comes on top, so passing is no promise."""
    fit.require(known_parts(sources, board), board)


def known_parts(sources: Sources, board: Board) -> dict[str, dict[str, int]]:
    """Bytes of FLASH and RAM by what needs them, as far as they are known without building."""
    return {
        FLASH: fit.tables(sources.layer_table_bytes),
        RAM: {
            "the activation arena": sources.arena_bytes,
            "the stack": board.memory.stack_bytes,
            "the receive buffer": board.link.rx_buffer_bytes,
            "the frame buffer": board.link.max_payload,
        },
    }


def _require_tools(board: Board) -> str:
    """Name of the C compiler; every program of the build is there."""
    for program in board.build_programs:
        shell.require(program)
    return board.build_programs[-1]


def _build_with_arduino(sources: Sources, board: Board, folder: Path, progress: Progress) -> Image:
    """The image, from the project as an Arduino library, by arduino-cli and the board's own core."""
    arduino.require_cli(board)
    with _project(folder) as project:
        _write(arduino.library(sources, board, "firmware"), project)
        progress("build", 0, 2, board.fqbn)
        built = arduino.compile_sketch(project, board, project / "build")
        progress("build", 1, 2, "measure")
        for suffix, path in built.items():
            shutil.move(path, folder / f"firmware.{suffix}")
        shutil.rmtree(project / "build")
    _write_uf2(board, folder)
    image = _image(sources, board, folder / ELF, f"{arduino.cli_version()}, {board.fqbn}", ())
    if image.ram_bytes + image.stack_bytes > board.memory.ram.length:
        raise _does_not_fit("RAM", image.ram_bytes - board.memory.ram.length, sources, board)
    progress("build", 2, 2, f"{image.flash_bytes} bytes flash, {image.ram_bytes} bytes RAM")
    return image


def _write_uf2(board: Board, folder: Path) -> None:
    """Makes firmware.uf2 of firmware.bin, for a board whose bootloader takes it. ToolError when the board's Arduino
    core makes no firmware.bin."""
    if board.flashing.uf2 is None:
        return
    if not (folder / BIN).exists():
        what = f"board {board.name!r}: its Arduino core makes no {BIN}, of which {uf2.FILE} is made"
        raise ToolError(what, f"remove [flashing.uf2] from boards/{board.name}.toml")
    content = (folder / BIN).read_bytes()
    (folder / uf2.FILE).write_bytes(uf2.encode(content, board.memory.first, board.flashing.uf2.family))


def _write(files: Mapping[str, str], project: Path) -> None:
    if project.exists():
        shutil.rmtree(project)
    for name, text in files.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _configure(project: Path, board: Board, options: Sequence[str]) -> None:
    always = ["-DCMAKE_EXPORT_COMPILE_COMMANDS=ON", "-DCMAKE_BUILD_TYPE="]
    always += ["-DCMAKE_C_COMPILER=gcc"] if board.is_host else ["-DCMAKE_TOOLCHAIN_FILE=toolchain.cmake"]
    command = ["cmake", "-G", "Ninja", "-B", "build", *always, *options]
    result = shell.run(command, cwd=project, env=_CLEAN_ENVIRONMENT, check=False)
    if result.returncode != 0:
        raise _not_configured(result.output_in(project), board)


def _not_configured(output: str, board: Board) -> ToolError:
    if "no Arduino AVR core" in output:
        return ToolError(
            f"board {board.name!r}: the Arduino AVR core is missing", shell.install_hint("arduino-core-avr")
        )
    tail = " | ".join(output.strip().splitlines()[-4:])
    return ToolError(
        f"board {board.name!r}: CMake cannot configure the project: {tail}", arduino.by_hand(board, "cmake")
    )


def _compile(project: Path, sources: Sources, board: Board) -> None:
    result = shell.run(["cmake", "--build", "build"], cwd=project, env=_CLEAN_ENVIRONMENT, check=False)
    if result.returncode == 0:
        return
    output = result.output_in(project)
    overflow = _OVERFLOW.search(output)
    if overflow:
        raise _does_not_fit(overflow[1], int(overflow[2]), sources, board)
    lines = [_LINKER.sub("", line) for line in output.splitlines() if _COMPLAINT.search(line)]
    first = " | ".join(lines[:3]) or " | ".join(output.strip().splitlines()[-3:])
    if "string.h: No such file" in first:
        raise ToolError("the C library of the compiler is missing", shell.install_hint(board.build_programs[-1]))
    raise ToolError(f"board {board.name!r}: the firmware does not build: {first}", arduino.by_hand(board, "cmake"))


def _does_not_fit(region: str, overflow_bytes: int, sources: Sources, board: Board) -> FitError:
    """The linker's verdict: exact, and split between the model and the rest."""
    region = FLASH if region == "FLASH" else region
    parts = known_parts(sources, board)[region]
    rest = "the code" if region == FLASH else "other variables"
    unknown_bytes = fit.regions(board)[region] + overflow_bytes - sum(parts.values())
    return fit.error(region, {**parts, rest: unknown_bytes}, board)


def _flags(build_folder: Path) -> tuple[str, ...]:
    """Compiler flags of the application, without files, folders and path maps."""
    commands = json.loads((build_folder / "compile_commands.json").read_text(encoding="utf-8"))
    command = next(c["command"] for c in commands if c["file"].endswith("app/app.c"))
    words = shlex.split(command)[1:]
    of_this_folder = ("-I", "-ffile-prefix-map", "-fdebug-prefix-map")
    chosen = [w for w in words[: words.index("-o")] if not w.startswith(of_this_folder)]
    return tuple(w for at, w in enumerate(chosen) if ISYSTEM not in chosen[max(0, at - 1) : at + 1])


def _version(compiler: str) -> str:
    """First line of the compiler's --version."""
    return shell.run([compiler, "--version"]).output.splitlines()[0]


def _image(sources: Sources, board: Board, elf: Path, compiler: str, flags: Sequence[str]) -> Image:
    measured = footprint.read(elf, sources)
    owners = footprint.attribute(measured.parts)
    weights_bytes = sum(owners.get(f"layer {layer.name}", 0) for layer in sources.layers)
    return Image(
        elf=elf.name,
        digest=sources.digest,
        board=board.name,
        compiler=compiler,
        flags=tuple(flags),
        flash_bytes=measured.flash_bytes,
        ram_bytes=measured.ram_bytes,
        weights_bytes=weights_bytes,
        code_bytes=measured.flash_bytes - weights_bytes,
        arena_bytes=sources.arena_bytes,
        stack_bytes=measured.stack_bytes,
        sections=measured.sections,
        parts=measured.parts,
        footprint=owners,
        unserved={layer.name: layer.unserved for layer in sources.layers if layer.unserved},
        kernels={layer.name: layer.kernel for layer in sources.layers if layer.kernel},
        cascades={layer.name: layer.cascade for layer in sources.layers if layer.cascade},
    )
