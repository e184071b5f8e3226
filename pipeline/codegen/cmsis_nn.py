"""CMSIS-NN as an already built library: where it is, whether it is the one that the calls were written for, and whether
it can be linked for a board.

Nothing of CMSIS-NN is in this repository, and nothing here fetches or builds it. CMSIS_NN_ROOT names a folder with
Include/ and, anywhere below, static libraries for one core or several.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.codegen import footprint
from pipeline.config.board import Board
from pipeline.core import paths, shell
from pipeline.core.digest import digest_of
from pipeline.core.errors import ToolError, UnsupportedError

ENVIRONMENT = "CMSIS_NN_ROOT"
HEADER = "arm_nnfunctions.h"
PROJECT_FILE = "nn/cmsis/nn_cmsis.h"
"""What a project holds that is linked with CMSIS-NN."""
WRITTEN_FOR = "V.19.1.0"
"""Revision of that header whose declarations PROTOTYPES are."""
OTHERWISE = "CMSIS-NN was linked: it computes these bits only if compiled without CMSIS_NN_USE_SINGLE_ROUNDING"
"""What a person should know whose device answers unlike the twin."""
HEADERS = (HEADER, "arm_nnsupportfunctions.h")
"""Where the functions are declared that are called or tell versions apart."""
ARCHITECTURES = {11: "Armv6-M", 12: "Armv6S-M", 10: "Armv7-M", 13: "Armv7E-M", 16: "Armv8-M baseline",
                 17: "Armv8-M mainline", 21: "Armv8.1-M mainline"}  # fmt: skip
"""Tag_CPU_arch of the Addenda to the ABI for the Arm Architecture."""
_MAGIC, _MEMBER_HEADER = b"!<arch>\n", 60
_REVISION = re.compile(r"\$Revision:\s*(V[0-9.]+)")
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)

_STATUS, _SIZE, _DIMS, _DATA = "arm_cmsis_nn_status", "int32_t", "const cmsis_nn_dims *", "const int8_t *"
_WEIGHTED = (_DIMS, _DATA, _DIMS, _DATA, _DIMS, "const int32_t *", _DIMS, "int8_t *")
_NUMBER = "const int32_t"


def _weighted(params: str, quant: str) -> tuple[str, ...]:
    """Return type and parameters of a layer with weights."""
    types = ("context", params, f"{quant}_quant_params")
    return (_STATUS, *(f"const cmsis_nn_{name} *" for name in types), *_WEIGHTED)


def _scratch(params: str) -> tuple[str, ...]:
    """The same of what tells the scratch of a convolution."""
    return (_SIZE, f"const cmsis_nn_{params} *", _DIMS, _DIMS, _DIMS)


_POOL = (_STATUS, "const cmsis_nn_context *", "const cmsis_nn_pool_params *", _DIMS, _DATA, _DIMS, _DIMS, "int8_t *")
PROTOTYPES: Mapping[str, tuple[str, ...]] = {
    "arm_convolve_wrapper_s8": _weighted("conv_params", "per_channel"),
    "arm_convolve_wrapper_s4": _weighted("conv_params", "per_channel"),
    "arm_convolve_wrapper_s8_get_buffer_size": _scratch("conv_params"),
    "arm_convolve_wrapper_s4_get_buffer_size": _scratch("conv_params"),
    "arm_depthwise_conv_wrapper_s8": _weighted("dw_conv_params", "per_channel"),
    "arm_depthwise_conv_wrapper_s4": _weighted("dw_conv_params", "per_channel"),
    "arm_depthwise_conv_wrapper_s8_get_buffer_size": _scratch("dw_conv_params"),
    "arm_depthwise_conv_wrapper_s4_get_buffer_size": _scratch("dw_conv_params"),
    "arm_fully_connected_s8": _weighted("fc_params", "per_tensor"),
    "arm_fully_connected_s4": _weighted("fc_params", "per_tensor"),
    "arm_fully_connected_per_channel_s8": _weighted("fc_params", "per_channel"),
    "arm_vector_sum_s8": (_STATUS, "int32_t *", _NUMBER, _NUMBER, _DATA, _NUMBER, _NUMBER, "const int32_t *"),
    "arm_avgpool_s8": _POOL,
    "arm_avgpool_s8_get_buffer_size": (_SIZE, "const int", "const int"),
    "arm_max_pool_s8": _POOL,
    "arm_elementwise_add_s8": (
        *(_STATUS, _DATA, _DATA, *(_NUMBER,) * 7, "int8_t *", *(_NUMBER,) * 6),
    ),
}  # fmt: skip
"""Return type and types of the parameters as CMSIS-NN publishes them, of every function that is called, and of
arm_vector_sum_s8: since it takes a bias, the sums of arm_fully_connected_s8 hold one."""


@dataclass(frozen=True)
class Abi:
    """What objects must share to be linked and to run: architecture, where floats are passed, vector extension."""

    architecture: str
    """Name of the architecture."""
    hard_float: bool
    """Whether floats are passed in registers of the FPU."""
    vectors: bool
    """Whether the vector extension is used."""

    def __str__(self) -> str:
        return (
            f"{self.architecture}{', vectors' if self.vectors else ''}, {'hard' if self.hard_float else 'soft'} float"
        )


@dataclass(frozen=True)
class Library:
    """A static library and the headers that go with it."""

    include: Path
    """Folder of the headers."""
    archive: Path
    """The static library."""
    revision: str
    """Of arm_nnfunctions.h, such as "V.19.1.0"; "unknown" where it does not say."""
    digest: str
    """Of the library's content."""


