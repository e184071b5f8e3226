"""What the test run says of itself."""

from __future__ import annotations

from types import SimpleNamespace

from tests.conftest import skip_lines


def skipped(node: str, reason: str) -> SimpleNamespace:
    return SimpleNamespace(nodeid=node, longrepr=("a.py", 1, f"Skipped: {reason}"))


def test_skips_are_told_by_reason_the_most_frequent_first():
    reports = [skipped("a.py::one", "no gdb"), skipped("b.py::two", "no board"), skipped("a.py::three", "no board")]
    assert skip_lines(reports) == ["skipped 2: no board (a.py, b.py)", "skipped 1: no gdb (a.py)"]
    assert skip_lines([]) == []
