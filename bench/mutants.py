"""Mutation testing: which small changes to the code go unnoticed?

    python -m bench.mutants [--sample N] [--seed N]
    python -m bench.mutants --survivors     # tries those again that survived, once there are new tests

Continues where a run with the same seed stopped.

A mutant is one file with one operator or number changed. It is killed when a test of its package fails or times out,
in a copy of the working tree. Writes bench/results/mutants.json and docs/MUTANTS.md from it.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
STORED = ROOT / "bench/results/mutants.json"
DOCUMENT = ROOT / "docs/MUTANTS.md"
TIMEOUT_S = 600
_SESSIONS = tuple(f"tests/unit/device/test_{of}.py" for of in ("bounds", "endings", "delta", "session", "transfer"))
_EXAMPLES = "tests/unit/test_docstrings.py"
_HOSTILE = ("tests/fuzz/test_host.py", "tests/conformance/test_link_c.py")
TESTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "network": (
        ("tests/conformance/test_arith.py", "tests/unit/network"),
        (
            "tests/conformance/test_kernels.py",
            "tests/unit/robustness/test_surrogate.py",
            "tests/unit/stages/test_lower.py",
        ),
        ("tests/unit/importers", "tests/unit/quantization", "tests/conformance/test_tflite.py"),
    ),
    "protocol": (("tests/unit/protocol",), _SESSIONS, _HOSTILE),
    "device": (
        _SESSIONS,
        ("tests/unit/device", "tests/unit/robustness/test_device_oracle.py"),
        (*_HOSTILE, "tests/emulated/test_link_faults.py", "tests/emulated/test_cable.py"),
    ),
    "core": (
        (*(f"tests/unit/core/test_{of}.py" for of in ("store", "digest", "registry", "text", "nouns")), _EXAMPLES),
        ("tests/unit/core/test_damage.py", "tests/unit/stages/test_render.py", "tests/unit/config/test_job.py"),
        ("tests/unit/core/test_processes.py", "tests/unit/robustness/test_cluster.py"),
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
    """Where it differs, from 1."""
    column: int
    """Where the expression that differs begins, from 0."""
    change: str
    """What was there, and what is."""
    node: int
    """Number of that expression's node in the file's tree, as ast.walk counts."""

    def text(self) -> str:
        """The file, changed, without comments."""
        tree = ast.parse((ROOT / self.path).read_text(encoding="utf-8"))
        node = list(ast.walk(tree))[self.node]
        dict(_changes(node))[self.change](node)
        return ast.unparse(tree)


def mutants(package: str) -> Iterator[Mutant]:
    """Every mutant of the package. Decorators and annotations are left alone: mypy checks those."""
    for path in sorted((ROOT / "pipeline" / package).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        declared = set(_declarations(tree))
        for number, node in enumerate(ast.walk(tree)):
            for change, _ in _changes(node) if node not in declared else ():
                place = (getattr(node, "lineno", 1), getattr(node, "col_offset", 0))
                yield Mutant(package, path.relative_to(ROOT), *place, change, number)


def _declarations(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node of a decorator or an annotation."""
    for node in ast.walk(tree):
        single = [getattr(node, name, None) for name in ("annotation", "returns")]
        for root in (*getattr(node, "decorator_list", ()), *single):
            yield from ast.walk(root) if root is not None else ()


def _changes(node: ast.AST) -> Iterator[tuple[str, Callable[[Any], None]]]:
    """(what changes, how to do it) of a node."""
    if isinstance(node, ast.Compare):
        for place, op in enumerate(node.ops):
            if new := SWAPPED.get(type(op)):
                number = f" of number {place + 1}" if place else ""
                yield _named(op, new) + number, lambda n, place=place, new=new: n.ops.__setitem__(place, new())
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
    place.write_text(mutant.text(), encoding="utf-8")
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


