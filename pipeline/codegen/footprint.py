"""What a built firmware occupies, to the byte, read from its ELF file.

The linker script (templates/link_*.ld.j2) puts each folder of the project into a section of its own name, so the
section sizes are the footprint; inside `.model` the symbols of a layer start with `layer<number>_`
(pipeline/stages/render.py). Where another linker script was used, symbols are known by their names and files.
"""

from __future__ import annotations

import io
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from pipeline.core.errors import ToolError
from pipeline.core.nouns import FLASH, RAM, Part, Sources

MODEL = ".model"
GROUPS: Mapping[str, str] = {
    ".boot": "boot stage",
    ".boot_checksum": "boot stage",
    ".vectors": "vector table",
    ".nn": "kernels",
    ".link": "link",
    ".port": "port",
    ".app": "application",
    ".cmsis_nn": "CMSIS-NN",
    ".library": "C library",
    ".data": "initial values",
}
"""Name shown for each output section of the linker script but `.model`."""
FOLDERS: Mapping[str, str] = {
    "generated": "layers",
    "nn": GROUPS[".nn"],
    "link": GROUPS[".link"],
    "port": GROUPS[".port"],
    "app": GROUPS[".app"],
}
"""Name shown for what comes from the files of each folder of the project."""
LAYERS, PROGRAM, VARIABLES, ARENA = "layers", "program", "other variables", "arena"
"""Groups besides: of what belongs to a layer; of code and of variables that no file of the project holds; of the
activations."""
TABLES, CALL, FUNCTION = "tables", "call", "function"
"""What belongs to a layer: its constant arrays; its function, and what that passes to the kernel."""
PADDING, UNNAMED = "padding", "unnamed"
"""Bytes without a symbol: gaps shorter than the section's alignment, and longer ones, such as strings and jump
tables."""
STACK = ".stack"
_ARENA_SYMBOL = "memory"
"""The variable of firmware/app/app.c that holds the arena between two guards."""
_LAYER_SYMBOL = re.compile(r"layer(\d+)_")
_DEFINITION = re.compile(r"^\w[\w \t*]*?\b(\w+)\([^;{}]*\)\s*\{", re.MULTILINE)
"""Of a C function; its name."""
_CALL_PARAMETERS = re.compile(r"_(params\d*|quant|dims\d+)$")


@dataclass(frozen=True)
class Footprint:
    """What an image occupies."""

    flash_bytes: int
    """What is written to flash, gaps and initial values included."""
    ram_bytes: int
    """Variables without the stack."""
    stack_bytes: int
    """Reserved stack."""
    sections: Mapping[str, int]
    """Bytes of every allocated section, by its name."""
    parts: tuple[Part, ...]
    """Every byte by owner: of the flash they add up to flash_bytes, of the RAM to ram_bytes + stack_bytes."""


@dataclass(frozen=True)
class _Section:
    index: int
    name: str
    address: int
    size: int
    alignment: int
    in_flash: bool
    in_ram: bool
    is_code: bool


@dataclass(frozen=True)
class _Symbol:
    name: str
    section: int
    address: int
    size: int
    """0 for a label that says no size."""
    is_object: bool
    file: str
    """Name of its source file without folders; "" for a global symbol."""

    @property
    def shown(self) -> str:
        """Its name, with the file's where other files may have the same."""
        return f"{self.file}: {self.name}" if self.file else self.name


@dataclass(frozen=True)
class _Span:
    """Bytes of one section that have one owner."""

    size: int
    symbol: _Symbol | None
    """None: without a symbol."""
    name: str
    """Of the symbol, or PADDING or UNNAMED."""


@dataclass(frozen=True)
class _Owners:
    """What the project says of its files and layers."""

    layers: Sequence[str]
    """Names of the layers, in order."""
    files: Mapping[str, str]
    """Group by name of a source file without folders, and of what the compiler makes of it."""
    functions: Mapping[str, str]
    """Group by name of a C function."""
    arena_bytes: int
    """Of the arena."""
    arena_contents: Mapping[str, int]
    """Parts of the arena, by what is in it when it is fullest."""


def read(elf: Path, sources: Sources) -> Footprint:
    """The footprint of a firmware that was linked from `sources`. ToolError when the file is no ELF or damaged."""
    try:
        with elf.open("rb") as file:
            return _read(ELFFile(file), _owners(sources))
    except (OSError, ELFError) as error:
        raise ToolError(f"{elf}: cannot be read as ELF ({error})", "build again: `tritmcu build`") from error


