"""How names and other short texts may be spelt: one rule each, for what a person types, imports or stores.

They become file names, C strings, comments and lines of a report; templates escape them all the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

LONGEST_NAME, LONGEST_LABEL = 64, 200
"""Characters."""


@dataclass(frozen=True)
class Spelling:
    """A rule for a text; calling it with one returns that text, or raises a ValueError that says what is allowed."""

    pattern: re.Pattern[str]
    """Of the whole text."""
    longest: int
    """Characters."""
    allowed: str
    """The rule in words."""

    def __call__(self, text: str) -> str:
        if len(text) > self.longest or not text.isprintable() or not self.pattern.fullmatch(text):
            raise ValueError(f"{text[: self.longest]!a} must be {self.allowed}")
        return text


NAME = Spelling(
    re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*"),
    LONGEST_NAME,
    f"letters, digits and _ . + -, a letter or digit first, at most {LONGEST_NAME} characters",
)
"""Of models, boards, data sets, kinds of layers: may become the name of a file or folder."""
LABEL = Spelling(re.compile(r".*"), LONGEST_LABEL, f"one line of printable characters, at most {LONGEST_LABEL}")
"""Of layers, classes, compilers: shown to a person, never the name of a file. May be empty."""
RELATIVE_PATH = Spelling(
    re.compile(r"(?!\.\.?(/|$))[A-Za-z0-9_.+-]+(/(?!\.\.?(/|$))[A-Za-z0-9_.+-]+)*"),
    LONGEST_LABEL,
    "a relative path with slashes that stays in its folder",
)
"""Of the files of a project."""
WORD = Spelling(re.compile(r"[^\s-]\S*"), LONGEST_LABEL, f"a word that does not start with -, at most {LONGEST_LABEL}")
"""Of what another tool calls something: an argument of its own on a command line, never an option."""

Name = Annotated[str, NAME]
Label = Annotated[str, LABEL]
RelativePath = Annotated[str, RELATIVE_PATH]
