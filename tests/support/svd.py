"""Register descriptions of the chip makers (SVD files), and the constants of a port as the compiler sees them."""

from __future__ import annotations

import os
import re
import struct
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import util
from pathlib import Path
from xml.etree import ElementTree

import pytest
from elftools.elf.elffile import ELFFile

from pipeline.config.board import Board
from pipeline.core import shell
from pipeline.stages import render
from tests.support import tiny
from tests.support.device_header import DeviceHeader


class Description:
    """Registers, fields and interrupts of one SVD file."""

    def __init__(self, text: bytes) -> None:
        self.peripherals = {p.findtext("name", "").upper(): p for p in ElementTree.fromstring(text).iter("peripheral")}

    def _source(self, name: str) -> ElementTree.Element:
        """The peripheral, or what it has in one of its modes, as in SERCOM5/USART."""
        name, _, mode = name.partition("/")
        peripheral = self.peripherals[self.peripherals[name].get("derivedFrom", name).upper()]
        clusters = (c for c in peripheral.iter("cluster") if c.findtext("name", "").upper() == mode)
        return next(clusters) if mode else peripheral

    @staticmethod
    def _named(peripheral: str, register: str) -> str:
        """Pattern of a register's name: some descriptions write PWR_CR5 for CR5."""
        return rf"(?:{peripheral.rstrip('0123456789')}\d*_)?(?:{register})"

    def base(self, peripheral: str) -> int:
        return int(self.peripherals[peripheral.partition("/")[0]].findtext("baseAddress", ""), 0)

    def interrupt(self, peripheral: str) -> int:
        for candidate in self.peripherals.values():
            for interrupt in candidate.iter("interrupt"):
                if interrupt.findtext("name", "").removesuffix("_IRQ") == peripheral:
                    return int(interrupt.findtext("value", ""))
        raise LookupError(f"no interrupt of {peripheral}")

    def register(self, peripheral: str, pattern: str) -> tuple[int, ElementTree.Element]:
        """(address, element)."""
        for register in self._source(peripheral).iter("register"):
            if re.fullmatch(self._named(peripheral, pattern), register.findtext("name", "").upper()):
                return self.base(peripheral) + int(register.findtext("addressOffset", ""), 0), register
        raise LookupError(f"no register {peripheral}.{pattern}")

    def mask(self, peripheral: str, register: str, pattern: str) -> int:
        """Mask of the fields whose names match; older descriptions list a field's bits one by one, as SW0 and SW1."""
        mask = 0
        for field in self._fields(peripheral, register, pattern):
            mask |= _mask(field)
        if not mask:
            raise LookupError(f"no field {peripheral}.{register}.{pattern}")
        return mask

    def code(self, peripheral: str, register: str, pattern: str, name: str) -> int:
        """The value of that name of a field, where it lies in the register."""
        for field in self._fields(peripheral, register, pattern):
            for value in field.iter("enumeratedValue"):
                if value.findtext("name", "").upper() == name:
                    return int(value.findtext("value", ""), 0) * (_mask(field) & -_mask(field))
        raise LookupError(f"no value {peripheral}.{register}.{pattern} {name}")

    def _fields(self, peripheral: str, register: str, pattern: str) -> Iterator[ElementTree.Element]:
        for element in self._source(peripheral).iter("register"):
            if re.fullmatch(self._named(peripheral, register), element.findtext("name", "").upper()):
                for field in element.iter("field"):
                    if re.fullmatch(rf"(?:{pattern})\d*", field.findtext("name", "").upper()):
                        yield field


def _mask(field: ElementTree.Element) -> int:
    """By first bit and width, or by first and last bit, in two elements or as [last:first]."""
    if field.find("bitRange") is not None:
        last, first = map(int, field.findtext("bitRange", "").strip("[]").split(":"))
        return (1 << last + 1) - (1 << first)
    if field.find("lsb") is not None:
        first, last = (int(field.findtext(key, "")) for key in ("lsb", "msb"))
        return (1 << last + 1) - (1 << first)
    offset, width = (int(field.findtext(key, "")) for key in ("bitOffset", "bitWidth"))
    return (1 << width) - 1 << offset


@cache
def description(name: str) -> Description | DeviceHeader:
    """Of pyOCD, else of the folder TRITMCU_SVD, which may have a header instead, `name` in full; skips the test where
    neither has it."""
    package = util.find_spec("pyocd")
    assert package is not None and package.origin, "make setup installs pyocd"
    with zipfile.ZipFile(Path(package.origin).parent / "debug" / "svd" / "svd_data.zip") as shipped:
        if f"{name}.svd" in shipped.namelist():
            return Description(shipped.read(f"{name}.svd"))
    path = Path(os.environ.get("TRITMCU_SVD", "")) / (name if name.endswith(".h") else f"{name}.svd")
    if "TRITMCU_SVD" not in os.environ or not path.exists():
        pytest.skip(f"TRITMCU_SVD names no folder with {path.name}")
    return DeviceHeader(path.read_text(encoding="utf-8")) if path.suffix == ".h" else Description(path.read_bytes())


def register_macros(folder: Path) -> Iterator[str]:
    """Name of every macro in the headers of this folder and those in it that is a register."""
    for header in sorted(folder.rglob("*.h")):
        yield from re.findall(r"#define (\w+)(?:\([\w, ]+\))? REG(?:8|16|32)\(", header.read_text())


def evaluate(chosen: Board, expressions: Sequence[str]) -> dict[str, int]:
    """Value of every C expression as the compiler sees it after the port's mcu.h."""
    (values,) = evaluate_at_each(chosen, [chosen.link.baud], expressions)
    return dict(zip(expressions, values, strict=True))


def evaluate_at_each(chosen: Board, bauds: Sequence[int], expressions: Sequence[str]) -> list[tuple[int, ...]]:
    """The same at each rate of the link."""
    values = ", ".join(f"(uint32_t)(uintptr_t)({expression})" for expression in expressions)
    rows = "\n".join(f"#undef BOARD_BAUD\n#define BOARD_BAUD {baud}U\n{{{values}}}," for baud in bauds)
    check = f'#include "mcu.h"\nconst uint32_t values[][{len(expressions)}] = {{\n{rows}\n}};'
    sources = render.render(tiny.qmodel(), chosen)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for path, text in {**sources.files, "check.c": check}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        headers = {(folder / path).parent for path in sources.files if path.endswith(".h")}
        command = ["arm-none-eabi-gcc", *chosen.core_flags, "-std=c11", "-Werror", *(f"-I{h}" for h in sorted(headers))]
        shell.run([*command, "-c", "check.c", "-o", "check.o"], cwd=folder)
        with (folder / "check.o").open("rb") as file:
            data = ELFFile(file).get_section_by_name(".rodata").data()
    return list(struct.iter_unpack(f"<{len(expressions)}I", data))