def arm_attributes(elf: bytes, place: Path) -> dict[str, int]:
    """Build attributes of an object for Arm by the names of its ABI, such as "TAG_CPU_ARCH". ToolError, which names the
    place: no ELF file, or one for another machine."""
    try:
        section = ELFFile(io.BytesIO(elf)).get_section_by_name(".ARM.attributes")
    except ELFError as error:
        raise ToolError(f"{place}: cannot be read as ELF ({error})", "build it again") from error
    if section is None:
        raise ToolError(f"{place}: holds objects for another machine than Arm", "build it with arm-none-eabi-gcc")
    parts = (part for vendor in section.iter_subsections() for part in vendor.iter_subsubsections())
    return {attribute.tag: attribute.value for part in parts for attribute in part.iter_attributes()}


def attribute(parts: Iterable[Part]) -> dict[str, int]:
    """Flash bytes by owner, in the order of the layers, then code. The tables of a layer are "layer <name>"; "layer
    calls" is what the generated model holds besides tables; all else is named after its group."""
    tables: Counter[str] = Counter()
    code: Counter[str] = Counter()
    for part in parts:
        if part.memory == FLASH:
            if part.path[0] == LAYERS and part.path[2:3] == (TABLES,):
                tables[f"layer {part.path[1]}"] += part.size
            else:
                code["layer calls" if part.path[0] == LAYERS else part.path[0]] += part.size
    return {**tables, **code}


def layer_symbol(index: int, name: str) -> str:
    """C identifier of a layer, unique and never a keyword; those of its tables and constants start with it."""
    return f"layer{index}_{re.sub(r'[^0-9A-Za-z_]', '_', name)}"


def _owners(sources: Sources) -> _Owners:
    files: dict[str, str] = {}
    functions: dict[str, str] = {}
    for place, text in sources.files.items():
        path = PurePosixPath(place)
        if path.parts[0] in FOLDERS:
            group = FOLDERS[path.parts[0]]
            files |= dict.fromkeys((path.name, f"{path.name}.obj"), group)
            functions |= dict.fromkeys(_DEFINITION.findall(text), group)
    return _Owners(
        [layer.name for layer in sources.layers], files, functions, sources.arena_bytes, sources.arena_contents
    )


def _read(elf: ELFFile, owners: _Owners) -> Footprint:
    sections = list(_sections(elf))
    symbols = list(_symbols(elf))
    flash_bytes = _flash_bytes(elf, sections)
    parts = list(_parts(sections, symbols, owners))
    gaps = flash_bytes - sum(part.size for part in parts if part.memory == FLASH)
    if gaps:
        parts.append(Part(FLASH, (PADDING, "between sections"), gaps))
    return Footprint(
        flash_bytes=flash_bytes,
        ram_bytes=sum(s.size for s in sections if s.in_ram and s.name != STACK),
        stack_bytes=sum(s.size for s in sections if s.name == STACK),
        sections={s.name: s.size for s in sections},
        parts=tuple(parts),
    )


def _sections(elf: ELFFile) -> Iterator[_Section]:
    """Sections that are present while the program runs."""
    for index, section in enumerate(elf.iter_sections()):
        flags = section["sh_flags"]
        if flags & SH_FLAGS.SHF_ALLOC and section["sh_size"]:
            yield _Section(
                index,
                section.name,
                section["sh_addr"],
                section["sh_size"],
                section["sh_addralign"],
                in_flash=section["sh_type"] != "SHT_NOBITS",
                in_ram=bool(flags & SH_FLAGS.SHF_WRITE),
                is_code=bool(flags & SH_FLAGS.SHF_EXECINSTR),
            )


def _flash_bytes(elf: ELFFile, sections: Sequence[_Section]) -> int:
    if elf["e_machine"] not in {"EM_ARM", "EM_AVR"}:
        return sum(s.size for s in sections if s.in_flash)
    loads = [s for s in elf.iter_segments("PT_LOAD") if s["p_filesz"]]
    return max(s["p_paddr"] + s["p_filesz"] for s in loads) - min(s["p_paddr"] for s in loads) if loads else 0


def _symbols(elf: ELFFile) -> Iterator[_Symbol]:
    """Every function and variable, and every global label."""
    table, file = elf.get_section_by_name(".symtab"), ""
    is_thumb = elf["e_machine"] == "EM_ARM"
    for symbol in table.iter_symbols() if table else ():
        kind, is_local = symbol["st_info"]["type"], symbol["st_info"]["bind"] == "STB_LOCAL"
        if kind == "STT_FILE":
            file = symbol.name
        elif _is_place(symbol, kind, is_local):
            # The lowest bit of a function's address says in which instruction set it is.
            address = symbol["st_value"] & ~1 if is_thumb and kind == "STT_FUNC" else symbol["st_value"]
            named = file if is_local else ""
            is_object = kind == "STT_OBJECT"
            yield _Symbol(symbol.name, symbol["st_shndx"], address, symbol["st_size"], is_object, named)


