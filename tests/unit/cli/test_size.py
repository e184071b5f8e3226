"""`tritmcu size` on the host board: a stored network is built, its run and its JSON are compared without building."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.cli.commands import run
from pipeline.config.budget import CostBudget
from pipeline.core import store
from pipeline.core.errors import BudgetError
from pipeline.core.nouns import Image
from pipeline.workflow import subjects
from tests.support import tiny


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder in which q, a network that names no data set, was built for the host."""
    folder = tmp_path_factory.mktemp("size")
    store.save(folder / "q", tiny.qmodel(), "key")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main.main(["size", "q", "--board", "host"]) == 0
    return folder


@pytest.fixture
def size(place, monkeypatch, capsys):
    """Runs the command there: (exit code, standard output, standard error)."""
    monkeypatch.chdir(place)

    def run(words: str) -> tuple[int, str, str]:
        code = main.main(["size", *shlex.split(words)])
        return (code, *capsys.readouterr())

    return run


def test_a_run_is_sized_as_it_was_built(size, place):
    image = store.load(place / "runs/tiny-host/image", Image)
    code, out, err = size("runs/tiny-host --depth 3")
    assert code == 0
    assert "nn_conv2d" in out and "reserved" not in out
    assert err == "runs/tiny-host/size.html\n", "nothing was built"
    found = json.loads(size("runs/tiny-host --json")[1])
    assert sum(part["bytes"] for part in found["flash"]) == found["flash_bytes"] == image.flash_bytes
    assert sum(part["bytes"] for part in found["ram"]) == found["ram_bytes"] == image.ram_bytes + image.stack_bytes
    assert (place / "runs/tiny-host/size.html").read_text(encoding="utf-8").count("<svg") == 2


def test_a_build_is_compared_with_what_it_was(size, place):
    found = json.loads(size("runs/tiny-host/image --json")[1])
    part = next(part for part in found["flash"] if part["path"][0] == "kernels")
    part["bytes"] += 100
    found["flash_bytes"] += 100
    (place / "old.json").write_text(json.dumps(found), encoding="utf-8")
    differences = json.loads(size("runs/tiny-host --diff old.json --json")[1])["diff"]
    assert [(change["path"], change["change_bytes"]) for change in differences["flash"]] == [(part["path"], -100)]
    assert differences["ram"] == []
    code, out, err = size("old.json --diff runs/tiny-host --markdown --html page.html")
    assert (code, err) == (0, "page.html\n")
    assert f"| {' / '.join(part['path'])} | {part['bytes']} | {part['bytes'] - 100} | +100 |".replace(",", "") in out
    assert (place / "page.html").exists()


def test_a_broken_budget_is_shown_and_has_its_own_exit_code(size, place):
    code, out, err = size("runs/tiny-host --budget flash=1KiB,ram=1MiB")
    assert code == 3
    assert "kernels" in out, "what it is made of is printed all the same"
    assert "error: flash: " in err and " over the budget of 1 024; largest parts: " in err
    code, out, err = size("runs/tiny-host --budget flash=1MiB --depth 1")
    assert code == 0 and out.splitlines()[0].rstrip().endswith("of the budget of 1.0 MiB"), "in one line, not wrapped"
    assert size("q --board host --budget ram=1")[0] == 3, "of a network too"
    code = main.main(["build", "--model", "q", "--board", "host", "--run-dir", "elsewhere", "--budget", "ram=1"])
    assert (code, (place / "elsewhere" / "image").exists()) == (3, False), "what is known before is not built"
    assert main.main(["build", "--model", "q", "--board", "host", "--budget", "flash=1KiB"]) == 3


def test_a_report_is_shown_before_its_budget_is_judged(capsys):
    spread = {"max": 70}
    latency = {"unit": "instructions", "instructions": spread, "per_layer": [{"name": "a", "instructions": spread}]}
    plan = replace(subjects.plan("digits_stq_jr", "host", Path("runs")), budget=CostBudget(instructions=69))
    with pytest.raises(BudgetError, match="instructions: 70, 1 over the budget of 69; largest parts: a 70"):
        run.show_report(plan, {"latency": latency}, as_json=True)
    assert json.loads(capsys.readouterr().out)["latency"] == latency


@pytest.mark.parametrize(
    ("words", "says", "hint"),
    [
        ("digits_stq", "unknown network, run or job 'digits_stq'; did you mean 'digits_stq_jr'?", "tiny-host"),
        ("runs/tiny-host --board netduinoplus2", "holds a firmware, not the network it was made from", "name that"),
        ("missing.json", "missing.json: No such file", ""),
        ("q --budget instructions=9e6", "--budget instructions=9e6: instructions: tritmcu size runs nothing", "run"),
        ("q --budget flash=9KB", "unknown unit 'KB'", ""),
        ("q --depth 0", "'0' is not a positive integer", "--help"),
    ],
)
def test_what_cannot_be_sized_is_named(size, words, says, hint):
    code, out, err = size(words)
    assert (code, out) == (2, "")
    assert says in err
    assert hint in err
