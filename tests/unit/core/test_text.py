"""text: numbers as people read them, at the borders between their units."""

from __future__ import annotations

import pytest

from pipeline.core import text


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        ((1 << 20) - 52, "1023.9 KiB"),
        (1 << 20, "1.0 MiB"),
        (3 << 19, "1.5 MiB"),
    ],
)
def test_sizes(number, shown):
    assert text.size(number) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0"), (999, "999"), (1000, "1.00 k"), (99_940, "99.9 k"), (10**6, "1.00 M"), (10**9, "1.00 G")],
)
def test_compact_numbers_have_three_digits(number, shown):
    assert text.compact(number) == shown
