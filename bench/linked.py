"""Which functions and constants of an image a layer needs: what its function refers to, directly or through others."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile

from pipeline.core import shell

OBJDUMP = "arm-none-eabi-objdump"
_ADDRESS = re.compile(r"^ *([0-9a-f]+):\t")
_TARGET = re.compile(r"\b([0-9a-f]+) <[^>]+>")
_WORD = re.compile(r"\.word\s+0x([0-9a-f]+)")


@dataclass(frozen=True)
class _Symbol:
    """A function or constant; words: of a constant in flash, what it may point to."""

    start: int
    size: int
    name: str
    section: str
    is_function: bool
    words: tuple[int, ...]


class Image:
    """The functions and constants of a firmware."""

    def __init__(self, elf: Path) -> None:
        with elf.open("rb") as file:
            self._symbols = _read(ELFFile(file))
        self._starts = [symbol.start for symbol in self._symbols]
        self._references = self._find_references(elf)

    def code_bytes(self, function: int, section: str) -> int:
        """Bytes of all in the section that the function at this address needs; of constants, those inside it."""
        start = self._at(function)
        needed, waiting = {start}, [start]
        while waiting:
            for symbol in self._references[waiting.pop()] - needed:
                needed.add(symbol)
                waiting.append(symbol)
        return sum(symbol.size for symbol in needed if symbol and symbol.section == section)

    def _find_references(self, elf: Path) -> dict[_Symbol | None, set[_Symbol | None]]:
        """What each function or constant refers to: targets of branches, addresses beside code, pointers in tables."""
        references: dict[_Symbol | None, set[_Symbol | None]] = defaultdict(set)
        for line in shell.run([OBJDUMP, "-d", "--no-show-raw-insn", elf]).output.splitlines():
            address, branch, word = _ADDRESS.match(line), _TARGET.search(line), _WORD.search(line)
            if address and branch:
                references[self._at(int(address[1], 16))].add(self._at(int(branch[1], 16)))
            elif address and word:
                references[self._at(int(address[1], 16))].add(self._pointed(int(word[1], 16)))
        for symbol in self._symbols:
            references[symbol] |= {self._pointed(word) for word in symbol.words}
        return references

    def _pointed(self, word: int) -> _Symbol | None:
        """What the word points to. Where flash starts at 0 a small number may look like an address; a function's is odd
        and its first."""
        symbol = self._at(word)
        return symbol if symbol and (not symbol.is_function or word == symbol.start + 1) else None

    def _at(self, address: int) -> _Symbol | None:
        """The symbol that holds the address, if any does."""
        index = bisect_right(self._starts, address) - 1
        symbol = self._symbols[index]
        return symbol if index >= 0 and address < symbol.start + symbol.size else None


def _read(elf: ELFFile) -> list[_Symbol]:
    """By address."""
    symbols = []
    for symbol in elf.get_section_by_name(".symtab").iter_symbols():
        kind, index = symbol["st_info"]["type"], symbol["st_shndx"]
        if kind in {"STT_FUNC", "STT_OBJECT"} and symbol["st_size"] and isinstance(index, int):
            section, start, size = elf.get_section(index), symbol["st_value"] & ~1, symbol["st_size"]
            data = section.data()[start - section["sh_addr"] :][:size] if kind == "STT_OBJECT" else b""
            words = tuple(int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data) - 3, 4))
            holds_pointers = section.name == ".nn" or symbol.name.endswith("_params")
            words = words if holds_pointers else ()
            symbols.append(_Symbol(start, size, symbol.name, section.name, kind == "STT_FUNC", words))
    return sorted(symbols, key=lambda s: s.start)
