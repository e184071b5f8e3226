"""Which functions and constants of an image a layer needs: what its function refers to, directly or through others."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile

from pipeline import shell

OBJDUMP = "arm-none-eabi-objdump"
_FUNCTION = re.compile(r"^[0-9a-f]+ <([^>]+)>:$")
_TARGET = re.compile(r"<([^>+]+)(?:\+0x[0-9a-f]+)?>$")
_WORD = re.compile(r"\.word\s+(0x[0-9a-f]+)$")


@dataclass(frozen=True)
class _Symbol:
    start: int
    size: int
    name: str
    section: str


class Image:
    """The functions and constants of a firmware by name."""

    def __init__(self, elf: Path) -> None:
        with elf.open("rb") as file:
            self._symbols, self._words = _read(ELFFile(file))
        self._starts = [symbol.start for symbol in self._symbols]
        self._by_name = {symbol.name: symbol for symbol in self._symbols}
        self._references = self._find_references(elf)

    def code_bytes(self, layer: int, section: str) -> int:
        """Bytes of everything in the section that the layer's function needs; of constants, those inside it."""
        start = next(name for name in self._by_name if re.match(rf"layer{layer}_.*$", name) and self._is_code(name))
        needed, waiting = {start}, [start]
        while waiting:
            for name in self._references[waiting.pop()] - needed:
                needed.add(name)
                waiting.append(name)
        symbols = (self._by_name[name] for name in needed if name != start)
        return sum(symbol.size for symbol in symbols if symbol.section == section)

    def _is_code(self, name: str) -> bool:
        return name in self._references

    def _find_references(self, elf: Path) -> dict[str, set[str]]:
        """Names that each function or constant refers to."""
        references: dict[str, set[str]] = defaultdict(set)
        function = ""
        for line in shell.run([OBJDUMP, "-d", "--no-show-raw-insn", elf]).output.splitlines():
            if header := _FUNCTION.match(line):
                function = header[1]
                references[function] = set()
            elif (target := _TARGET.search(line)) and target[1] in self._by_name:
                references[function].add(target[1])
            elif word := _WORD.search(line):
                references[function] |= self._at(int(word[1], 16))
        for name, words in self._words.items():
            for value in words:
                references[name] |= self._at(value)
        return references

    def _at(self, address: int) -> set[str]:
        """The symbol that holds the address, if any does."""
        index = bisect_right(self._starts, address) - 1
        symbol = self._symbols[index]
        return {symbol.name} if index >= 0 and address < symbol.start + symbol.size else set()


def _read(elf: ELFFile) -> tuple[list[_Symbol], dict[str, list[int]]]:
    """Symbols by address; words of each constant of the kernels."""
    symbols, words = [], {}
    for symbol in elf.get_section_by_name(".symtab").iter_symbols():
        kind, index = symbol["st_info"]["type"], symbol["st_shndx"]
        if kind not in {"STT_FUNC", "STT_OBJECT"} or not symbol["st_size"] or not isinstance(index, int):
            continue
        section, start, size = elf.get_section(index), symbol["st_value"] & ~1, symbol["st_size"]
        symbols.append(_Symbol(start, size, symbol.name, section.name))
        if kind == "STT_OBJECT" and section.name == ".nn":
            data = section.data()[start - section["sh_addr"] :][: size // 4 * 4]
            words[symbol.name] = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
    return sorted(symbols, key=lambda s: s.start), words
