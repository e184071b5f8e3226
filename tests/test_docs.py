"""The documents say what is: report.json's keys, generated tables, links between the documents."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import itertools
import json
import re
import shlex
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pipeline
from bench import front
from pipeline.cli import main
from pipeline.config.job import (
    AdversarialConfig,
    AttackConfig,
    LayerwiseConfig,
    ModelConfig,
    TrainConfig,
    attack_settings,
)
from pipeline.core import paths, registry
from pipeline.stages import report
from tests.unit.stages.test_report import inputs as inputs  # noqa: PLC0414  the fixture

DOCUMENTS = sorted([*paths.RESOURCES.glob("*.md"), *(paths.RESOURCES / "docs").glob("*.md")])
FREE = {"job", "digests.datasets", "dataset.samples", "memory.flash_groups", "memory.ram_groups"}
FREE |= {"provenance.versions", "provenance.seconds", "accuracy.attacks[].params", "robustness[].attacks[].params"}
"""Keys whose own keys are names of things, not of the format."""
EXTRA = {"training[].jacobian"}
"""Keys that depend on the recipe."""


def described() -> set[str]:
    """Every key named in the first column of docs/REPORT.md; ".x" continues the key before it."""
    keys = set()
    for line in (paths.RESOURCES / "docs" / "REPORT.md").read_text().splitlines():
        if not line.startswith("| `"):
            continue
        first, *more = re.findall(r"`([^`]+)`", line.split("|")[1])
        keys.add(first)
        keys.update(first.rpartition(".")[0] + name for name in more)
    return {key.replace("<unit>", "us") for key in keys}


def leaves(value: Any, path: str = "") -> Iterator[str]:
    """Keys of the report that hold something other than keys of the format."""
    if path in FREE or not value:
        yield path
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and isinstance(value[0], dict):
        for inner in value:
            yield from leaves(inner, f"{path}[]")
    else:
        yield path


def test_every_key_of_a_report_is_described_and_every_described_key_exists(inputs):
    numbers = report.summarize(inputs)
    there = set(leaves(numbers)) - EXTRA
    containers = {"accuracy.attacks[]"}
    assert there == described() - containers


def test_the_format_number_is_the_documented_one():
    assert f"number of this format: {report.FORMAT}." in (paths.RESOURCES / "docs" / "REPORT.md").read_text()


@pytest.mark.parametrize("path", sorted({path for path, _, _ in front.TABLES}), ids=lambda path: path.name)
def test_generated_tables_are_current(path):
    assert path.read_text() == front.updated(path), "run make results"


@pytest.mark.parametrize(("path", "marker"), [(path, marker) for path, marker, _ in front.TABLES])
def test_generated_tables_have_their_place(path, marker):
    assert path.read_text().count(f"<!-- {marker} -->") == path.read_text().count(f"<!-- /{marker} -->") == 1


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_links_between_documents_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


COMMAND = re.compile(r"^ +(?:[A-Z_]+=\w+ )?(tritmcu .*?)(?= +#| >|$)|`(?:[A-Z_]+=\w+ )?(tritmcu [^`]+)`", re.MULTILINE)
"""In a block, before its comment or redirection, or in a code span."""


@pytest.mark.parametrize("path", [p for p in DOCUMENTS if p.name != "CHANGELOG.md"], ids=lambda p: p.name)
def test_commands_in_a_document_are_commands(path):
    """`tritmcu NAME` alone is the name of a command, everything else what may be typed."""
    for block, span in COMMAND.findall(path.read_text()):
        _, *words = shlex.split(block or span)
        assert words[0].startswith("-") or words[0] in main.COMMANDS, words
        if len(words) > 1 and words[-1] != "--help":
            main.parse(words)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_targets_of_make_in_a_document_exist(path):
    makefile = (paths.RESOURCES / "Makefile").read_text()
    for target in re.findall(r"(?:^ +|`)make ([a-z-]+)", path.read_text(), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"


def test_the_readme_lists_the_extras_there_are():
    project = tomllib.loads((paths.RESOURCES / "pyproject.toml").read_text())["project"]
    listed = {cells[0].strip(" `") for cells in table_rows((paths.RESOURCES / "README.md").read_text(), "extra")}
    assert listed == set(project["optional-dependencies"]) - {"docs", "dev"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_files_named_in_a_document_exist(path):
    for name in re.findall(r"`((?:pipeline|firmware|tests|bench|templates|scripts)/[\w./-]+)`", path.read_text()):
        assert (paths.RESOURCES / name).exists(), f"{path.name} names {name}"


def test_c_functions_named_in_a_document_exist():
    trees = ("firmware", "templates", "pipeline", "bench", "tests")
    code = [
        p for tree in trees for p in (paths.RESOURCES / tree).rglob("*") if p.suffix in {".c", ".h", ".S", ".j2", ".py"}
    ]
    known = set(re.findall(r"\bnn_\w+", "\n".join(p.read_text() for p in code)))
    for path in DOCUMENTS:
        unknown = set(re.findall(r"`(nn_\w+)(?:\(\))?`", path.read_text())) - known
        assert unknown == set(), f"{path.name} names {unknown}"


def options() -> set[str]:
    """Every option of every command, as typed."""
    subparsers = next(a for a in main.parser()._actions if isinstance(a, argparse._SubParsersAction))
    return {
        name for parser in subparsers.choices.values() for action in parser._actions for name in action.option_strings
    }


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_options_named_in_a_document_exist(path):
    """In code spans and blocks: prose has dashes of its own."""
    code = re.findall(r"```.*?```|`[^`\n]+`", path.read_text(), re.DOTALL)
    named = {option for text in code for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)}
    assert named <= options()


@pytest.mark.parametrize("name", ["README.md", "docs/api.md"])
def test_python_examples_name_what_there_is(name):
    """A block that begins with an import; `pipeline` in it is the package, a network what `load` returns."""
    blocks = re.findall(r"```python\n((?:import|from) .*?)```", (paths.RESOURCES / name).read_text(), re.DOTALL)
    holders: dict[str, Any] = {"pipeline": pipeline, **dict.fromkeys(("network", "mine", "other"), pipeline.Network)}
    used = [
        (node.value.id, node.attr)
        for block in blocks
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in holders
    ]
    assert len(used) > 3
    for holder, attribute in used:
        assert hasattr(holders[holder], attribute), f"{holder}.{attribute}"


TABLES = {
    "model": ModelConfig,
    "train": TrainConfig,
    "train.adversarial": AdversarialConfig,
    "layerwise": LayerwiseConfig,
}
"""Tables of a job that TRAINING.md describes."""


def documented_keys(text: str) -> dict[str, set[str]]:
    """Table of a job -> keys in the first column of the sections that name it in their heading."""
    keys: dict[str, set[str]] = {}
    for section in text.split("\n## ")[1:]:
        table = re.search(r"`\[([\w.]+)\]`", section.partition("\n")[0])
        if table:
            rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", section, re.MULTILINE)
            keys.setdefault(table[1], set()).update(name for row in rows for name in re.findall(r"\w+", row))
    return keys


def test_keys_of_a_job_that_training_describes_are_those_there_are():
    """A key of TRAINING.md exists, and none of [train.adversarial] or of [train] that has an effect is left out."""
    text = (paths.RESOURCES / "docs" / "TRAINING.md").read_text()
    keys = documented_keys(text)
    assert set(keys) == set(TABLES)
    for table, named in keys.items():
        assert named <= set(TABLES[table].model_fields), table
        missing = {name for name in TABLES[table].model_fields if f"`{name}`" not in text}
        assert missing == set(), table


def test_defaults_that_training_states_are_those_there_are():
    text, stated = (paths.RESOURCES / "docs" / "TRAINING.md").read_text(), {}
    for section in text.split("\n## ")[1:]:
        if table := re.search(r"`\[([\w.]+)\]`", section.partition("\n")[0]):
            for names, values in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (.*?) \|", section, re.MULTILINE):
                bold = [json.loads(value) for value in re.findall(r"\*\*`?([^*`' ]+)`?\*\*", values)]
                stated[table[1], *re.findall(r"\w+", names)] = bold
    assert len(stated) > 30
    for (table, *names), bold in stated.items():
        defaults = [TABLES[table].model_fields[name].default for name in names]
        known = [value for value in defaults if isinstance(value, (bool, int, float, str))]
        assert bold[: len(known)] == known, (table, *names)


def table_rows(text: str, heading: str) -> list[list[str]]:
    """Cells of the rows, without the head, of the table whose head begins with this cell."""
    lines = text.partition(f"| {heading} |")[2].splitlines()[2:]
    return [line.strip("|").split(" | ") for line in itertools.takewhile(lambda line: line.startswith("|"), lines)]


def test_the_attacks_and_settings_that_attacks_describes_are_those_there_are():
    text = (paths.RESOURCES / "docs" / "ATTACKS.md").read_text()
    described = {cells[0].strip(" `"): set(re.findall(r"`(\w+)`", cells[2])) for cells in table_rows(text, "name")}
    assert described == {name: set(attack_settings(name)) for name in registry.names("attacks")}
    settings = {cells[0].strip(" `"): cells[1] for cells in table_rows(text, "setting")}
    assert set(settings) == set().union(*described.values())
    for name, values in settings.items():
        default = re.search(r"\*\*`?([\w.,]+)`?\*\*", values)
        known = AttackConfig.model_fields[name].default
        assert known is None if default is None else str(known).removesuffix(".0") == default[1].replace(",", ""), name


CODE = [
    path
    for tree in ("firmware", "templates", "pipeline", "bench", "tests")
    for path in sorted((paths.RESOURCES / tree).rglob("*"))
    if path.suffix in {".c", ".h", ".S", ".j2", ".py"} and "golden" not in path.parts
]
C_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*|^[ \t]*@[^\n]*", re.DOTALL | re.MULTILINE)
C_NAME = re.compile(r"\b(?:nn|app|port|board|link|core)_[a-z0-9_]+\b(?!\*)")


def test_c_identifiers_named_in_comments_exist():
    """A name of the firmware's that only a comment holds is the name of something that is gone."""
    sources = {path: path.read_text() for path in CODE if path.suffix in {".c", ".h", ".S"}}
    generated = "\n".join(path.read_text() for path in CODE if path.suffix in {".py", ".j2"})
    known = set(C_NAME.findall("\n".join(C_COMMENT.sub("", text) for text in sources.values()) + generated))
    files = {path.stem for path in CODE}
    for path, text in sources.items():
        named = {name for comment in C_COMMENT.findall(text) for name in C_NAME.findall(comment)}
        assert named - known - files == set(), path.relative_to(paths.RESOURCES)


