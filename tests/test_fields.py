"""Every field of a noun is documented where it stands: meaning, unit, range."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core import paths, registry

DIGESTED = {path for kind in ("datasets", "models", "attacks") for path in registry.files(kind).values()}
"""Plug-ins whose whole text decides a training's key: a docstring there would make stored trainings invalid."""
FILES = sorted(set(paths.PACKAGE.rglob("*.py")) - DIGESTED)


def fields(text: str) -> Iterator[tuple[str, str, str]]:
    """(class, field, docstring) of every annotated attribute of the public classes; "" where there is no docstring."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for statement, following in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(statement, ast.AnnAssign) and "ClassVar" not in ast.unparse(statement.annotation):
                    yield node.name, ast.unparse(statement.target), docstring(following)


def docstring(statement: ast.stmt | None) -> str:
    """The text of a statement that is only a string, else ""."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return str(statement.value.value).strip()
    return ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(paths.PACKAGE).as_posix())
def test_every_field_has_a_docstring(path: Path):
    missing = [f"{owner}.{name}" for owner, name, text in fields(path.read_text()) if not text]
    assert missing == [], f"{path}: say meaning, unit and range in a docstring under each of these fields"


def test_a_field_without_a_docstring_is_seen():
    text = 'class A:\n    x: int\n    """Of it."""\n    y: int = 0\n    z: ClassVar[int] = 0\n'
    assert list(fields(text)) == [("A", "x", "Of it."), ("A", "y", "")]
