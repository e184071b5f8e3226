"""Tables in a narrow terminal: names and figures stay whole, text wraps, columns go."""

from __future__ import annotations

from contextlib import closing

import pytest

from pipeline.cli import console
from pipeline.cli.main import main
from pipeline.config import board
from pipeline.workflow import zoo

COLUMNS = ("name", "bytes", "what it is")
ROWS = (("a_rather_long_name_of_a_network", "12 345", "words that may well wrap here"), ("short", "1", ""))


@pytest.fixture
def terminal(monkeypatch):
    """terminal(columns): tables are drawn as in a terminal of that width."""
    return lambda columns: monkeypatch.setattr(console, "table_width", lambda: columns)


def test_text_wraps_between_words(terminal, capsys):
    terminal(55)
    console.table("", COLUMNS, ROWS, right=(1,))
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 55
    assert ROWS[0][0] in shown
    assert "12 345" in shown
    assert all(word in shown.split() for word in ROWS[0][2].split())


def test_columns_that_do_not_fit_are_left_out_and_named(terminal, capsys):
    terminal(42)
    console.table("", COLUMNS, ROWS, right=(1,))
    shown = capsys.readouterr().out
    assert ROWS[0][0] in shown
    assert "12 345" in shown
    assert shown.endswith("left out, the terminal is too narrow: what it is\n")


def test_a_name_longer_than_the_terminal_stays_whole(terminal, capsys):
    terminal(10)
    console.table("", COLUMNS, ROWS, right=(1,))
    assert ROWS[0][0] in capsys.readouterr().out


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize(("command", "names"), [("boards", board.names()), ("zoo", zoo.names())])
def test_listings_keep_every_name(terminal, capsys, width, command, names):
    terminal(width)
    assert main([command]) == 0
    shown = capsys.readouterr().out
    assert set(names) <= set(shown.split())
    assert "…" not in shown
    assert max(len(line) for line in shown.splitlines() if not line.startswith("left out")) <= width


@pytest.mark.parametrize("available", range(1, 60))
def test_widths_never_exceed_what_there_is_nor_cut_a_word(available):
    cells = [["name", "abcdefgh"], ["n", "1 000"], ["text", "one two threefour"]]
    widths = console.fit(cells, available, {0, 1})
    assert widths[0] == 8
    if len(widths) > 1:
        assert widths[1] == 5
        assert sum(widths) + console.BETWEEN * len(widths) <= available
    if len(widths) > 2:
        assert 9 <= widths[2] <= 17


def test_the_time_left_is_that_of_the_attack_under_way(monkeypatch, capsys):
    """Two attacks in one stage: 100 s for the first; half of the second in 10 s leaves 10 s, not 110."""
    now = 0.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now)
    display = console.PlainDisplay()
    for now, done in ((0.0, 0), (100.0, 200), (100.0, 0), (110.0, 100)):  # noqa: B007
        display.progress("attack", done, 200)
    assert "50 %, 10.0 s left" in capsys.readouterr().err.splitlines()[-1]


def test_the_time_left_of_what_is_resumed_counts_from_where_it_begins(monkeypatch, capsys):
    """A training that goes on at 100 of 200 and does 20 in 20 s has 80 s left, not 13."""
    now = 0.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now)
    display = console.PlainDisplay()
    for now, done in ((0.0, 100), (20.0, 120)):  # noqa: B007
        display.progress("train", done, 200)
    assert "60 %, 80.0 s left" in capsys.readouterr().err.splitlines()[-1]


def test_the_bar_begins_again_with_the_next_attack():
    """Of 200 samples each: what the first attack took says nothing of the time left."""
    with closing(console.BarDisplay()) as display:
        for done in (100, 200, 50):
            display.progress("attack", done, 200)
        (bar,) = display._bars.tasks
        assert (bar.completed, bar.total) == (50, 200)
        assert bar.finished_time is None and bar.speed is None, "as one that has just begun"
