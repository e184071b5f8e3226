"""claim: a second job file of the same name does not overwrite the first one's run."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cli import main, runs
from pipeline.core import paths
from pipeline.core.errors import ConfigError
from pipeline.workflow import claim
from pipeline.workflow.display import QUIET
from pipeline.workflow.workflow import Workflow

JOB = """name = "toy"
[dataset]
name = "digits"
[model]
name = "digits_cnn"
[train]
epochs = 3
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def workflow(*words: str) -> Workflow:
    return Workflow(runs.plan(main.parse(["train", *words])), QUIET)


@pytest.fixture
def first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The job file whose run lies in runs/toy."""
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "a" / "toy.toml", JOB)
    work = workflow("a/toy.toml")
    with work._working_in(work.plan.folder):
        pass
    assert (tmp_path / "runs/toy" / claim.FILE).exists()
    return path


def test_another_job_of_the_same_name_is_refused_before_any_work(first):
    write(Path("b/toy.toml"), JOB.replace("3", "4"))
    with pytest.raises(ConfigError) as caught:
        workflow("b/toy.toml")
    assert f"runs/toy: holds the run of {first}, and b/toy.toml is another job" in str(caught.value)
    assert "--run-dir" in caught.value.hint
    assert workflow("b/toy.toml", "--run-dir", "elsewhere").plan.folder == Path("elsewhere")


def test_the_same_job_goes_on_wherever_its_file_stands_and_whatever_changes_in_it(first):
    write(Path("b/toy.toml"), "# a copy\n" + JOB)
    workflow("b/toy.toml")
    write(first, JOB.replace("3", "4"))
    workflow("a/toy.toml")
    workflow("a/toy.toml", "--epochs", "9")


def test_a_project_that_was_moved_goes_on(first, tmp_path, monkeypatch):
    (tmp_path / "new").mkdir()
    for name in ("a", "runs"):
        (tmp_path / name).rename(tmp_path / "new" / name)
    monkeypatch.chdir(tmp_path / "new")
    write(Path("a/toy.toml"), JOB.replace("3", "5"))
    workflow("a/toy.toml")


def test_a_note_that_is_none_is_named(first):
    Path("runs/toy", claim.FILE).write_text("[]", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"runs/toy/job\.json: names no job or sweep file"):
        workflow("a/toy.toml")


def test_a_ready_made_job_is_a_job_file_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert runs.plan(main.parse(["train", "digits"])).job_file == paths.shipped("jobs") / "digits.toml"
