"""The documentation site builds without a warning: every link, every docstring, every page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core import paths

pytest.importorskip("sphinx")
pytest.importorskip("myst_parser")
pytest.importorskip("furo")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    options = ["-q", "-W", "--keep-going", "-d", str(folder / "doctrees"), "-b", "html"]
    source = str(paths.RESOURCES / "docs")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, source, str(folder / "html")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.mark.slow
def test_every_document_is_a_page(site):
    for document in (paths.RESOURCES / "docs").glob("*.md"):
        assert (site / f"{document.stem}.html").is_file()


@pytest.mark.slow
def test_docstrings_of_fields_are_on_the_api_page(site):
    text = (site / "api.html").read_text()
    assert "Real value of one lattice step, above 0." in text
    assert 'id="pipeline.workflow.plan.RunPlan.device_folder"' in text