def chosen_again(stored: Mapping[str, Any]) -> list[Mutant]:
    """The stored survivors, as the code is now; one whose code has changed since is gone."""
    wanted = {_key(found) for found in stored["tried"] if found["survived"]}
    return [mutant for package in TESTS for mutant in mutants(package) if _key(record(mutant)) in wanted]


def record(mutant: Mutant, survived: bool = False) -> dict[str, Any]:
    """As in the stored results. at_first: whether it survived when it was tried first."""
    line = (ROOT / mutant.path).read_text(encoding="utf-8").splitlines()[mutant.line - 1].strip()
    place = {"package": mutant.package, "path": str(mutant.path), "line": mutant.line, "column": mutant.column}
    return {**place, "code": line, "change": mutant.change, "survived": survived, "at_first": survived}


def _key(found: Mapping[str, Any]) -> tuple[str | int, ...]:
    """What makes two mutants the same one: not the line's number, which moves."""
    return found["path"], found["code"], found["column"], found["change"]


def document(stored: Mapping[str, Any]) -> str:
    """The text of docs/MUTANTS.md."""
    tried = stored["tried"]
    left = [found for found in tried if found["survived"]]
    since = sum(found["at_first"] and not found["survived"] for found in tried)
    told = (
        f"Written by `make mutants` (seed {stored['seed']}). Of {stored['all']} mutants of `pipeline/`, each with one "
        f"operator or number changed, {len(tried)} were tried at random: {len(left)} survive the tests of their "
        f"package ({len(left) / len(tried):.0%}). {since} more had survived at first; there are tests now for these."
    )
    lines = [
        "# Mutants",
        "",
        *textwrap.wrap(told, 100),
        "",
        "| package | mutants | survived at first | survive |",
        "| --- | --- | --- | --- |",
    ]
    for package in TESTS:
        of_it = [found for found in tried if found["package"] == package]
        counts = (len(of_it), sum(found["at_first"] for found in of_it), sum(found["survived"] for found in of_it))
        lines.append(f"| {package} | {' | '.join(map(str, counts))} |")
    lines += ["", "Survivors:", ""] if left else []
    lines += [f"- `{found['path']}`: {found['change']} in `{found['code']}`" for found in left]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Tries what is asked for; what is found is stored after every mutant."""
    parser = argparse.ArgumentParser(description="Which small changes to the code go unnoticed?")
    parser.add_argument("--sample", type=int, help="number of mutants to try instead of all")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--survivors", action="store_true", help="only those again that survived")
    options = parser.parse_args()
    stored = so_far(options.seed)
    done = {_key(found) for found in stored["tried"]}
    todo = [mutant for mutant in chosen(options.sample, options.seed) if _key(record(mutant)) not in done]
    if options.survivors:
        todo = chosen_again(stored)
    with tempfile.TemporaryDirectory() as folder:
        tree = copied_tree(Path(folder))
        sound: set[tuple[str, ...]] = set()
        for mutant in todo:
            found = record(mutant, survives(mutant, tree, sound))
            print("survived" if found["survived"] else "killed", mutant.path, mutant.line, mutant.change, flush=True)
            keep(stored, found)


def so_far(seed: int) -> dict[str, Any]:
    """The stored results of this seed, or none yet."""
    count = sum(1 for package in TESTS for _ in mutants(package))
    stored = json.loads(STORED.read_text(encoding="utf-8")) if STORED.exists() else {}
    return {"seed": seed, "tried": stored["tried"] if stored.get("seed") == seed else [], "all": count}


def keep(stored: dict[str, Any], found: dict[str, Any]) -> None:
    """Adds the result, in the place of an earlier one of the same mutant, and writes both files."""
    known = {_key(earlier): earlier for earlier in stored["tried"]}
    at_first = known.get(_key(found), found)["at_first"]
    stored["tried"] = [*{**known, _key(found): {**found, "at_first": at_first}}.values()]
    STORED.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    DOCUMENT.write_text(document(stored), encoding="utf-8")


if __name__ == "__main__":
    main()