def test_files_named_in_comments_of_the_firmware_exist():
    paths_named = re.compile(r"(?<![\w./-])(?:pipeline|firmware|templates|docs|bench|boards)/[\w./-]+\.\w+")
    for path in CODE:
        if path.suffix in {".c", ".h", ".S", ".j2"}:
            missing = [name for name in paths_named.findall(path.read_text()) if not (paths.RESOURCES / name).exists()]
            assert missing == [], path.relative_to(paths.RESOURCES)


def texts(path: Path) -> Iterator[str]:
    """Comments and docstrings of a Python file."""
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT or token.string.lstrip("rbf").startswith('"""'):
                yield token.string


def exists(name: str) -> bool:
    """Whether the dotted name is a module, or a name in one."""
    home, _, last = name.rpartition(".")
    module = importlib.util.find_spec(home)
    if module is None:
        return False
    return hasattr(importlib.import_module(home), last) or (
        module.submodule_search_locations is not None and importlib.util.find_spec(name) is not None
    )


def test_modules_named_in_docstrings_and_comments_exist():
    for path in (path for path in CODE if path.suffix == ".py"):
        named = {name for text in texts(path) for name in re.findall(r"\bpipeline(?:\.[a-z_]\w*)+", text)}
        assert {name for name in named if not exists(name)} == set(), path.relative_to(paths.RESOURCES)
