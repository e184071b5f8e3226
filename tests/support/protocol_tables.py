"""The tables of docs/PROTOCOL.md, from pipeline/protocol/wire.py. `python -m tests.support.protocol_tables` brings the
document up to date; tests/unit/protocol/test_wire.py tells when it is not."""

from __future__ import annotations

import re

from pipeline.core.paths import RESOURCES
from pipeline.protocol import wire
from pipeline.protocol.wire import Field, Message

DOCUMENT = RESOURCES / "docs" / "PROTOCOL.md"
BLOCK = re.compile(r"(<!-- tables -->\n).*(<!-- end of tables -->\n)", re.DOTALL)


def updated(document: str) -> str:
    """The document with the tables of today between its two marks."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{tables()}\n{found[2]}", document)


def tables() -> str:
    """All messages and errors in Markdown."""
    return "\n".join([*(_message(message) for message in wire.MESSAGES), _errors()])


def _message(message: Message) -> str:
    lines = [f"### {message.name} (0x{message.code:02x})", "", message.doc, ""]
    if message.name not in ("FAULT", "ERROR"):
        lines += [*_fields("request", message.request, message.request_tail), ""]
    lines += [*_fields("reply", message.reply, message.reply_tail), ""]
    return "\n".join(lines)


def _fields(what: str, fields: tuple[Field, ...], tail: str) -> list[str]:
    if not fields and not tail:
        return [f"No fields in the {what}."]
    rows, offset = [f"| {what} byte | type | field | meaning |", "|---|---|---|---|"], 0
    for field in fields:
        rows.append(f"| {offset} | {field.ctype} | `{field.name}` | {field.doc} |")
        offset += field.size
    return [*rows, f"| {offset} ... | bytes | | {tail} |"] if tail else rows


def _errors() -> str:
    rows = ["### Error codes", "", "| code | name | meaning |", "|---|---|---|"]
    return "\n".join([*rows, *(f"| {code} | `{name}` | {doc} |" for name, code, doc in wire.ERRORS), ""])


if __name__ == "__main__":
    DOCUMENT.write_text(updated(DOCUMENT.read_text()))
