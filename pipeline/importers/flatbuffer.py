"""FlatBuffers as plain values, read from hostile bytes: every offset, count and size is checked before it is followed.

A schema is a mapping from a table's name to its fields, in the order of their slots. A field's type is a `struct`
format of one little-endian scalar, "string", "[x]" (a vector of scalars x or of tables x), the name of a table, or
"union": the position of a table whose name the caller knows (`Reader.table`).
Format: https://flatbuffers.dev/internals
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.core.errors import ConfigError

MOST_TABLES = 100_000
"""Tables read of one file. Many offsets may name one table, so a small file could ask for any amount of memory."""
MOST_ELEMENTS = 1 << 26
"""Elements of all vectors read of one file, for the same reason."""
ALIGNMENT = 16
"""Of everything written, in bytes: what TensorFlow Lite asks of its constants."""

Row = Mapping[str, Any]
"""A table: its fields by name, and under UNKNOWN the numbers of present slots that the schema does not have."""
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Field:
    """One field of a table."""

    name: str
    """As in the schema."""
    type: str
    """See the module."""
    default: Any = 0
    """The value of an absent scalar; absent strings, vectors and tables are None."""


Schema = Mapping[str, tuple[Field, ...]]


def schema(text: str) -> Schema:
    """The schema of lines "Table: name:type name:type=default ..."; a line that is indented continues the last one."""
    tables = {}
    for line in text.strip().replace("\n ", " ").splitlines():
        name, _, fields = line.partition(":")
        tables[name] = tuple(_field(word) for word in fields.split())
    return tables


def _field(word: str) -> Field:
    name, kind = word.split(":")
    kind, _, default = kind.partition("=")
    return Field(name, kind, int(default) if default else 0)


class Reader:
    """Reads tables of `data`. Every method raises ConfigError, naming `place`, for bytes that are not what they should
    be."""

    def __init__(self, data: bytes, tables: Schema, place: str) -> None:
        self._data, self._tables, self._place = data, tables, place
        self._left = {"tables": MOST_TABLES, "elements": MOST_ELEMENTS}

    def root(self, name: str, identifier: bytes) -> Row:
        """The root table, of that name, of a file with that identifier of four bytes."""
        if self._data[4:8] != identifier:
            raise self._damaged(f"its bytes 4 to 7 are not {identifier.decode()}")
        return self.table(self._follow(0), name)

    def table(self, at: int, name: str) -> Row:
        """The table of that name at that position, with all that it holds."""
        self._spend("tables", 1)
        slots = self._slots(at)
        fields = self._tables[name]
        row = {f.name: self._value(f, slots[i] if i < len(slots) else 0) for i, f in enumerate(fields)}
        row[UNKNOWN] = tuple(i for i, position in enumerate(slots) if position and i >= len(fields))
        return row

    def _slots(self, at: int) -> list[int]:
        """Position of the value in each slot of the table at `at`, 0 for an absent one."""
        vtable = at - int(self._scalar("i", at))
        size, inline = self._scalar("H", vtable), self._scalar("H", vtable + 2)
        if size < 4 or size % 2 or inline < 4:
            raise self._damaged(f"the table at byte {at} has {inline} bytes, its description {size}")
        self._span(vtable, size)
        self._span(at, inline)
        offsets = struct.unpack_from(f"<{size // 2 - 2}H", self._data, vtable + 4)
        if any(offset >= inline for offset in offsets):
            raise self._damaged(f"the table at byte {at} has a field beyond its end")
        return [at + offset if offset else 0 for offset in offsets]

    def _value(self, field: Field, at: int) -> Any:
        if len(field.type) == 1:
            return self._scalar(field.type, at) if at else field.default
        if not at:
            return None
        target = self._follow(at)
        if field.type == "union":
            return target
        if field.type == "string":
            return bytes(self._vector(target, 1)).decode("utf-8", "replace")
        if field.type.startswith("["):
            return self._elements(target, field.type[1:-1])
        return self.table(target, field.type)

    def _elements(self, at: int, kind: str) -> Any:
        if len(kind) == 1:
            return np.frombuffer(self._vector(at, struct.calcsize(f"<{kind}")), np.dtype(kind).newbyteorder("<"))
        count = len(self._vector(at, 4)) // 4
        return [self.table(self._follow(at + 4 + 4 * i), kind) for i in range(count)]

    def _vector(self, at: int, size: int) -> memoryview:
        count = self._scalar("I", at)
        self._spend("elements", count)
        return self._span(at + 4, count * size)

    def _follow(self, at: int) -> int:
        return int(at + self._scalar("I", at))

    def _scalar(self, kind: str, at: int) -> Any:
        return struct.unpack(f"<{kind}", self._span(at, struct.calcsize(f"<{kind}")))[0]

    def _span(self, at: int, size: int) -> memoryview:
        if at < 0 or at + size > len(self._data):
            raise self._damaged(f"it ends after {len(self._data)} bytes, bytes {at} to {at + size - 1} are named")
        return memoryview(self._data)[at : at + size]

    def _spend(self, what: str, count: int) -> None:
        self._left[what] -= count
        if self._left[what] < 0:
            raise self._damaged(f"it names more {what} than any network has")

    def _damaged(self, why: str) -> ConfigError:
        return ConfigError(f"{self._place} damaged: {why}", "download or convert it again")


def write(root: Row, name: str, tables: Schema, identifier: bytes) -> bytes:
    """The file of that root table; fields that `root` leaves out or sets to None are absent. A union is a pair (table
    name, row)."""
    writer = _Writer(tables)
    writer.data += bytes(4) + identifier
    writer.point(0, writer.table(root, name))
    return bytes(writer.data)


@dataclass
class _Writer:
    """Appends tables, each before what it points to: all offsets are positive."""

    tables: Schema
    data: bytearray = field(default_factory=bytearray)

    def point(self, at: int, target: int) -> None:
        """Stores in `at` the offset that leads to `target`."""
        struct.pack_into("<I", self.data, at, target - at)

    def table(self, row: Row, name: str) -> int:
        """Position of the table."""
        present = [(i, f) for i, f in enumerate(self.tables[name]) if row.get(f.name) is not None]
        slots = [0] * (present[-1][0] + 1 if present else 0)
        for number, (slot, _) in enumerate(present):
            slots[slot] = 8 + 8 * number  # 8 bytes for each field: every scalar is aligned
        inline = 8 + 8 * len(present)
        vtable = self._append(struct.pack(f"<{2 + len(slots)}H", 4 + 2 * len(slots), inline, *slots))
        at = self._append(bytes(inline))
        struct.pack_into("<i", self.data, at, at - vtable)
        for slot, f in present:
            self._put(at + slots[slot], f.type, row[f.name])
        return at

    def _put(self, at: int, kind: str, value: Any) -> None:
        if len(kind) == 1:
            struct.pack_into(f"<{kind}", self.data, at, value)
        elif kind == "union":
            self.point(at, self.table(value[1], value[0]))
        elif kind == "string":
            self.point(at, self._vector(len(value.encode()), value.encode() + b"\0"))
        elif kind.startswith("["):
            self._elements(at, kind[1:-1], value)
        else:
            self.point(at, self.table(value, kind))

    def _elements(self, at: int, kind: str, values: Any) -> None:
        if len(kind) == 1:
            self.point(at, self._vector(len(values), np.asarray(values, np.dtype(kind).newbyteorder("<")).tobytes()))
            return
        first = self._vector(len(values), bytes(4 * len(values)))
        self.point(at, first)
        for i, row in enumerate(values):
            self.point(first + 4 + 4 * i, self.table(row, kind))

    def _vector(self, count: int, body: bytes) -> int:
        """Position of the vector; its elements are aligned."""
        self.data += bytes(-(len(self.data) + 4) % ALIGNMENT)
        self.data += struct.pack("<I", count) + body
        return len(self.data) - len(body) - 4

    def _append(self, body: bytes) -> int:
        self.data += bytes(-len(self.data) % ALIGNMENT)
        self.data += body
        return len(self.data) - len(body)
