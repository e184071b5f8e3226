"""The command line as a user meets it: a fresh process, its output, its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli import hints, main, options
from pipeline.cli.commands import audit
from pipeline.cli.commands.ternarize import BOARD
from pipeline.config import board
from pipeline.config.job import AttackConfig, Job
from pipeline.core import paths, store
from pipeline.core.errors import ConfigError
from tests.support import tiny


@pytest.fixture
def tritmcu(tmp_path):
    """Runs the command in an empty folder; the finished process."""

    def run(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pipeline.cli", *words],
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
        )

    return run


def refused(done: subprocess.CompletedProcess[str]) -> tuple[str, str]:
    """(error, hint) of an expected failure: exit code 2, one line each at the end, nothing on standard output."""
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    error, *rest = [line for line in lines if line.startswith(("error: ", "hint: "))]
    assert lines[-1 - len(rest) :] == [error, *rest]
    assert len(rest) <= 1
    return error, rest[0].removeprefix("hint: ") if rest else ""


@pytest.mark.parametrize(
    ("words", "says", "hints"),
    [
        (["trian"], "unknown command 'trian'; did you mean 'train'?", "doctor"),
        (["run", "jobs/digit.toml"], "unknown job file 'jobs/digit.toml'; did you mean 'jobs/digits.toml'?", "jobs/"),
        (["run", "digitz"], "unknown job 'digitz'; did you mean 'digits'?", "digits"),
        (["run", "--board", "netduinoplus"], "unknown board 'netduinoplus'; did you mean 'netduinoplus2'?", "host"),
        (["run", "--limit", "0"], "argument --limit: '0' is not a positive integer", "tritmcu run --help"),
        (["run", "--epochs", "three"], "argument --epochs: 'three'", "tritmcu run --help"),
        (["run", "--seed", "-1"], "argument --seed", "tritmcu run --help"),
        (["run", "--bord", "host"], "run: unrecognized arguments: --bord", "tritmcu run --help"),
        (["train", "--port", "x"], "train: unrecognized arguments: --port", "tritmcu train --help"),
        (["run", "--model", "digits_stq_jr", "--epochs", "3"], "--epochs: a stored network is not trained", "--model"),
        (["run", "digits", "--dataset", "cifar10"], "--dataset cifar10: only for --model", ""),
        (["export", "--format", "make"], "unknown format 'make'", "cmake"),
        (["run", "digits", "--model", "x"], "only one of them", ""),
        (["run", "--model", "nowhere"], "unknown stored network 'nowhere'", "known: "),
        (["build"], "runs/digits/trained: does not exist", "tritmcu train"),
        (
            ["build", "--board", "host", "--epochs", "3"],
            "runs/digits/trained: does not exist",
            "tritmcu train --epochs 3",
        ),
        ([], "required: COMMAND", "tritmcu --help"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_a_hint(tritmcu, tmp_path, words, says, hints):
    error, hint = refused(tritmcu(*words))
    assert says in error
    assert hints in hint
    assert list(tmp_path.iterdir()) == []


def test_every_command_has_help(tritmcu):
    for verb in main.COMMANDS:
        done = tritmcu(verb, "--help")
        assert done.returncode == 0
        assert f"usage: tritmcu {verb}" in done.stdout


def test_a_stage_offers_the_options_it_uses(tritmcu):
    """What a stage does not use, it does not offer: a board is nothing to training, a port nothing to a report."""
    unused = {
        "train": ("--port", "--board", "--model", "--limit", "--json", "--kernels"),
        "attack": ("--runner", "--resume", "--dry-run"),
        "build": ("--port", "--limit", "--resume", "--dry-run"),
        "stream": ("--runner", "--resume"),
        "report": ("--port", "--runner", "--resume"),
        "run": ("--dry-run", "--output"),
    }
    for name, absent in unused.items():
        flags = {option.flag for option in main.COMMANDS[name].OPTIONS}
        assert flags.isdisjoint(absent), name
        assert "job" in flags


def test_hints_repeat_what_selects_the_run_in_the_words_of_the_other_command():
    words = ["stream", "digits", "--board", "uno", "--seed", "7", "--limit", "9", "--run-dir", "my run", "--fresh"]
    hint = "`tritmcu train`; `tritmcu build --board host`; `tritmcu attack`"
    said = hints.completed(hint, main.COMMANDS, main.parse(words))
    assert said.split("; ") == [
        "tritmcu train digits --seed 7 --run-dir 'my run'",
        "tritmcu build digits --seed 7 --board host --run-dir 'my run'",
        "tritmcu attack digits --seed 7 --run-dir 'my run' --limit 9 --board uno",
    ]


def test_the_help_of_tritmcu_lists_every_command_under_a_heading_within_80_columns(tritmcu):
    done = tritmcu("--help", env={"COLUMNS": "80"})
    lines = done.stdout.splitlines()
    for name, command in main.COMMANDS.items():
        assert any(line.startswith(f"  {name} ") and line.endswith(command.HELP) for line in lines), name
    assert "one stage of it:" in lines


def test_an_exported_network_goes_into_a_folder_of_its_own_name(tritmcu, tmp_path):
    done = tritmcu("export", "--model", "digits_stq_jr", "--board", "host")
    assert done.stdout.startswith("cd digits_stq_jr-host-cmake && cmake ")
    assert (tmp_path / "digits_stq_jr-host-cmake" / "CMakeLists.txt").exists()
    error, hint = refused(tritmcu("export", "--model", "digits_stq_jr", "--board", "host"))
    assert "digits_stq_jr-host-cmake: exists and is not empty" in error
    assert "--output" in hint


def test_a_firmware_that_cannot_fit_is_not_exported(tritmcu, tmp_path):
    error, hint = refused(tritmcu("export", "--model", "digits_stq_jr", "--board", "uno", "--format", "arduino"))
    assert error.startswith("error: board 'uno': needs at least 5.2 KiB RAM, has 2.0 KiB")
    assert "tritmcu boards" in hint and not list(tmp_path.glob("*-arduino"))


def test_a_board_that_a_format_has_no_place_for_is_refused_before_any_work(tritmcu):
    """Also without a stored network: the job's training would be in vain."""
    for form in ("arduino", "platformio"):
        done = tritmcu("export", "digits", "--board", "netduinoplus2", "--format", form)
        _, hint = refused(done)
        assert len(done.stderr.splitlines()) == 2, "no stage has begun"
        assert hint.startswith("tritmcu export digits --board netduinoplus2 --format cmake")


