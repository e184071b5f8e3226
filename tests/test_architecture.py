"""The rules of docs/DESIGN.md that a program can check: who may import whom, one door per library, no stray output."""

from __future__ import annotations

import ast
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core import paths, registry

ORDER = (
    {"core", "protocol"},
    {"config", "network"},
    {"analysis", "codegen", "device", "quantization"},
    {"training", "importers"},
    {"datasets"},
    {"robustness"},
    {"stages"},
    {"workflow"},
    {"cli"},
)
"""The packages of pipeline/, from the bottom up: a module imports from its own and from those of earlier lines."""
DOORS = {
    "tensorflow": {"training"},
    "keras": {"training"},
    "qkeras": {"training"},
    "art": {"robustness/attacks"},
    "ray": {"core/cluster.py"},
    "pyarrow": {"datasets/_arrow.py"},
    "jinja2": {"core/templates.py"},
    "serial": {"device/links"},
    "subprocess": {"core/shell.py"},
    "matplotlib": {"analysis/figures.py"},
    "elftools": {"codegen/footprint.py"},
    "rich": {"cli/console.py"},
    "PIL": {"datasets/images.py"},
    "scipy": {"datasets/svhn.py"},
    "tflite_runtime": {"importers/tflite_interpreter.py"},
    "ai_edge_litert": {"importers/tflite_interpreter.py"},
}
"""Where a heavy library may be imported: files or folders."""
SPEAKERS = {"cli/main.py", "cli/console.py", "cli/__main__.py"}
"""The only files that print; console does not exit."""
LIGHT = ("flash", "stream", "report", "lower", "render", "build")
"""Stages that must not load a training framework."""
HELP_SECONDS = 0.3
OPENS_NO_TEXT = {"schema.read_text", "os.open", "wave.open", "Image.open"}
"""Calls that need no encoding, or know theirs."""

FILES = sorted(paths.PACKAGE.rglob("*.py"))
EACH_FILE = pytest.mark.parametrize("path", FILES, ids=lambda path: place(path))


def place(path: Path) -> str:
    """The file below pipeline/."""
    return path.relative_to(paths.PACKAGE).as_posix()


def package(name: str) -> str:
    """The first folder of a place, "" for a file of pipeline/ itself."""
    return name.partition("/")[0] if "/" in name else ""


def floor(package: str) -> int:
    return next(number for number, packages in enumerate(ORDER) if package in packages)


def imports(path: Path) -> Iterator[str]:
    """Dotted names of everything the file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules(path: Path) -> set[str]:
    """Places of the modules of pipeline/ that the file imports, its own left out."""
    found = set()
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "pipeline":
            candidates = ["/".join(parts[1:end]) for end in range(len(parts), 1, -1)]
            files = [f"{c}{tail}" for c in candidates for tail in (".py", "/__init__.py")]
            found |= {next((f for f in files if (paths.PACKAGE / f).is_file()), "__init__.py")}
    return found - {place(path)}


def test_every_package_has_a_floor():
    assert {package(place(path)) for path in FILES} - {""} == set().union(*ORDER)
    assert {place(path) for path in FILES if package(place(path)) == ""} == {"__init__.py", "api.py"}


@EACH_FILE
def test_imports_point_downward(path):
    """api.py is above all packages; __init__.py, which names what is in it, imports nothing by itself."""
    mine, theirs_all = package(place(path)), modules(path) - {"__init__.py"}
    assert mine == "" or "api.py" not in theirs_all, f"{place(path)} imports pipeline.api"
    if mine == "":
        return
    for theirs in {package(name) for name in theirs_all} - {mine}:
        assert floor(theirs) < floor(mine), f"{place(path)} imports pipeline.{theirs}"


def test_no_stage_imports_a_stage():
    for path in FILES:
        if package(place(path)) == "stages":
            stages = {name for name in modules(path) if package(name) == "stages"} - {"stages/__init__.py"}
            assert stages == set(), f"{place(path)} imports {stages}"


def test_no_module_imports_itself_in_a_circle():
    graph = {place(path): modules(path) - {"__init__.py"} for path in FILES}
    done: set[str] = set()
    while ready := {name for name, needs in graph.items() if name not in done and needs <= done}:
        done |= ready
    assert set(graph) - done == set()


def test_plug_ins_do_not_import_each_other():
    for kind in (kind for kind, found in registry.KINDS.items() if found.is_code):
        plug_ins = {place(path) for path in registry.files(kind).values()}
        for path in FILES:
            if place(path) in plug_ins:
                assert modules(path) & plug_ins == set(), f"{place(path)} imports {modules(path) & plug_ins}"


@EACH_FILE
def test_one_door_per_heavy_library(path):
    for name in imports(path):
        doors = DOORS.get(name.split(".")[0])
        assert doors is None or place(path).startswith(tuple(doors)), f"{place(path)} imports {name}; doors: {doors}"


@EACH_FILE
def test_only_paths_knows_where_files_lie(path):
    """A module that finds files from its own place would find none in a wheel."""
    names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
    assert "__file__" not in names or place(path) == "core/paths.py"


@EACH_FILE
def test_only_the_command_line_prints_and_exits(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called != "print" or place(path) in SPEAKERS, f"{place(path)}:{node.lineno} prints"
            exits = called in {"sys.exit", "exit", "quit", "os._exit"}
            assert not exits or place(path) in SPEAKERS, f"{place(path)}:{node.lineno} exits"


@EACH_FILE
def test_only_arith_spells_out_integer_limits(path):
    """Saturation and rounding shifts exist once."""
    if place(path) == "network/arith.py":
        return
    source = path.read_text()
    for forbidden in ("1 << 31) - 1", "1 << 30) + ", "2147483647", "0x7fffffff"):
        assert forbidden not in source, f"{place(path)} spells out {forbidden}"


def loaded_modules(statement: str) -> set[str]:
    """Top-level modules a fresh Python holds after the statement."""
    code = f"{statement}\nimport sys; sys.stdout.write(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("stage", LIGHT)
def test_light_stages_load_no_training_framework(stage):
    loaded = loaded_modules(f"import pipeline.stages.{stage}, pipeline.workflow.workflow, pipeline.cli.main")
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


def test_the_package_itself_loads_nothing():
    loaded = loaded_modules("import pipeline; assert 'load' in dir(pipeline)")
    assert loaded & {"numpy", "pydantic", "rich", "jinja2", "serial"} == set()
    light = loaded_modules("import pipeline; assert all(getattr(pipeline, name) for name in pipeline.__all__)")
    assert light & {"tensorflow", "keras", "qkeras", "art", "sklearn", "matplotlib", "rich"} == set()


def test_help_loads_nothing_heavy():
    loaded = loaded_modules("import pipeline.cli.main; pipeline.cli.main.parser()")
    assert loaded & {"numpy", "pydantic", "rich", "jinja2", "serial"} == set()


def opens_text(node: ast.Call) -> bool:
    """Whether the call reads or writes text and does not say in which encoding."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
    if any(word.arg == "encoding" for word in node.keywords):
        return False
    if name == "open":
        return not any(isinstance(arg, ast.Constant) and "b" in str(arg.value) for arg in node.args)
    return name == "read_text" or (name == "write_text" and ast.unparse(node.func) != "store.write_text")


@EACH_FILE
def test_text_files_have_an_encoding(path):
    """Else a report dies under another locale."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) not in OPENS_NO_TEXT:
            own = place(path) in {"core/schema.py", "core/store.py"} and isinstance(node.func, ast.Name)
            assert own or not opens_text(node), f"{place(path)}:{node.lineno} names no encoding"
