"""The rules of docs/DESIGN.md that a program can check: who may import whom, one door per library, no stray output."""

from __future__ import annotations

import ast
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import registry

LEVELS = {
    0: {"types", "arith", "errors", "wire", "text", "packing"},
    1: {"config", "board", "job", "registry", "shell", "store", "planner", "quantizers", "backend", "jacobian",
        "adversary", "checkpoint", "buffers",
        "calls", "footprint", "faults", "flashing", "lipschitz", "layerwise", "templating"},
    2: {"datasets", "models", "layers", "kernels", "attacks", "runners", "links"},
    3: {"select", "twin", "tflite", "channel", "delta", "transfer", "session", "mismatch", "figures", "doctor", "rig",
        "board_import", "zoo", "arduino", "objective"},
    4: {"train", "attack", "lower", "render", "build", "flash", "stream", "report", "export"},
    5: {"workflow", "console", "verbs", "cli"},
}  # fmt: skip
"""Names of modules and plug-in folders of pipeline/. Imports point downward, or sideways where a level allows it."""
SIDEWAYS = {0, 1, 3, 5}
"""Levels whose modules may import each other (without a cycle); plug-ins and stages may not."""
DOORS = {
    "tensorflow": {"backend", "train", "models", "quantizers", "jacobian", "attacks"},
    "keras": {"backend", "train", "models", "quantizers", "jacobian", "attacks"},
    "qkeras": {"backend", "train", "models", "quantizers", "jacobian", "attacks"},
    "art": {"attacks"},
    "jinja2": {"templating", "report"},
    "serial": {"links"},
    "subprocess": {"shell"},
    "matplotlib": {"figures"},
    "elftools": {"footprint"},
    "rich": {"console"},
    "tflite_runtime": {"tflite"},
    "ai_edge_litert": {"tflite"},
}
SPEAKERS = {"cli", "console"}
"""The only files that print; only cli exits."""
LIGHT = ("flash", "stream", "report", "lower", "render", "build")
"""Stages that must not load a training framework."""
HELP_SECONDS = 0.3

FILES = sorted(registry.ROOT.rglob("*.py"))


def unit(path: Path) -> str:
    """The module or plug-in folder a file of pipeline/ belongs to."""
    return path.relative_to(registry.ROOT).parts[0].removesuffix(".py")


def level(name: str) -> int:
    return next(number for number, names in LEVELS.items() if name in names)


def imports(path: Path) -> Iterator[str]:
    """Dotted names of everything the file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_units(path: Path) -> set[str]:
    """Units of pipeline/ the file imports, its own left out."""
    names = {name.split(".")[1] for name in imports(path) if name.startswith("pipeline.")}
    return {name for name in names if not name.startswith("__")} - {unit(path)}


def test_every_file_has_a_level():
    known = set().union(*LEVELS.values())
    assert {unit(path) for path in FILES} - {"__init__"} - known == set()


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(registry.ROOT)))
def test_imports_point_downward(path):
    if unit(path) == "__init__":
        assert imported_units(path) == set()
        return
    mine = level(unit(path))
    for name in imported_units(path):
        assert name in set().union(*LEVELS.values()), f"{path.name} imports unknown pipeline.{name}"
        theirs = level(name)
        assert theirs < mine or (theirs == mine and mine in SIDEWAYS), (
            f"{path.name} (level {mine}) imports {name} (level {theirs})"
        )


def test_no_module_imports_itself_in_a_circle():
    graph = {name: set() for names in LEVELS.values() for name in names}
    for path in FILES:
        if unit(path) in graph:
            graph[unit(path)] |= imported_units(path)
    done: set[str] = set()
    while ready := {name for name, needs in graph.items() if name not in done and needs <= done}:
        done |= ready
    assert set(graph) - done == set()


def test_plug_ins_do_not_import_each_other():
    for path in FILES:
        if unit(path) in LEVELS[2] and not path.stem.startswith("_"):
            own = f"pipeline.{unit(path)}."
            siblings = {name.split(".")[2] for name in imports(path) if name.startswith(own)}
            plug_ins = set(registry.names(unit(path)))
            assert siblings & plug_ins == set(), f"{path} imports {siblings & plug_ins}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(registry.ROOT)))
def test_one_door_per_heavy_library(path):
    for name in imports(path):
        library = name.split(".")[0]
        if library in DOORS:
            assert unit(path) in DOORS[library], f"{path.name} imports {library}; its doors are {DOORS[library]}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(registry.ROOT)))
def test_only_the_command_line_prints_and_exits(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called != "print" or unit(path) in SPEAKERS, f"{path.name}:{node.lineno} prints"
            exits = called in {"sys.exit", "exit", "quit", "os._exit"}
            assert not exits or unit(path) == "cli", f"{path.name}:{node.lineno} exits"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(registry.ROOT)))
def test_only_arith_spells_out_integer_limits(path):
    """Saturation and rounding shifts exist once."""
    if unit(path) in {"arith", "types"}:
        return
    source = path.read_text()
    for forbidden in ("1 << 31) - 1", "1 << 30) + ", "2147483647", "0x7fffffff"):
        assert forbidden not in source, f"{path.name} spells out {forbidden}"


def loaded_modules(statement: str) -> set[str]:
    """Top-level modules a fresh Python holds after the statement."""
    code = f"{statement}\nimport sys; sys.stdout.write(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("stage", LIGHT)
def test_light_stages_load_no_training_framework(stage):
    loaded = loaded_modules(f"import pipeline.{stage}, pipeline.workflow, pipeline.cli")
    assert loaded & {"tensorflow", "keras", "qkeras", "art", "sklearn", "matplotlib"} == set()


def test_help_answers_at_once():
    def seconds() -> float:
        """Processor time: how busy the machine is does not count."""
        started = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-m", "pipeline.cli", "--help"], capture_output=True, text=True)
        assert done.returncode == 0
        assert "doctor" in done.stdout
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return ended.ru_utime + ended.ru_stime - started.ru_utime - started.ru_stime

    assert min(seconds() for _ in range(5)) < HELP_SECONDS


def test_help_loads_nothing_heavy():
    loaded = loaded_modules("import pipeline.cli; pipeline.cli.parser()")
    assert loaded & {"numpy", "pydantic", "rich", "jinja2", "serial"} == set()
