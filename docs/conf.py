"""The documentation site: `make docs` turns the documents and the docstrings into build/docs/index.html."""

from __future__ import annotations

import re
from typing import Any

from pipeline import __version__

project, author = "tritmcu", "the tritmcu authors"
project_copyright = "Apache-2.0"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["images"]
html_theme = "furo"
html_title = f"tritmcu {release}"
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)]+)\)")
"""A link to a file of the repository that is no page of the site."""


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _name_files_outside)
    app.connect("autodoc-process-docstring", _plain)


def _name_files_outside(app: Any, page: str, source: list[str]) -> None:
    """The site holds docs/ alone: such a link becomes its text and the file's name."""
    source[0] = OUTSIDE.sub(r"\1 (`\2`)", source[0])


def _plain(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are prose, not reStructuredText: its signs stand for themselves, `code` is code."""
    for number, line in enumerate(lines):
        prose = re.split(r"(`[^`]+`)", line)
        escaped = [f"`{part}`" if part.startswith("`") else re.sub(r"([*|`\\])", r"\\\1", part) for part in prose]
        lines[number] = "".join(escaped)
