"""Mutation testing: which small changes to the code go unnoticed? python -m bench.mutants [--sample N] [--seed N]

A mutant is one file with one operator or number changed. It is killed when a test of its package fails or times out,
in a copy of the working tree. Writes docs/MUTANTS.md.
"""

from __future__ import annotations

import argparse
import ast
import copy
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs/MUTANTS.md"
TIMEOUT_S = 600
_SESSIONS = tuple(f"tests/unit/device/test_{of}.py" for of in ("bounds", "endings", "delta", "session", "transfer"))
_HOSTILE = ("tests/fuzz/test_host.py", "tests/conformance/test_link_c.py")
TESTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "network": (
        ("tests/conformance/test_arith.py", "tests/unit/network"),
        ("tests/conformance/test_kernels.py", "tests/unit/robustness/test_surrogate.py", "tests/unit/codegen"),
        ("tests/unit/importers", "tests/unit/stages", "tests/unit/quantization", "tests/conformance/test_tflite.py"),
    ),
    "protocol": (("tests/unit/protocol",), _SESSIONS, _HOSTILE),
    "device": (
        _SESSIONS,
        ("tests/unit/device", "tests/unit/robustness/test_device_oracle.py"),
        (*_HOSTILE, "tests/emulated/test_link_faults.py", "tests/emulated/test_cable.py", "tests/emulated/test_gdb.py"),
    ),
    "core": (
        ("tests/unit/core", "tests/unit/stages/test_render.py"),
        ("tests/unit/config", "tests/unit/robustness/test_cluster.py", "tests/test_common.py", "tests/unit/workflow"),
    ),
}
"""Package: the tests that answer for it, in rounds: the next one is for those that survived, and takes longer."""
SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.LShift: ast.RShift,
    ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One changed file."""

    package: str
    """Of the tests that must notice."""
    path: Path
    """In the repository."""
    line: int
    """Where it differs."""
    change: str
    """What was there, and what is."""
    text: str
    """The file, without comments."""


def mutants(package: str) -> Iterator[Mutant]:
    """Every mutant of the package. Decorators are left alone: whether a dataclass is frozen, mypy checks."""
    for path in sorted((ROOT / "pipeline" / package).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        declared = {
            part for node in ast.walk(tree) for of in getattr(node, "decorator_list", ()) for part in ast.walk(of)
        }
        for number, node in enumerate(ast.walk(tree)):
            for change, apply in _changes(node) if node not in declared else ():
                changed = copy.deepcopy(tree)
                apply(list(ast.walk(changed))[number])
                line = getattr(node, "lineno", 0)
                yield Mutant(package, path.relative_to(ROOT), line, change, ast.unparse(changed))


def _changes(node: ast.AST) -> Iterator[tuple[str, Callable[[Any], None]]]:
    """(what changes, how to do it) of a node."""
    if isinstance(node, ast.Compare):
        for place, op in enumerate(node.ops):
            if new := SWAPPED.get(type(op)):
                yield _named(op, new), lambda n, place=place, new=new: n.ops.__setitem__(place, new())
    elif isinstance(node, (ast.BinOp, ast.BoolOp, ast.AugAssign)):
        if new := SWAPPED.get(type(node.op)):
            yield _named(node.op, new), lambda n, new=new: setattr(n, "op", new())
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield f"{node.value} -> {node.value + 1}", lambda n: setattr(n, "value", n.value + 1)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield f"{node.value} -> {not node.value}", lambda n: setattr(n, "value", not n.value)


def _named(op: ast.AST, new: type[ast.AST]) -> str:
    return f"{type(op).__name__} -> {new.__name__}"


def survives(mutant: Mutant, copy_of_tree: Path, sound: set[tuple[str, ...]]) -> bool:
    """Whether every test of its package passes with the mutant in place. sound: rounds that are known to pass without;
    another one is tried before its first mutant, and ends the program if it fails."""
    for tests in TESTS[mutant.package]:
        if tests not in sound and not _passes(copy_of_tree, tests):
            sys.exit(f"error: these tests fail without a mutant: {' '.join(tests)}")
        sound.add(tests)
        with _in_place(mutant, copy_of_tree):
            if not _passes(copy_of_tree, tests):
                return False
    return True


@contextmanager
def _in_place(mutant: Mutant, copy_of_tree: Path) -> Iterator[None]:
    place = copy_of_tree / mutant.path
    original = place.read_bytes()
    place.write_text(mutant.text, encoding="utf-8")
    try:
        yield
    finally:
        place.write_bytes(original)


def _passes(tree: Path, tests: tuple[str, ...]) -> bool:
    """Whether all of them pass, and end in time."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        return subprocess.run(command, cwd=tree, capture_output=True, timeout=TIMEOUT_S, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def copied_tree(folder: Path) -> Path:
    """The files git knows or would know, in that folder."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def chosen(sample: int | None, seed: int) -> list[Mutant]:
    """All mutants, or a random sample of them, equally many per package; shuffled, so that a run that is cut
    short is a sample too."""
    source, found = random.Random(seed), []
    for package in TESTS:
        known = list(mutants(package))
        found += known if sample is None else source.sample(known, min(len(known), sample // len(TESTS)))
    source.shuffle(found)
    return found


def document(tried: list[tuple[Mutant, bool]], how: str) -> str:
    """The text of docs/MUTANTS.md."""
    left = [mutant for mutant, survived in tried if survived]
    lines = [
        "# Mutants",
        "",
        f"Written by `make mutants` ({how}): {len(tried)} mutants of `pipeline/` packages, each with one operator or",
        f"number changed; {len(left)} survived the tests of their package ({len(left) / len(tried):.0%}).",
        "",
        "| package | mutants | survived |",
        "|---|---|---|",
    ]
    for package in TESTS:
        of_it = [survived for mutant, survived in tried if mutant.package == package]
        lines.append(f"| {package} | {len(of_it)} | {sum(of_it)} |")
    lines += ["", "Survivors:", ""] if left else []
    lines += [f"- `{mutant.path}` line {mutant.line}: {mutant.change}" for mutant in left]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, help="number of mutants to try instead of all")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    options = parser.parse_args()
    todo = chosen(options.sample, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        tree = copied_tree(Path(folder))
        tried: list[tuple[Mutant, bool]] = []
        sound: set[tuple[str, ...]] = set()
        for mutant in todo:
            tried.append((mutant, survives(mutant, tree, sound)))
            print("survived" if tried[-1][1] else "killed", mutant.path, mutant.line, mutant.change, flush=True)
            DOCUMENT.write_text(document(tried, f"{len(tried)} of {len(todo)}, seed {options.seed}"), encoding="utf-8")


if __name__ == "__main__":
    main()