def root() -> Path | None:
    """The folder CMSIS_NN_ROOT names, None when it is not set."""
    value = os.environ.get(ENVIRONMENT)
    return Path(value) if value else None


def library(board: Board) -> Library:
    """The library for the board's core. UnsupportedError: CMSIS-NN is not for this board; ToolError: CMSIS_NN_ROOT is
    not set, or holds none that can be linked for it."""
    if board.is_host or board.is_avr or not board.build_programs:
        raise UnsupportedError(
            f"board {board.name!r}: CMSIS-NN is linked for boards with a Cortex-M that CMake builds for",
            "--kernels auto, or take another board",
        )
    folder = root()
    if folder is None:
        raise ToolError(f"--kernels cmsis-nn, best: {ENVIRONMENT} is not set", f"{ENVIRONMENT}=FOLDER: {_hint()}")
    return libraries(folder, {board.core: board})[board.core]


def libraries(folder: Path, boards: Mapping[str, Board]) -> dict[str, Library]:
    """The library for each board's core, by the board's key; those without one are left out.

    ToolError when the folder holds no CMSIS-NN, one of another version, or nothing for any of these cores; it names
    what was found.
    """
    include = folder / "Include"
    archives = _archives(folder)
    revision = _check_version(include)
    found = {path: _abi_of_archive(path) for path in archives}
    wanted = {core: _abi_of_compiler(board) for core, board in boards.items()}
    fitting = {core: next((p for p in archives if found[p] == abi), None) for core, abi in wanted.items()}
    if not any(fitting.values()):
        there = "; ".join(f"{path.relative_to(folder)} is for {abi}" for path, abi in found.items())
        needed = "; ".join(f"{core} is {abi}" for core, abi in wanted.items())
        raise ToolError(f"{ENVIRONMENT}={folder}: {there}; {needed}", "build CMSIS-NN for that core and float ABI")
    return {
        core: Library(include.resolve(), path.resolve(), revision, digest_of(path.read_bytes()))
        for core, path in fitting.items()
        if path
    }


