"""render: a QModel and a Board become a firmware project in text. Templates print; everything is decided here."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from pipeline.codegen import buffers, cmsis_nn, planner, select, source
from pipeline.codegen.cmsis_nn import Library
from pipeline.config.board import Board
from pipeline.config.cores import kernel_families
from pipeline.config.job import FirmwareConfig
from pipeline.core import templates
from pipeline.core.digest import digest_of
from pipeline.core.nouns import QModel, Sources
from pipeline.protocol import wire

HEADERS_AND_MODEL = ("board_config.h", "wire_protocol.h", "model.h", "model.c")
"""Not board.h and wire.h: where case does not matter, Arduino's <Wire.h> would be the latter."""
DIGEST_FILE = "generated/build_id.h"
SOUND = "sound"
"""Folder of what a network that hears needs in a library; the firmware receives samples that are features already."""
MAIN = PurePosixPath("app/main.c")
"""Arduino cores have their own."""


def render(
    model: QModel,
    board: Board,
    kernels: select.Kernels = "auto",
    firmware: FirmwareConfig = select.DEFAULT,
    library: Library | None = None,
    linked: Collection[str] = (),
) -> Sources:
    """The project of `model` for `board`. UnsupportedError names a layer that no kernel serves.

    kernels: "auto" takes the fastest kernel the core can run, "reference" the portable ones, "cmsis-nn" those of
    `library`, by default the one that CMSIS_NN_ROOT names (ToolError: none that can be linked for the board), "best"
    those for the layers named in `linked` (select.cheaper) and the fastest of ours for the others.
    """
    archive = (library or cmsis_nn.library(board)) if select.links(kernels) else None
    program = select.program(model, board, kernels, firmware, linked)
    memory = program.memory
    files = dict(_firmware_files(board, kernel_families(board.core, archive is not None)))
    context = {
        "board": board,
        "library": archive,
        "buffers": buffers.plan(board, memory.arena_bytes, model.input.size_bytes),
        "qmodel": model,
        "macro": "MODEL",
        "layers": source.layers(model, program),
        "arena_bytes": memory.arena_bytes,
        "input_offset": memory.tensor_offsets[0],
        "wire": wire,
        "sources": ["generated/model.c", *_compiled(files, "app/", "link/", "port/")],
        "kernel_sources": _compiled(files, "nn/"),
        "scripts": sorted(f for f in files if f.endswith(source.BUILD_SUFFIX)),
        "folders": sorted({str(PurePosixPath(f).parent) for f in files if f.startswith(("nn/", "port/"))}),
        "headers": sorted(PurePosixPath(f).name for f in files if f.startswith("nn/") and f.endswith(".h")),
    }
    environment = templates.environment()
    for path, template in _templates(board).items():
        files[path] = environment.get_template(template).render(context)
    digest = digest_of(files)[: 2 * wire.DIGEST_BYTES]
    files[DIGEST_FILE] = environment.get_template("build_id.h.j2").render(context, digest=digest)
    return Sources(
        files=dict(sorted(files.items())),
        digest=digest,
        board=board.name,
        qmodel_digest=model.digest,
        arena_bytes=memory.arena_bytes,
        layers=source.code(model, program, select.unserved(model, program.calls, board, kernels)),
        arena_contents=planner.contents(model, program.calls, memory),
    )


def _templates(board: Board) -> dict[str, str]:
    """Template of every generated file: what CMake needs is left out where only an Arduino tool can build."""
    files = {f"generated/{name}": f"{name}.j2" for name in HEADERS_AND_MODEL}
    if not board.build_programs:
        return files
    files["CMakeLists.txt"] = "CMakeLists.txt.j2"
    if board.is_avr:
        files["arduino_core.cmake"] = "arduino_core.cmake.j2"
    if not board.is_host:
        family = "avr" if board.is_avr else "arm"
        files["toolchain.cmake"] = f"toolchain_{family}.cmake.j2"
        files["generated/link.ld"] = f"link_{family}.ld.j2"
    return files


def _compiled(files: Mapping[str, str], *folders: str) -> list[str]:
    return sorted(f for f in files if f.startswith(folders) and f.endswith((".c", ".cpp", ".S")))


def _firmware_files(board: Board, families: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(path in the project, text) of every hand-written file this board's project needs."""
    return ((str(path), text) for path, text in source.hand_written() if _belongs(path, board, families))


def _belongs(path: PurePosixPath, board: Board, families: Sequence[str]) -> bool:
    """Of a port the innermost folder and all around it, of the kernels those families."""
    if path.parts[0] == "port":
        return PurePosixPath("port", board.port).is_relative_to(path.parent)
    if path.parts[0] == "nn":
        return source.is_kernel_of(path, families)
    return path.parts[0] != SOUND and (path != MAIN or not board.is_arduino)