def _is_place(symbol: Any, kind: str, is_local: bool) -> bool:
    """Whether the symbol is a function or a variable, or a global label, of a section of the file."""
    if not isinstance(symbol["st_shndx"], int):
        return False
    return bool(symbol["st_size"]) if kind in {"STT_FUNC", "STT_OBJECT"} else kind == "STT_NOTYPE" and not is_local


def _parts(sections: Iterable[_Section], symbols: Sequence[_Symbol], owners: _Owners) -> Iterator[Part]:
    for section in sections:
        for span in _spans(section, [symbol for symbol in symbols if symbol.section == section.index]):
            if section.in_flash:
                yield Part(FLASH, _flash_path(section, span, owners), span.size)
            if section.in_ram:
                yield from _ram_parts(section, span, owners)


def _spans(section: _Section, symbols: Sequence[_Symbol]) -> Iterator[_Span]:
    """The bytes of a section from its first to its last. Where symbols overlap, the first and longest has the bytes;
    labels have what no sized symbol has, in code up to the next label."""
    sized = sorted((s for s in symbols if s.size), key=lambda s: (s.address, -s.size, s.name))
    labels = sorted((s for s in symbols if not s.size and section.is_code), key=lambda s: (s.address, s.name))
    at, end = section.address, section.address + section.size
    for symbol in sized:
        first, last = max(at, symbol.address), min(end, symbol.address + symbol.size)
        if last > first:
            yield from _gap(at, first, section, labels)
            yield _Span(last - first, symbol, symbol.shown)
            at = last
    yield from _gap(at, end, section, labels)


def _gap(first: int, last: int, section: _Section, labels: Sequence[_Symbol]) -> Iterator[_Span]:
    """What is between two sized symbols."""
    if 0 < last - first < section.alignment:
        yield _Span(last - first, None, PADDING)
        return
    inside = {label.address: label for label in reversed(labels) if first <= label.address < last}
    edges = sorted({first, *inside, last})
    for at, following in itertools.pairwise(edges):
        label = inside.get(at)
        yield _Span(following - at, label, label.name if label else UNNAMED)


def _flash_path(section: _Section, span: _Span, owners: _Owners) -> tuple[str, ...]:
    if section.in_ram:
        return GROUPS[".data"], span.name
    layer = _layer_path(span.symbol, owners)
    if layer is not None:
        return layer
    if section.name in GROUPS:
        return GROUPS[section.name], span.name
    if section.name == MODEL:
        return LAYERS, span.name
    group = _group(span.symbol, owners)
    return (group, span.name) if group else (PROGRAM, section.name, span.name)


def _group(symbol: _Symbol | None, owners: _Owners) -> str:
    """The folder that a symbol comes from, by its file or, of a global function, its name; "" where neither is ours."""
    if symbol is None:
        return ""
    if symbol.name.startswith("nn_"):
        return GROUPS[".nn"]
    return owners.files.get(symbol.file, "") if symbol.file else owners.functions.get(symbol.name, "")


def _layer_path(symbol: _Symbol | None, owners: _Owners) -> tuple[str, ...] | None:
    """Where a symbol of the generated model belongs; None for any other."""
    found = _LAYER_SYMBOL.match(symbol.name) if symbol else None
    if symbol is None or found is None or int(found[1]) >= len(owners.layers):
        return None
    name = owners.layers[int(found[1])]
    if not symbol.is_object:
        return LAYERS, name, CALL, FUNCTION
    what = CALL if _CALL_PARAMETERS.search(symbol.name) else TABLES
    return LAYERS, name, what, symbol.name.removeprefix(f"{layer_symbol(int(found[1]), name)}_")


def _ram_parts(section: _Section, span: _Span, owners: _Owners) -> Iterator[Part]:
    symbol = span.symbol
    if section.name == STACK:
        yield Part(RAM, ("stack", "reserved"), span.size)
    elif symbol is None:
        yield Part(RAM, (span.name, section.name), span.size)
    elif symbol.name == _ARENA_SYMBOL and symbol.file == "app.c" and span.size >= owners.arena_bytes:
        for name, size in owners.arena_contents.items():
            yield Part(RAM, (ARENA, "activations and scratch", name), size)
        yield Part(RAM, (ARENA, "guards"), span.size - owners.arena_bytes)
    else:
        yield Part(RAM, (_group(symbol, owners) or VARIABLES, span.name), span.size)
