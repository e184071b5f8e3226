"""A serial line to a real device process, on a virtual clock: what a test sees depends on no computer's speed."""

from __future__ import annotations

from collections import deque

from pipeline.core.errors import DeviceError
from pipeline.device.links import Link
from pipeline.protocol import wire

RUN = wire.BY_NAME["RUN"].code
ANSWER_S = 600.0
"""Real seconds in which the process has to answer."""


class TimedLine:
    """`inner` at a line rate of bytes_per_s in each direction, with unlimited buffers at the ends: an 8N1 serial line
    of b baud carries b / 10 bytes a second. The device behind it serves requests in order, each from its last byte on,
    and takes run_s for a RUN and no time for any other; the host takes none."""

    def __init__(self, inner: Link, bytes_per_s: float, run_s: float = 0.0) -> None:
        self.name = f"{inner.name} at {bytes_per_s:g} B/s"
        self.now_s = 0.0
        self._inner, self._bytes_per_s, self._run_s = inner, bytes_per_s, run_s
        self._requests, self._frame = wire.Decoder(), bytearray()
        self._up_free_s = self._device_free_s = self._down_free_s = 0.0
        self._answers: deque[tuple[float, bytes]] = deque()

    def clock(self) -> float:
        """Virtual seconds, for the Session."""
        return self.now_s

    def write(self, data: bytes) -> None:
        for byte in data:
            self._frame.append(byte)
            self._up_free_s = max(self._up_free_s, self.now_s) + 1 / self._bytes_per_s
            if byte == 0:
                self._serve(bytes(self._frame))
                self._frame.clear()

    def read(self, timeout_s: float, least: int = 1) -> bytes:
        """The next whole answer, if it arrives in time."""
        until_s = self.now_s + timeout_s
        if self._answers and self._answers[0][0] <= until_s:
            arrived_s, data = self._answers.popleft()
            self.now_s = max(self.now_s, arrived_s)
            return data
        self.now_s = until_s
        return b""

    def close(self) -> None:
        self._inner.close()

    def _serve(self, data: bytes) -> None:
        """Passes a request on and dates its answer."""
        requests = list(self._requests.feed(data))
        self._inner.write(data)
        started_s = max(self._up_free_s, self._device_free_s)
        self._device_free_s = started_s + self._run_s * sum(request.type == RUN for request in requests)
        for _ in requests:
            answer = self._answer()
            self._down_free_s = max(self._down_free_s, self._device_free_s) + len(answer) / self._bytes_per_s
            self._answers.append((self._down_free_s, answer))

    def _answer(self) -> bytes:
        """The process serves one request at a time here, so a delimiter ends what it sends."""
        data = b""
        while not data.endswith(wire.DELIMITER):
            more = self._inner.read(ANSWER_S)
            if not more:
                raise DeviceError(f"{self.name}: no answer")
            data += more
        return data
