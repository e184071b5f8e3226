"""A user's own files beside the shipped ones: what is found, what is refused and how."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pipeline.config import board, job
from pipeline.core import paths, registry
from pipeline.core.errors import ConfigError, ToolError
from pipeline.workflow import keys

OWN_KINDS = ("attacks", "boards", "datasets", "jobs", "models")
"""What a user can add without touching the package."""
ATTACK = "NEEDS, SETTINGS, NORMS = 'logits', (), ('linf',)\ndef run():\n    return 'mine'\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.delenv(paths.USER_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def add(folder: Path, place: str, content: str) -> Path:
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def own_board(folder: Path, name: str) -> Path:
    text = (paths.shipped("boards") / "host.toml").read_text()
    return add(folder, f"boards/{name}.toml", text.replace('name = "host"', f'name = "{name}"'))


@pytest.mark.parametrize("kind", OWN_KINDS)
def test_a_file_of_ones_own_is_found_beside_the_shipped_ones(folder, kind):
    shipped = registry.names(kind)
    add(folder, f"{kind}/mine{registry.KINDS[kind].suffix}", "")
    assert registry.names(kind) == tuple(sorted((*shipped, "mine")))
    assert registry.path(kind, "mine").read_text() == ""


@pytest.mark.parametrize("kind", sorted(set(registry.KINDS) - set(OWN_KINDS)))
def test_what_belongs_to_the_package_is_not_looked_for_elsewhere(folder, kind):
    shipped = registry.names(kind)
    add(folder, f"{kind}/mine.py", "")
    assert registry.names(kind) == shipped


def test_folders_named_by_the_environment_are_found_too(folder, monkeypatch):
    own_board(folder / "one", "left")
    own_board(folder / "two", "right")
    monkeypatch.setenv(paths.USER_VARIABLE, os.pathsep.join([str(folder / "one"), str(folder / "two")]))
    assert {"left", "right", "host"} <= set(board.names())
    assert board.load("right").name == "right"


def test_a_folder_named_twice_counts_once(folder, monkeypatch):
    own_board(folder, "mine")
    monkeypatch.setenv(paths.USER_VARIABLE, os.pathsep.join([str(folder), str(folder)]))
    assert "mine" in board.names()


def test_a_checkout_as_the_current_folder_counts_once(monkeypatch):
    monkeypatch.chdir(paths.RESOURCES)
    assert "host" in board.names()
    assert job.find("digits") == paths.shipped("jobs") / "digits.toml"


def test_a_place_that_is_not_a_folder_is_named(folder, monkeypatch):
    monkeypatch.setenv(paths.USER_VARIABLE, "/nowhere")
    with pytest.raises(ConfigError, match="TRITMCU_PATH: '/nowhere' is not a folder"):
        board.names()


@pytest.mark.parametrize(
    ("kind", "name"), [("attacks", "pgd"), ("boards", "uno"), ("datasets", "digits"), ("jobs", "digits")]
)
def test_the_name_of_a_shipped_one_is_refused(folder, kind, name):
    file = f"{kind}/{name}{registry.KINDS[kind].suffix}"
    shutil.copy(registry.path(kind, name), add(folder, file, ""))
    with pytest.raises(
        ConfigError, match=f"{registry.KINDS[kind].what} '{name}' exists twice: .* and {file}"
    ) as caught:
        registry.names(kind)
    assert f"rename {file}" in caught.value.hint


def test_two_boards_folders_with_the_same_board_are_refused(folder, monkeypatch):
    first, second = own_board(folder / "one", "twice"), own_board(folder / "two", "twice")
    monkeypatch.setenv(paths.USER_VARIABLE, os.pathsep.join([str(folder / "one"), str(folder / "two")]))
    with pytest.raises(ConfigError, match=f"board 'twice' exists twice: {first} and {second}"):
        board.load("twice")


def test_a_plug_in_of_ones_own_is_loaded_once_and_digested(folder):
    path = add(folder, "attacks/mine.py", ATTACK)
    module = registry.load("attacks", "mine")
    assert module.run() == "mine"
    assert registry.load("attacks", "mine") is module
    assert registry.is_own("attacks", "mine") and not registry.is_own("attacks", "pgd")
    before = keys.plug_in("attacks", "mine")
    path.write_text(ATTACK.replace("mine", "yours"))
    assert keys.plug_in("attacks", "mine") != before


def test_plug_ins_of_the_same_name_in_two_places_are_two(folder, monkeypatch):
    for place in ("here", "there"):
        add(folder, f"{place}/attacks/mine.py", ATTACK.replace("mine", place))
        monkeypatch.chdir(folder / place)
        assert registry.load("attacks", "mine").run() == place


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("def run(:\n", "attacks/mine.py:1: not valid Python"),
        ("\n\ndef run(:\n", "attacks/mine.py:3: not valid Python"),
        ("\nRUN = 1\0\n", "attacks/mine.py:1: not valid Python: source code string cannot contain null bytes"),
        ("# coding: nope\n", "attacks/mine.py:1: not valid Python: unknown encoding"),
        ("\nRUN = wrong\n", "attacks/mine.py:2: NameError: name 'wrong' is not defined"),
        ("import json\n\njson.loads('{')\n", "attacks/mine.py:3: JSONDecodeError"),
        ("RUN = 1\n", "attacks/mine.py: does not define run, NEEDS, SETTINGS, NORMS"),
    ],
)
def test_a_file_that_is_no_plug_in_is_named(folder, content, says):
    add(folder, "attacks/mine.py", content)
    with pytest.raises(ConfigError, match=says):
        registry.load("attacks", "mine")


def test_a_job_is_found_by_name_and_by_the_path_it_has_in_a_checkout(folder):
    shipped = paths.shipped("jobs") / "digits.toml"
    assert job.find("digits") == job.find("jobs/digits.toml") == shipped
    mine = add(folder, "jobs/mine.toml", shipped.read_text())
    assert job.find("mine").samefile(mine)
    for name, guess in (("jobs/digit.toml", "; did you mean 'jobs/digits.toml'"), ("elsewhere/digits.toml", "")):
        with pytest.raises(ConfigError, match=f"unknown job file '{name}'{guess}"):
            job.load(job.find(name))


def test_an_installation_without_its_resources_says_so(folder, monkeypatch):
    monkeypatch.setattr(paths, "RESOURCES", folder)
    for reach in (board.names, lambda: job.find("digits"), keys.code):
        with pytest.raises(ToolError, match="missing, tritmcu was installed without its") as caught:
            reach()
        assert "pip install" in caught.value.hint
