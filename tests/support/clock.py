"""Time that passes only where something waits for it: what a test sees does not depend on the computer's speed."""

from __future__ import annotations

import time
from collections import deque


def unhurried() -> float:
    """Seconds for a Session with a real device, a sixtieth of the real ones: what gets lost is still asked for again,
    and a device or a test that has to wait for a processor is not taken for it."""
    return time.monotonic() / 60


class Clock:
    """Stands in for the module `time` where a link or a channel looks at it."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


class Loopback:
    """A link that brings back what is written, at once; waiting for more takes the clock's time."""

    name = "loopback"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._data: deque[bytes] = deque()

    def read(self, timeout_s: float, least: int = 1) -> bytes:
        data = b"".join(self._data)
        self._data.clear()
        if not data:
            self._clock.now_s += timeout_s
        return data

    def write(self, data: bytes) -> None:
        self._data.append(data)

    def close(self) -> None:
        pass
