"""The commands of a person with a board in hand: rig, import, flash --dry-run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core import paths, store
from pipeline.device import rig
from tests.support import tiny
from tests.unit.config.test_platformio import NUCLEO

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def tritmcu(tmp_path: Path) -> Command:
    """Runs the command in an empty folder; the finished process."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pipeline.cli", *words]
        env = {**os.environ, "PYTHONPATH": str(paths.RESOURCES)}
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)

    return run


def test_rig_lists_what_is_there(tritmcu: Command) -> None:
    done = tritmcu("rig", "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert set(found) == {"ports", "probes", "units"}
    assert [port["device"] for port in found["ports"]] == [port.device for port in rig.ports()]
    assert "ports" in tritmcu("rig").stdout


def test_rig_notes_a_unit_for_good(tritmcu: Command, tmp_path: Path) -> None:
    done = tritmcu("rig", "--add", "nucleo-f446re", "--port", "/dev/tritmcu-no-such-port")
    assert done.returncode == 2
    assert "no port '/dev/tritmcu-no-such-port'" in done.stderr
    assert not (tmp_path / "rig.toml").exists()
    here = rig.ports()
    if not here:
        pytest.skip("this machine has no serial port at all")
    assert tritmcu("rig", "--add", "nucleo-f446re", "--port", here[0].device, "--name", "left").returncode == 0
    unit = rig.load(tmp_path / "rig.toml").unit[0]
    assert (unit.board, unit.name) == ("nucleo-f446re", "left")
    assert here[0].serial_number == unit.serial_number
    assert json.loads(tritmcu("rig", "--json").stdout)["units"][0]["name"] == "left"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = [", "error: rig.toml: not valid TOML"),
        ("[[board]]\nname = 'left'", "error: rig.toml: unknown key 'board'\nhint: allowed here: unit"),
        ("[[unit]]\nboard = 'nucleo-f446r'\nport = 'x'", "error: rig.toml: unit 'x': unknown board 'nucleo-f446r'"),
    ],
)
def test_a_wrong_rig_is_one_clear_line(tritmcu: Command, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "rig.toml").write_text(content)
    done = tritmcu("rig")
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) <= 2


def test_a_cache_that_cannot_be_is_named_with_its_remedy(tritmcu: Command, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    done = tritmcu("train", "digits")
    assert done.returncode == 2
    assert f"error: cache folder {tmp_path}/file/tritmcu: Not a directory\nhint: " in done.stderr
    assert "XDG_CACHE_HOME" in done.stderr


def test_a_tool_the_board_does_not_have_is_said_before_any_work(tritmcu: Command) -> None:
    done = tritmcu("run", "digits", "--board", "nucleo-f446re", "--runner", "bossac")
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown runner of board 'nucleo-f446re': 'bossac'\nhint: known: ")


@pytest.mark.toolchain
def test_dry_run_prints_what_would_be_run(tritmcu: Command, tmp_path: Path) -> None:
    store.save(tmp_path / "q", tiny.qmodel(), "key")
    words = ("--model", "q", "--dataset", "digits", "--board", "nucleo-f446re", "--run-dir", "r")
    done = tritmcu("flash", *words, "--dry-run", "--runner", "st_flash", "--port", "/dev/ttyACM0")
    assert done.returncode == 0
    assert done.stdout == "st-flash --reset write r/image/firmware.bin 0x08000000\n"
    done = tritmcu("flash", *words, "--dry-run")
    assert done.stdout == (
        "openocd -f board/st_nucleo_f4.cfg -c 'program {r/image/firmware.elf} verify reset exit'\n"
    ), "a probe needs no port"
    done = tritmcu("flash", *words, "--dry-run", "--runner", "bossac")
    assert done.returncode == 2
    assert "unknown runner of board 'nucleo-f446re': 'bossac'" in done.stderr
    assert "hint: known: mass_storage, openocd, st_flash" in done.stderr
    done = tritmcu("flash", *words, "--runner", "st_flash", "--port", "/dev/tritmcu-no-such-port")
    assert done.returncode == 2


def test_an_imported_board_is_a_file_of_ones_own(tritmcu: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(NUCLEO))
    done = tritmcu("import", "mine.json")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "boards/mine.toml: written; next: tritmcu export --format arduino --board mine\n"
    assert "mine" in [entry["name"] for entry in json.loads(tritmcu("boards", "--json").stdout)]
    again = tritmcu("import", "mine.json")
    assert again.returncode == 2
    assert "error: boards/mine.toml: exists" in again.stderr


@pytest.mark.parametrize(
    ("words", "says", "hints"),
    [
        (["uno.json", "--name", "netduinoplus2"], "board 'netduinoplus2' exists elsewhere", "--name"),
        (["bad.json"], "bad.json: key 'name' is missing", ""),
        (["net.onnx"], "net.onnx: cannot import a file of kind '.onnx'", "supported: .tflite"),
        (["net"], "net: cannot import a file of kind ''", "supported: .tflite"),
        (["net.tflite"], "net.tflite: No such file or directory", "name a .tflite file"),
        (["uno.json", "--dataset", "digits"], "--dataset: is for networks, uno.json describes a board", "omit it"),
    ],
)
def test_what_cannot_be_imported_is_refused_by_name(
    tritmcu: Command, tmp_path: Path, words: list[str], says: str, hints: str
) -> None:
    (tmp_path / "uno.json").write_text(json.dumps(NUCLEO))
    (tmp_path / "bad.json").write_text("{}")
    done = tritmcu("import", *words)
    assert done.returncode == 2
    error, *rest = done.stderr.splitlines()
    assert error.startswith(f"error: {says}")
    assert hints in "".join(rest)
    assert not (tmp_path / "boards").exists()


@pytest.mark.parametrize("option", ["--name", "--probe", "--port"])
def test_what_would_only_be_noted_is_refused_without_add(tritmcu: Command, option: str) -> None:
    done = tritmcu("rig", option, "x")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"error: {option}: only with --add" in done.stderr
