"""The templates of templates/: C and project files, which must come out to the byte, and pages for people."""

from __future__ import annotations

import re

import jinja2
import numpy as np

from pipeline.core import paths, text


def environment() -> jinja2.Environment:
    """Templates by file name. An undefined name is an error, tags leave no blank lines.

    Filters: `rows` and `c_float` for numbers; and for every text that a person, a file or another tool named, where it
    is printed: `c_string`, `c_comment`, `line` (comments and values that end with their line), `cmake` (inside a quoted
    argument), `code` (between backquotes) and `cell` (of a Markdown table).
    """
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(paths.shipped("templates")), undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    made.filters.update(FILTERS)
    return made


def pages() -> jinja2.Environment:
    """Templates of what a person reads, Markdown and HTML, by file name; text in HTML is escaped. Filters: those of
    `environment`, and numbers as a person reads them, by the names of core/text.py."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(paths.shipped("templates")), undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
        autoescape=jinja2.select_autoescape(enabled_extensions=("html.j2",), default=False),
    )  # fmt: skip
    made.filters.update(
        FILTERS, percent=text.percent, count=text.count, compact=text.compact, size=text.size, signed=text.signed
    )
    return made


def line(text: object) -> str:
    r"""The text in printable ASCII, so one line; other characters as Python escapes.

    >>> print(line("a\nb\x7f"))
    a\nb\x7f
    """
    return "".join(c if " " <= c <= "~" else c.encode("unicode_escape").decode() for c in str(text))


def c_comment(text: object) -> str:
    """The text for a C comment, or a linker script's: one line that does not end the comment or begin another.

    >>> print(c_comment("a */ b /* c"))
    a * / b / * c
    """
    return re.sub(r"(?<=\*)/|(?<=/)\*", lambda found: f" {found[0]}", line(text)).replace("??", "? ?")


def c_string(text: object) -> str:
    r"""A C string literal of the text's UTF-8 bytes.

    >>> print(c_string('a"b?'))
    "a\"b\?"
    """
    plain = {ord(c): c for c in map(chr, range(32, 127))} | {ord(c): f"\\{c}" for c in '"\\?'}
    return '"' + "".join(plain.get(byte, f"\\{byte:03o}") for byte in str(text).encode(errors="backslashreplace")) + '"'


def cmake(text: object) -> str:
    r"""The text inside a quoted argument of CMake.

    >>> print(cmake('${x} "y"'))
    \${x} \"y\"
    """
    return re.sub(r'[\\"$;]', lambda found: f"\\{found[0]}", line(text))


def code(text: object) -> str:
    """The text between backquotes in Markdown.

    >>> code("a`b")
    "a'b"
    """
    return line(text).replace("`", "'")


def cell(text: object) -> str:
    """The text in a cell of a Markdown table: one line that adds no cell and no tag; other alphabets stay.

    >>> cell("a|b<c>é")
    'a/b&lt;c>é'
    """
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
    return shown.replace("|", "/").replace("<", "&lt;").replace("`", "'")


def rows(values: tuple[int | str, ...], width: int = 96) -> list[str]:
    """Lines of comma-separated numbers, each as long as `width` allows, for an array initializer.

    >>> rows((1, -2, 3), 7)
    ['1, -2,', '3,']
    """
    lines: list[str] = []
    for number in map(str, values):
        if lines and len(lines[-1]) + len(number) + 2 <= width:
            lines[-1] += f" {number},"
        else:
            lines.append(f"{number},")
    return lines


def c_float(value: float) -> str:
    """A C constant of type float: the shortest decimal of the nearest one.

    >>> c_float(1 / 255), c_float(2), c_float(1e-9)
    ('0.003921569f', '2.0f', '1e-09f')
    """
    return f"{np.float32(value)!s}f"


FILTERS = {
    "rows": rows,
    "c_float": c_float,
    "line": line,
    "c_comment": c_comment,
    "c_string": c_string,
    "cmake": cmake,
    "code": code,
    "cell": cell,
}
"""By their names in templates."""