def cmake_options(board: Board) -> list[str]:
    """What tells CMake, for a project with PROJECT_FILE, where CMSIS-NN is. ToolError: see `library`; a path that CMake
    or Ninja would not read as it is."""
    found = library(board)
    places = {"CMSIS_NN_INCLUDE": found.include, "CMSIS_NN_LIBRARY": found.archive}
    for path in places.values():
        if not paths.PLAIN.fullmatch(str(path)):
            raise ToolError(
                f"{path}: CMake takes a character of this path for syntax", f"move what {ENVIRONMENT} names"
            )
    return [f"-D{name}={path}" for name, path in places.items()]


def _hint() -> str:
    return f"a folder with Include/{HEADER} and libcmsis-nn.a, already built"


def _archives(folder: Path) -> list[Path]:
    """Static libraries below the folder. ToolError when it, its headers or libraries are missing."""
    hint = f"{ENVIRONMENT} must name {_hint()}"
    if not folder.is_dir():
        raise ToolError(f"{ENVIRONMENT}={folder}: no such folder", hint)
    content = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    for name in HEADERS:
        if not (folder / "Include" / name).is_file():
            raise ToolError(f"{ENVIRONMENT}={folder}: no Include/{name}; found {content}", hint)
    archives = sorted(folder.rglob("*.a"))
    if not archives:
        raise ToolError(f"{ENVIRONMENT}={folder}: no static library (*.a); found {content}", hint)
    return archives


def _check_version(include: Path) -> str:
    """The revision of the headers. ToolError names a function that they do not declare as PROTOTYPES has it."""
    texts = [(include / name).read_text(encoding="utf-8", errors="replace") for name in HEADERS]
    found = _REVISION.search(texts[0])
    revision = found[1] if found else "unknown"
    declarations = _COMMENT.sub(" ", "\n".join(texts))
    for name, wanted in PROTOTYPES.items():
        declared = _prototype(name, declarations)
        if declared != wanted:
            what = "does not declare" if declared is None else "declares with other parameters"
            raise ToolError(
                f"{include / HEADER}: revision {revision} {what} {name}",
                f"the calls are written for revision {WRITTEN_FOR}: its headers, and a library built with them",
            )
    return revision


def _prototype(name: str, declarations: str) -> tuple[str, ...] | None:
    """Return type and types of the parameters of a function as a header declares it; None where it does not."""
    found = re.search(rf"(\w+)\s+{name}\s*\(([^()]*)\)\s*;", declarations)
    if found is None:
        return None
    parameters = (re.sub(r"\w+\s*$", "", " ".join(words.split())) for words in found[2].split(","))
    return (found[1], *(words.replace(" *", "*").replace("*", " *").strip() for words in parameters))


def _abi_of_archive(path: Path) -> Abi:
    """Of its first object."""
    data = path.read_bytes()
    place = len(_MAGIC)
    while data.startswith(_MAGIC) and place + _MEMBER_HEADER < len(data):
        digits = data[place + 48 : place + 58].strip()
        if not digits.isdigit():
            break
        size = int(digits)
        member = data[place + _MEMBER_HEADER :][:size]
        if member.startswith(b"\x7fELF"):
            return _abi(member, path)
        place += _MEMBER_HEADER + size + size % 2
    raise ToolError(f"{path}: no static library with ELF objects in it", "build it with arm-none-eabi-gcc and -ar")


def _abi_of_compiler(board: Board) -> Abi:
    """What the compiler makes for the board's core."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.o"
        shell.run(["arm-none-eabi-gcc", *board.core_flags, "-x", "c", "-c", os.devnull, "-o", path])
        return _abi(path.read_bytes(), path)


def _abi(elf: bytes, path: Path) -> Abi:
    tags = footprint.arm_attributes(elf, path)
    number = tags.get("TAG_CPU_ARCH", 0)
    name = ARCHITECTURES.get(number, f"architecture {number}")
    return Abi(name, tags.get("TAG_ABI_VFP_ARGS", 0) == 1, tags.get("TAG_MVE_ARCH", 0) > 0)
