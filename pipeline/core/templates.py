"""The templates of templates/, whose C and project files must come out to the byte."""

from __future__ import annotations

import jinja2

from pipeline.core import paths


def environment() -> jinja2.Environment:
    """Templates by file name. An undefined name is an error, tags leave no blank lines; filter `rows`."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(paths.shipped("templates")), undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    made.filters["rows"] = rows
    return made


def rows(values: tuple[int, ...], per_row: int = 16) -> list[str]:
    """Lines of comma-separated numbers, `per_row` each, for an array initializer.

    >>> rows((1, -2, 3), 2)
    ['1, -2,', '3,']
    """
    return [", ".join(map(str, values[i : i + per_row])) + "," for i in range(0, len(values), per_row)]
