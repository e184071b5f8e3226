"""20,000 sessions with hostile devices: each ends, with the right results or with a DeviceError. Nothing sleeps."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.fuzz import host

SESSIONS, PARTS = 20_000, 10


@pytest.mark.parametrize("part", range(PARTS))
def test_every_session_ends_in_results_or_in_an_error_of_the_device(part):
    count = SESSIONS // PARTS
    ends = Counter(host.meet(seed) for seed in range(part * count, (part + 1) * count))
    assert sum(ends.values()) == count
    assert ends["right"] > count // 2
    assert len(ends) >= 4, "devices that lie are found out in several ways"
