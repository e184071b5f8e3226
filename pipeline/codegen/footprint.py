"""What a built firmware occupies, to the byte, read from its ELF file.

The linker script (templates/link_*.ld.j2) puts each folder of the project into a section of its own name, so the
section sizes are the footprint; inside `.model` the symbols of a layer start with `layer<number>_`
(pipeline/render.py).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from pipeline.core.errors import ToolError

GROUPS: Mapping[str, str] = {
    ".vectors": "vector table",
    ".nn": "kernels",
    ".link": "link",
    ".port": "port",
    ".app": "application",
    ".library": "C library",
    ".data": "initial values",
}
"""Name shown for each output section of the linker script but `.model`."""
STACK = ".stack"
_LAYER_SYMBOL = re.compile(r"layer(\d+)_")
_CALL_PARAMETERS = re.compile(r"_(params|quant|dims\d+)$")


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
    symbols: Mapping[str, int]
    """Bytes of functions and variables by name, equal names added up."""
    tables: Mapping[int, int]
    """Bytes of constant tables by layer number."""


@dataclass(frozen=True)
class _Section:
    name: str
    size: int
    in_flash: bool
    in_ram: bool


@dataclass(frozen=True)
class _Symbol:
    name: str
    size: int
    is_object: bool


def read(elf: Path) -> Footprint:
    """The footprint of a linked firmware. ToolError when the file is no ELF or damaged."""
    try:
        with elf.open("rb") as file:
            return _read(ELFFile(file))
    except (OSError, ELFError) as error:
        raise ToolError(f"{elf}: cannot be read as ELF ({error})", "build again: tritmcu build") from error


def attribute(footprint: Footprint, layers: Sequence[str]) -> dict[str, int]:
    """Flash bytes by owner, in the order of the layers, then code: they add up to Footprint.flash_bytes.

    layers: names of the model's layers in order. The tables of a layer are "layer <name>"; "layer calls" is what the
    generated model holds besides tables. On the host board, which has no linker script of ours, all else is "program".
    """
    parts = {f"layer {layers[number]}": size for number, size in sorted(footprint.tables.items())}
    if ".model" in footprint.sections:
        parts["layer calls"] = footprint.sections[".model"] - sum(footprint.tables.values())
        parts |= {group: footprint.sections[name] for name, group in GROUPS.items() if footprint.sections.get(name)}
        rest = "padding"
    else:
        rest = "program"
    remaining = footprint.flash_bytes - sum(parts.values())
    return parts | ({rest: remaining} if remaining else {})


def _read(elf: ELFFile) -> Footprint:
    sections = list(_sections(elf))
    symbols = list(_symbols(elf))
    named: Counter[str] = Counter()
    tables: Counter[int] = Counter()
    for symbol in symbols:
        named[symbol.name] += symbol.size
        layer = _LAYER_SYMBOL.match(symbol.name)
        if layer and symbol.is_object and not _CALL_PARAMETERS.search(symbol.name):
            tables[int(layer[1])] += symbol.size
    return Footprint(
        flash_bytes=_flash_bytes(elf, sections),
        ram_bytes=sum(s.size for s in sections if s.in_ram and s.name != STACK),
        stack_bytes=sum(s.size for s in sections if s.name == STACK),
        sections={s.name: s.size for s in sections},
        symbols=dict(sorted(named.items())),
        tables=dict(tables),
    )


def _sections(elf: ELFFile) -> Iterator[_Section]:
    """Sections that are present while the program runs."""
    for section in elf.iter_sections():
        flags = section["sh_flags"]
        if flags & SH_FLAGS.SHF_ALLOC and section["sh_size"]:
            in_file = section["sh_type"] != "SHT_NOBITS"
            yield _Section(section.name, section["sh_size"], in_file, bool(flags & SH_FLAGS.SHF_WRITE))


def _flash_bytes(elf: ELFFile, sections: Sequence[_Section]) -> int:
    if elf["e_machine"] not in {"EM_ARM", "EM_AVR"}:
        return sum(s.size for s in sections if s.in_flash)
    loads = [s for s in elf.iter_segments("PT_LOAD") if s["p_filesz"]]
    return max(s["p_paddr"] + s["p_filesz"] for s in loads) - min(s["p_paddr"] for s in loads) if loads else 0


def _symbols(elf: ELFFile) -> Iterator[_Symbol]:
    """Every function and variable."""
    table = elf.get_section_by_name(".symtab")
    for symbol in table.iter_symbols() if table else ():
        kind = symbol["st_info"]["type"]
        if kind in {"STT_FUNC", "STT_OBJECT"} and symbol["st_size"]:
            yield _Symbol(symbol.name, symbol["st_size"], kind == "STT_OBJECT")
