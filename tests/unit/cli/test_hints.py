"""hints: a command that an error names repeats what the command line said, so that it can be copied as it is."""

from __future__ import annotations

import re
import shlex

import pytest

from pipeline.cli import hints, main
from pipeline.core import paths, store
from tests.support import tiny

STORED = ["--model", "digits_stq_jr", "--run-dir", "my run"]
COPIED = re.compile(r"tritmcu (?:train|lower|attack|render|build|flash|stream|report|run|size|export|reproduce)\b")


def told(hint: str, *words: str) -> str:
    """The hint as the command line `words` shows it."""
    return hints.completed(hint, main.COMMANDS, main.parse(list(words)))


@pytest.mark.parametrize(
    ("words", "hint", "shown"),
    [
        (
            ["stream", *STORED, "--port", "/dev/x", "--limit", "9", "--fresh"],
            "`tritmcu flash --board uno`",
            "tritmcu flash --model digits_stq_jr --board uno --run-dir 'my run' --port /dev/x",
        ),
        (
            ["flash", "digits", "--unit", "desk", "--runner", "openocd"],
            "press reset; then `tritmcu stream`; the same command",
            "press reset; then tritmcu stream digits --unit desk; the same command",
        ),
        (["build", *STORED], "`tritmcu size`", "tritmcu size digits_stq_jr"),
        (["build", "digits", "--run-dir", "my run"], "`tritmcu size`", "tritmcu size 'my run'"),
        (["build", "--board", "host"], "`tritmcu size`", "tritmcu size digits --board host"),
        (
            ["audit", "digits", "--board", "uno", "--limit", "7", "--eps", "0.1", "--run-dir", "d"],
            "`tritmcu attack`, `tritmcu flash`",
            "tritmcu attack digits --run-dir d --limit 7 --board uno, tritmcu flash digits --board uno --run-dir d",
        ),
        (["audit", "digits_stq_jr"], "`tritmcu build`", "tritmcu build --model digits_stq_jr"),
        (["audit", "nothing"], "`tritmcu build`", "tritmcu build"),
        (["reproduce", "a b", "--port", "/dev/x"], "`tritmcu flash --model 'a b'`",
         "tritmcu flash --model 'a b' --port /dev/x"),
        (["stream", "--port", "/dev/x"], "`tritmcu reproduce 'a b'`", "tritmcu reproduce 'a b' --port /dev/x"),
        (["compare", "digits", "--board", "uno"], "`tritmcu train digits`", "tritmcu train digits"),
        (["run", *STORED], "`tritmcu import 'x y.h5'`", "tritmcu import 'x y.h5'"),
        (["run", *STORED], "`make` it, or `tritmcu reproduce 'a", "`make` it, or `tritmcu reproduce 'a"),
        (["run", *STORED], "`tritmcu reproduce 'a`b'`", "`tritmcu reproduce 'a`b'`"),
    ],
)  # fmt: skip
def test_a_command_repeats_what_it_knows_and_does_not_say_itself(words, hint, shown):
    assert told(hint, *words) == shown


def test_without_a_command_line_only_the_marks_are_left_out():
    assert hints.completed("run `tritmcu flash --board uno` first", main.COMMANDS, None) == (
        "run tritmcu flash --board uno first"
    )


def test_what_a_hint_shows_is_a_command_line(tmp_path, monkeypatch):
    """Every stage named by every other one: the line is accepted and means the same run."""
    monkeypatch.chdir(tmp_path)
    given = {
        "--model": "digits_stq_jr", "--dataset": "random", "--board": "uno", "--run-dir": "my run", "--limit": "9",
        "--port": "/dev/x", "--unit": "desk", "--kernels": "reference", "--trits-per-byte": "5", "--runner": "avrdude",
        "--budget": "flash=1MiB",
    }  # fmt: skip
    stages = ("attack", "render", "build", "flash", "stream", "report", "run", "export")
    for asker in stages:
        flags = [o.flag for o in main.COMMANDS[asker].OPTIONS if o.flag in given and asker != "attack"] or ["--model"]
        words = [asker, *(word for flag in flags for word in (flag, given[flag]))]
        for name in stages:
            again = main.parse(shlex.split(told(f"`tritmcu {name}`", *words))[1:])
            for option in main.COMMANDS[name].repeated(main.COMMANDS[asker]):
                assert option.given(again) == (option.flag in flags), (asker, name, option.flag)


def test_commands_that_a_person_copies_are_marked_as_such():
    """In messages; a command of one word that lists something (rig, zoo, boards, doctor) has nothing to repeat."""
    files = [path for path in paths.PACKAGE.rglob("*.py") if path.parent.name != "commands"]
    lines = [(path, line) for path in files for line in path.read_text(encoding="utf-8").splitlines()]
    shown = [
        (path.name, line) for path, line in lines if re.search(r"Error\(|hint|remedy", line) and COPIED.search(line)
    ]
    assert len(shown) > 5
    unmarked = [place for place in shown if not re.search(r"`tritmcu", place[1]) and "--json > FILE" not in place[1]]
    assert unmarked == []


def test_firmware_that_is_not_there_names_the_whole_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    store.save(tmp_path / "q", tiny.qmodel(), "key")
    words = ["--model", "q", "--dataset", "random", "--board", "host", "--run-dir", "my run"]
    assert main.main(["report", *words]) == 2
    wanted = "hint: run this first: tritmcu stream --model q --dataset random --board host --run-dir 'my run'"
    assert wanted in capsys.readouterr().err
