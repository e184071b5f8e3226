"""Bad lines, for tests: a link around any link that damages, delays or cuts what passes."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.core.errors import DeviceError
from pipeline.device.links import Link


@dataclass(frozen=True)
class Faults:
    """Probabilities per byte, either direction. A dropped byte vanishes, a flipped one has one bit wrong, a duplicate
    comes twice, a delayed one and all behind it come delay_s later. cut_after: bytes written, then the link breaks."""

    drop: float = 0.0
    flip: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    delay_s: float = 0.02
    cut_after: int | None = None


class FaultyLink:
    """`inner` with faults; the same seed and traffic give the same faults. injected: faults so far."""

    def __init__(self, inner: Link, faults: Faults, seed: int = 0) -> None:
        self.name = f"faulty {inner.name}"
        self._inner = inner
        self._faults = faults
        self._written = 0
        self._up = _Line(faults, random.Random(seed))
        self._down = _Line(faults, random.Random(seed + 1))

    @property
    def injected(self) -> int:
        return self._up.injected + self._down.injected

    def read(self, timeout_s: float, least: int = 1) -> bytes:
        deadline_s = time.monotonic() + timeout_s
        while True:
            self._forward()
            left_s = deadline_s - time.monotonic()
            nearest_s = min(left_s, self._up.due_in_s(), self._down.due_in_s())
            self._down.put(self._inner.read(max(nearest_s, 0.0)))
            data = self._down.take()
            if data or left_s <= 0:
                return data

    def write(self, data: bytes) -> None:
        cut = self._faults.cut_after
        if cut is not None and self._written + len(data) > cut:
            self._up.put(data[: cut - self._written])
            self._forward()
            self._inner.close()
            raise DeviceError(f"{self.name}: cut after {cut} bytes", "plug it in again")
        self._written += len(data)
        self._up.put(data)
        self._forward()

    def close(self) -> None:
        self._inner.close()

    def _forward(self) -> None:
        if data := self._up.take():
            self._inner.write(data)


class _Line:
    """One direction: bytes go in, the damaged ones come out, in order."""

    def __init__(self, faults: Faults, source: random.Random) -> None:
        self.injected = 0
        self._faults = faults
        self._random = source
        self._held: deque[tuple[float, bytes]] = deque()
        self._held_until_s = 0.0

    def put(self, data: bytes) -> None:
        """Takes bytes in; each chunk between two delays gets the time at which it may come out."""
        chunk = bytearray()
        for byte in data:
            kind = self._draw()
            if kind == "delay":
                self._hold(chunk)
                chunk = bytearray()
                self._held_until_s = max(self._held_until_s, time.monotonic()) + self._faults.delay_s
            chunk += self._damaged(byte, kind)
        self._hold(chunk)

    def take(self) -> bytes:
        """What may come out now."""
        return b"".join(self._due())

    def due_in_s(self) -> float:
        """Seconds until something may come out; infinite when nothing is held."""
        return self._held[0][0] - time.monotonic() if self._held else float("inf")

    def _hold(self, chunk: bytearray) -> None:
        if chunk:
            self._held.append((self._held_until_s, bytes(chunk)))

    def _due(self) -> Iterator[bytes]:
        while self._held and self._held[0][0] <= time.monotonic():
            yield self._held.popleft()[1]

    def _draw(self) -> str:
        """The fault this byte suffers, "" for none."""
        number = self._random.random()
        for kind in ("drop", "flip", "duplicate", "delay"):
            number -= getattr(self._faults, kind)
            if number < 0:
                self.injected += 1
                return kind
        return ""

    def _damaged(self, byte: int, kind: str) -> bytes:
        if kind == "flip":
            byte ^= 1 << self._random.randrange(8)
        return bytes([byte]) * {"drop": 0, "duplicate": 2}.get(kind, 1)