def test_a_network_that_hears_is_exported_as_a_library_with_its_front_end(tritmcu, tmp_path):
    done = tritmcu("export", "--model", "kws_dscnn_stq", "--board", "host", "--format", "library")
    folder = tmp_path / "kws_dscnn_stq-host-library"
    assert done.stdout == f"cd {folder.name} && cmake -S examples/program -B build && cmake --build build\n"
    assert "kws_dscnn_stq_features(" in (folder / "src" / "kws_dscnn_stq_model.h").read_text()


def test_a_missing_package_is_named_with_what_installs_it(tritmcu, tmp_path):
    (tmp_path / "sklearn.py").write_text("raise ModuleNotFoundError('No module', name='sklearn.datasets')")
    (tmp_path / "tensorflow.py").write_text("raise ModuleNotFoundError('No module', name='tensorflow')")
    path = os.pathsep.join([str(tmp_path), str(paths.RESOURCES)])
    error, hint = refused(tritmcu("run", "--model", "digits_stq_jr", "--board", "host", env={"PYTHONPATH": path}))
    assert "scikit-learn is not installed" in error
    assert hint
    (tmp_path / "sklearn.py").unlink()
    error, hint = refused(tritmcu("train", "digits", env={"PYTHONPATH": path}))
    assert "the Python package tensorflow is not installed" in error
    assert hint == "make setup"


def test_boards_lists_every_board(tritmcu):
    table, data = tritmcu("boards"), tritmcu("boards", "--json")
    assert all(name in table.stdout for name in board.names())
    assert [entry["name"] for entry in json.loads(data.stdout)] == list(board.names())


