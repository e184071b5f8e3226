"""The package as a user gets it: a wheel in a virtual environment of its own, run in an empty folder, no network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline import __version__
from pipeline.config import board
from pipeline.core import paths
from pipeline.workflow import zoo

SOURCES = (
    "LICENSE",
    "pipeline",
    "boards",
    "firmware",
    "jobs",
    "templates",
    "zoo",
    "pyproject.toml",
    "setup.py",
    "MANIFEST.in",
    "README.md",
)
TRAINING = ("tensorflow", "keras", "qkeras", "art", "sklearn", "jax")
"""What people at the bench need not install."""
ABSENT = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {TRAINING!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""
DATASET = """
import numpy as np
from pipeline.core.nouns import Dataset, Quantization, Split, TensorSpec

DESCRIPTION = "noise in the shape of digits"

def load(root, *, cache, progress=None):
    x = np.random.default_rng(1).integers(-128, 128, (30, 8, 8, 1)).astype(np.int8)
    split = Split(x, np.arange(30) % 10, np.arange(30))
    splits = {"train": split, "validation": split, "test": split}
    return Dataset("noise", TensorSpec((8, 8, 1), Quantization(1 / 255, -128)), tuple("0123456789"), splits)
"""


@dataclass(frozen=True)
class Installed:
    """A virtual environment that holds tritmcu's wheel; the other packages are those of the running environment."""

    folder: Path

    @property
    def site(self) -> Path:
        """Its site-packages."""
        return Path(sysconfig.get_path("purelib", "venv", {"base": str(self.folder)}))

    def tritmcu(self, cwd: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """The finished command, run in `cwd` as a user would."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TRITMCU_"))}
        command = [self.folder / "bin" / "tritmcu", *words]
        return subprocess.run(command, cwd=cwd, env={**clean, **env}, capture_output=True, text=True)


def pip(*words: str | Path, python: Path | None = None) -> None:
    command = [sys.executable, "-m", "pip", *(["--python", python] if python else []), "--disable-pip-version-check"]
    done = subprocess.run([*command, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of the sources in which an earlier build left something."""
    folder = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        source, ignored = paths.RESOURCES / name, shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, folder / name, ignore=ignored) if source.is_dir() else shutil.copy(source, folder)
    stale = folder / "build" / "lib" / "pipeline" / "datasets" / "deleted.py"
    stale.parent.mkdir(parents=True)
    stale.write_text("")
    pip("wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder / "dist", folder)
    return next((folder / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder)
    made = Installed(folder)
    pip("install", "--no-deps", "--no-index", wheel, python=folder / "bin" / "python")
    (made.site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return made


def done(process: subprocess.CompletedProcess[str]) -> str:
    """Standard output of a command that did what it was asked for."""
    assert process.returncode == 0, process.stderr
    return process.stdout


def without_training(folder: Path) -> str:
    """PYTHONPATH under which none of TRAINING can be imported."""
    (folder / "absent").mkdir()
    (folder / "absent" / "sitecustomize.py").write_text(ABSENT)
    return str(folder / "absent")


def test_a_wheel_holds_the_resources_and_nothing_of_earlier_builds(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {p.relative_to(paths.PACKAGE.parent).as_posix() for p in paths.PACKAGE.rglob("*") if p.is_file()}
    assert {name for name in package if "__pycache__" not in name} <= names
    assert {"pipeline/py.typed", "pipeline/resources/LICENSE"} <= names
    for name in ("boards", "firmware", "jobs", "templates", "zoo"):
        shipped = paths.shipped(name)
        there = {f"pipeline/resources/{name}/{p.relative_to(shipped)}" for p in shipped.rglob("*") if p.is_file()}
        assert there <= names
    assert not any("deleted" in name or name.startswith("tests/") for name in names)
    assert wheel.name.startswith(f"tritmcu-{__version__}-")


def test_an_installed_tritmcu_lists_what_it_ships_with(installed, tmp_path):
    assert done(installed.tritmcu(tmp_path, "--version")) == f"tritmcu {__version__}\n"
    boards = json.loads(done(installed.tritmcu(tmp_path, "boards", "--json")))
    assert {entry["name"] for entry in boards} == set(board.names())
    cards = json.loads(done(installed.tritmcu(tmp_path, "zoo", "--json")))
    assert {card["name"] for card in cards} == set(zoo.names())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.toolchain
def test_without_a_training_framework_a_network_is_built_flashed_streamed_and_reported(installed, tmp_path):
    """At the bench: the data set and the board are the user's own files, TensorFlow and the like are not installed."""
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "noise.py").write_text(DATASET)
    (tmp_path / "boards").mkdir()
    mine = (paths.shipped("boards") / "host.toml").read_text().replace('name = "host"', 'name = "mine"')
    (tmp_path / "boards" / "mine.toml").write_text(mine)
    absent = without_training(tmp_path)
    run, limit = ("--model", "digits_stq_jr", "--dataset", "noise"), ("--limit", "12")
    device = ("--board", "mine")
    for words in (
        ("attack", *run, *device, *limit),
        ("build", *run, *device),
        ("flash", *run, *device),
        ("stream", *run, *device, *limit),
        ("report", *run, *device, *limit),
    ):
        done(installed.tritmcu(tmp_path, *words, PYTHONPATH=absent))
    report = json.loads((tmp_path / "runs" / "digits_stq_jr-mine" / "report.json").read_text())
    assert report["accuracy"]["clean"]["n"] == 12
    assert report["agreement"]["device_twin_mismatches"] == 0


def test_a_wheel_without_resources_says_so_in_one_line(installed, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(installed.site / "pipeline", copy / "pipeline", ignore=shutil.ignore_patterns("resources"))
    process = installed.tritmcu(tmp_path, "boards", PYTHONPATH=str(copy))
    assert process.returncode == 2
    error, hint = process.stderr.splitlines()
    assert error == f"error: {copy}/boards: missing, tritmcu was installed without its boards"
    assert hint.startswith("hint: pip install")


@pytest.mark.slow
@pytest.mark.toolchain
def test_the_main_job_runs_in_an_empty_folder_and_is_exported(installed, tmp_path):
    words = ("digits", "--board", "host", "--epochs", "1")
    done(installed.tritmcu(tmp_path, "run", *words, "--limit", "8"))
    assert (tmp_path / "runs" / "digits-host" / "report.html").exists()
    done(installed.tritmcu(tmp_path, "export", *words, "--output", "firmware"))
    assert (tmp_path / "firmware" / "CMakeLists.txt").exists()
