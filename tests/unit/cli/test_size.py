"""`tritmcu size` on the host board: a stored network is built, its run and its JSON are compared without building."""

from __future__ import annotations

import json
import shlex

import pytest

from pipeline.cli import main
from pipeline.core import store
from pipeline.core.nouns import Image
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


@pytest.mark.parametrize(
    ("words", "says", "hint"),
    [
        ("digits_stq", "unknown network, run or job 'digits_stq'; did you mean 'digits_stq_jr'?", "tiny-host"),
        ("runs/tiny-host --board netduinoplus2", "holds a firmware, not the network it was made from", "name that"),
        ("missing.json", "missing.json: No such file", ""),
        ("q --depth 0", "'0' is not a positive integer", "--help"),
    ],
)
def test_what_cannot_be_sized_is_named(size, words, says, hint):
    code, out, err = size(words)
    assert (code, out) == (2, "")
    assert says in err
    assert hint in err
