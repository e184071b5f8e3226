"""Keys: digests of what a stored noun was made from."""

from __future__ import annotations

import ast

from pipeline.core import paths, registry
from pipeline.core.digest import digest_of


class _WithoutImports(ast.NodeTransformer):
    """Drops import statements, wherever they are."""

    def visit_Import(self, node: ast.Import) -> None:
        return None

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        return None


class _Statements(_WithoutImports):
    """Drops docstrings as well."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else node


def plug_in(package: str, name: str) -> str:
    """Digest of a plug-in's code. Comments, docstrings, layout and imports do not count: hours of training must not
    depend on how something is described, or where a helper lives."""
    return _digest(package, name, _Statements())


def plug_in_with_docstrings(package: str, name: str) -> str:
    """The digest that earlier versions had of it, by which a training that they stored is known."""
    return _digest(package, name, _WithoutImports())


def _digest(package: str, name: str, kept: ast.NodeTransformer) -> str:
    return digest_of(ast.dump(kept.visit(ast.parse(registry.path(package, name).read_text(encoding="utf-8")))))


def integers() -> str:
    """Digest of the code that decides what a network of integers answers to an attack."""
    return packages("network", "robustness")


def packages(*names: str) -> str:
    """Digest of the code of these packages, plug-ins too, without comments, docstrings, layout and imports."""
    files = [path for name in names for path in sorted((paths.PACKAGE / name).rglob("*.py"))]
    trees = [_Statements().visit(ast.parse(path.read_text(encoding="utf-8"))) for path in files]
    return digest_of([ast.dump(tree) for tree in trees])


def code() -> str:
    """Digest of all code that can decide what is lowered and rendered; the same in a checkout and installed."""
    trees = (
        ("pipeline", paths.PACKAGE, "*.py"),
        ("templates", paths.shipped("templates"), "*.j2"),
        ("firmware", paths.shipped("firmware"), "*.[chS]*"),
    )
    files = sorted(
        (f"{name}/{path.relative_to(root).as_posix()}", path)
        for name, root, pattern in trees
        for path in root.rglob(pattern)
    )
    return digest_of([[place, path.read_bytes()] for place, path in files])