def test_doctor_names_what_is_missing_and_what_brings_it(tritmcu, tmp_path):
    empty = tmp_path / "bin"
    empty.mkdir()
    done = tritmcu("doctor", env={"PATH": str(empty)})
    assert done.returncode == 1
    assert "qemu-system-arm is missing: sudo apt-get install qemu-system-arm" in done.stdout
    data = json.loads(tritmcu("doctor", "--json", env={"PATH": str(empty)}).stdout)
    programs = {finding["name"]: finding for finding in data["programs"]}
    assert programs["cmake"] == {
        "name": "cmake", "needed_by": "every board", "version": "", "hint": "sudo apt-get install cmake",
    }  # fmt: skip


def test_doctor_says_when_the_data_folder_is_none(tritmcu):
    done = tritmcu("doctor", env={"TRITMCU_DATA": "/nowhere"})
    assert done.returncode == 1
    assert "TRITMCU_DATA is missing: /nowhere is not a folder" in done.stdout


def test_a_model_that_does_not_know_its_data_needs_to_be_told(tritmcu, tmp_path):
    store.save(tmp_path / "q", tiny.qmodel(), "key")
    error, hint = refused(tritmcu("attack", "--model", "q", "--attack", "fgsm", "--eps", "8/255"))
    assert "does not say which data set" in error
    assert "--dataset random" in hint
    error, _ = refused(tritmcu("run", "--model", "q", "--dataset", "digit", "--board", "host"))
    assert "did you mean 'digits'?" in error


def test_a_missing_compiler_is_named_with_what_installs_it(tritmcu, tmp_path):
    store.save(tmp_path / "q", tiny.qmodel(), "key")
    (tmp_path / "bin").mkdir()
    words = ("build", "--model", "q", "--dataset", "digits", "--board", "netduinoplus2", "--run-dir", "r")
    error, hint = refused(tritmcu(*words, env={"PATH": str(tmp_path / "bin")}))
    assert "cmake is not installed" in error
    assert hint == "sudo apt-get install cmake"
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == [".lock", "sources"]


@pytest.mark.toolchain
def test_json_is_the_report_and_nothing_else(tritmcu, tmp_path):
    store.save(tmp_path / "q", tiny.qmodel(), "key")
    words = ("--model", "q", "--dataset", "digits", "--board", "host", "--limit", "12", "--run-dir", "r")
    done = tritmcu("run", *words, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == json.loads((tmp_path / "r" / "report.json").read_text())
    assert json.loads(done.stdout)["accuracy"]["clean"]["n"] == 12
    assert "stream" in done.stderr


def test_a_place_that_cannot_hold_a_run_is_named(tritmcu, tmp_path) -> None:
    (tmp_path / "notes").write_text("mine")
    error, hint = refused(tritmcu("train", "digits", "--epochs", "1", "--run-dir", "notes/run"))
    assert "notes" in error
    assert "--run-dir" in hint
    assert (tmp_path / "notes").read_text() == "mine"


def test_a_sweep_that_has_not_begun_names_no_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text('[[study]]\nname = "a"\nbase = "digits"\nseeds = [1]\n[[study.row]]\nname = "b"\n')
    assert main.main(["sweep", "mine.toml", "--show"]) == 0
    printed = capsys.readouterr()
    assert "0/1" in printed.out and printed.err == ""


def test_defaults_in_the_help_are_those_there_are():
    """An option that a job's key also sets says the key's default; argparse has none, to tell what was given."""
    for option, default in ((options.STEPS, "steps"), (options.QUERIES, "queries"), (options.EPS_UNIT, "unit")):
        assert option.help.endswith(f"by default {AttackConfig.model_fields[default].default}")
    assert options.DEVICES.help.endswith(f"by default {options.DEVICES.settings['default']}")
    assert audit.LIMIT.help.endswith(f"by default {audit.LIMIT.settings['default']}")
    assert BOARD.help.startswith(f"board instead of the recipe's, else {Job.model_fields['board'].default};")


@pytest.mark.parametrize("words", [("stream", "--port"), ("run", "--unit"), ("rig", "--add", "uno", "--port")])
def test_a_place_without_a_name_is_refused(words):
    """A variable that is not set must not mean the emulator."""
    with pytest.raises(ConfigError, match=f"argument {words[-1]}: '' names nothing"):
        main.parse([*words, ""])
