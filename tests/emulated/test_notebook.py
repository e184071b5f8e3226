"""The notebooks of examples/ run from top to bottom, on emulated boards."""

from __future__ import annotations

import json

import pytest

from pipeline.core import paths

NOTEBOOKS = sorted((paths.RESOURCES / "examples").glob("*.ipynb"))


@pytest.mark.toolchain
@pytest.mark.emulator
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_in_an_empty_folder(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for number, cell in enumerate(code_cells(path)):
        exec(compile(cell, f"{path.name}, code cell {number}", "exec"), namespace)
    shown = capsys.readouterr().out
    assert "0 answers of the device unlike the twin's" in shown
    assert (tmp_path / shown.splitlines()[-1]).exists(), "the report that it names"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert all(not cell["outputs"] for cell in cells if cell["cell_type"] == "code")


def code_cells(path):
    """The text of every code cell, in order."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
