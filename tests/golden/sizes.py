"""Bytes of every function and variable of the digits image on the emulated STM32F405: a review sees what grows.

The C library is left out: its size is the toolchain's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Section

from pipeline.config import board
from pipeline.core import paths, store
from pipeline.core.nouns import QModel
from pipeline.stages import build, render

NETWORK, BOARD = "digits_stq_jr", "netduinoplus2"
SECTIONS = (".vectors", ".model", ".nn", ".link", ".port", ".app", ".data", ".bss")
FILE = Path(__file__).with_name("sizes.txt")
COMPILER = "# compiler: "


def lines() -> list[str]:
    """What the file of sizes holds: the compiler, then each section and what lies in it."""
    chosen = board.load(BOARD)
    sources = render.render(store.load(paths.shipped("zoo") / NETWORK, QModel), chosen)
    with tempfile.TemporaryDirectory() as folder:
        image = build.build(sources, chosen, Path(folder))
        with (Path(folder) / image.elf).open("rb") as file:
            table = list(_table(ELFFile(file)))
    head = f"# Bytes of zoo/{NETWORK} on {BOARD}; written by: python -m tests.golden.update"
    return [head, f"{COMPILER}{image.compiler}", *table]


def compiler(table: list[str]) -> str:
    """The compiler that made the image."""
    return next(line.removeprefix(COMPILER) for line in table if line.startswith(COMPILER))


def _table(elf: ELFFile) -> Iterator[str]:
    names = {index: section.name for index, section in enumerate(elf.iter_sections())}
    symbols = sorted(_symbols(elf.get_section_by_name(".symtab")))
    for section in SECTIONS:
        yield f"{elf.get_section_by_name(section)['sh_size']:6}  {section}"
        yield from (f"{size:12}  {name}" for index, name, size in symbols if names[index] == section)


def _symbols(table: Section) -> Iterator[tuple[int, str, int]]:
    """(index of its section, name, bytes) of every function and variable; what is static is named after its file."""
    source = ""
    for symbol in table.iter_symbols():
        kind, scope = symbol["st_info"]["type"], symbol["st_info"]["bind"]
        if kind == "STT_FILE":
            source = symbol.name
        elif kind in {"STT_FUNC", "STT_OBJECT"} and symbol["st_size"] and isinstance(symbol["st_shndx"], int):
            name = f"{source}: {symbol.name}" if scope == "STB_LOCAL" else symbol.name
            yield symbol["st_shndx"], name, symbol["st_size"]
