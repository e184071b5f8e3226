"""Devices on a virtual clock: nobody sleeps, and what takes a device minutes takes a test milliseconds."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from typing import Any

from pipeline.device.session import Session
from pipeline.protocol import wire

HELLO = {
    "protocol": wire.PROTOCOL, "tick_unit": 0, "max_payload": 256, "rx_buffer_bytes": 1024, "layers": 2, "tick_hz": 0,
    "arena_bytes": 128, "input_bytes": 64, "output_bytes": 10, "base_bytes": 0, "digest": bytes(16), "board": "virtual",
}  # fmt: skip
BYTES_PER_S = 11520
LAYER_TICKS = (3, 4)
_NAMES = {message.code: message.name for message in wire.MESSAGES}
_CODES = {name: code for name, code, _ in wire.ERRORS}


def frame(name: str, seq: int, tail: bytes = b"", **fields: Any) -> bytes:
    """Wire bytes of a reply."""
    message = wire.BY_NAME[name]
    return wire.encode(wire.Frame(message.code | wire.REPLY, seq, wire.pack_fields(message.reply, fields, tail)))


class Device:
    """A Link to a device that follows docs/PROTOCOL.md, at 115200 baud. Its answer to a sample is the first bytes of
    it. answer_s: how late each answer is; bend: called with (message name, its answer's bytes) before an
    answer leaves, returns what leaves instead; act: called with (message name, the device) before a request is served,
    True: the request is lost; reset_cause: what STATS says of it. hello: fields of its HELLO that are not HELLO's;
    requests: names of those it has got."""

    name = "virtual"

    def __init__(
        self,
        *,
        answer_s: float = 0.001,
        bend: Callable[[str, int, bytes], bytes] = lambda name, seq, data: data,
        act: Callable[[str, Device], bool] = lambda name, device: False,
        reset_cause: int = 0,
        **hello: Any,
    ) -> None:
        self.now_s = 1000.0
        self.hello = {**HELLO, **hello}
        self.requests: list[str] = []
        self.resets = 0
        self._answer_s, self._bend, self._act, self._reset_cause = answer_s, bend, act, reset_cause
        self._decoder = wire.Decoder()
        self._leaving: deque[tuple[float, bytes]] = deque()
        self._busy_until_s = 0.0
        self.restart()
        self.resets = 0

    def session(self, **options: float) -> Session:
        """A session on the virtual clock that has said hello."""
        opened = Session(self, clock=lambda: self.now_s, **options)
        opened.hello()
        return opened

    def restart(self) -> None:
        """Forgets everything, as after a brown-out."""
        self.resets += 1
        self.ticket = self.layers_run = self.frames = 0
        self.sample, self.arena, self.was_run = b"", bytes(128), False

    def close(self) -> None:
        pass

    def write(self, data: bytes) -> None:
        self.now_s += len(data) / BYTES_PER_S
        for request in self._decoder.feed(data):
            name = _NAMES[request.type]
            self.requests.append(name)
            self._busy_until_s = max(self._busy_until_s, self.now_s + self._answer_s)
            if not self._act(name, self):
                self.frames += 1
                answer = self._bend(name, request.seq, self._serve(name, request))
                self._leaving.append((self._busy_until_s, answer))

    def read(self, timeout_s: float, least: int = 1) -> bytes:
        until_s, came = self.now_s + timeout_s, b""
        while len(came) < least and self._leaving and self._leaving[0][0] <= until_s:
            at_s, data = self._leaving.popleft()
            self.now_s = max(self.now_s, at_s) + len(data) / BYTES_PER_S
            came += data
        if len(came) < least:
            self.now_s = max(self.now_s, until_s)
        return came

    def _serve(self, name: str, request: wire.Frame) -> bytes:
        fields, tail = wire.unpack_fields(wire.BY_NAME[name].request, request.payload)
        answered = getattr(self, f"_on_{name.lower()}")(tail, **fields)
        if isinstance(answered[0], str):
            code = wire.BY_NAME[name].code
            return frame("ERROR", request.seq, request=code, code=_CODES[answered[0]], detail=answered[1])
        return frame(name, request.seq, answered[1], **answered[0])

    def _on_hello(self, tail: bytes, protocol: int):
        self.ticket, self.sample, self.was_run = 0, b"", False
        return self.hello, b""

    def _on_input(self, tail: bytes, ticket: int, offset: int):
        if ticket > self.ticket or (ticket == self.ticket and not self.was_run):
            held = self.sample if ticket == self.ticket else b""
            if offset > len(held):
                return "BAD_OFFSET", len(held)
            self.ticket, self.sample, self.was_run = ticket, max(held, held[:offset] + tail, key=len), False
        return {"ticket": self.ticket, "received": len(self.sample)}, b""

    def _on_run(self, tail: bytes, ticket: int, layers: int, keep: int):
        if ticket != self.ticket or ticket == 0 or len(self.sample) != self.hello["input_bytes"]:
            return "INCOMPLETE", len(self.sample) if ticket == self.ticket else 0
        layers = min(layers, self.hello["layers"])
        self.was_run, self.layers_run, self.arena = True, layers, self.sample.ljust(128, b"\0")
        output = self.arena[: self.hello["output_bytes"]]
        ticks = LAYER_TICKS[:layers]
        whole = output + struct.pack(f"<{layers}I", *ticks)
        room = self.hello["max_payload"] - 8
        return {"ticket": ticket, "ticks": sum(ticks)}, whole[: min(room, len(output))] + self._as_fits(whole, output)

    def _as_fits(self, whole: bytes, output: bytes) -> bytes:
        """Ticks behind the output, whole ones."""
        room = max(self.hello["max_payload"] - 8 - len(output), 0)
        return whole[len(output) :][: room // 4 * 4]

    def _on_ticks(self, tail: bytes, first: int):
        if first > self.layers_run:
            return "BAD_LAYER", self.hello["layers"]
        return {"first": first}, struct.pack(f"<{self.layers_run - first}I", *LAYER_TICKS[first : self.layers_run])

    def _on_tensor(self, tail: bytes, layer: int, length: int, offset: int):
        data = self.arena[: self.hello["output_bytes"]][offset:][:length]
        return {"layer": layer, "length": len(data), "offset": offset}, data

    def _on_stats(self, tail: bytes):
        names = [field.name for field in wire.BY_NAME["STATS"].reply]
        told = {"canaries_ok": 1, "frames": self.frames, "arena_touched": 64, "reset_cause": self._reset_cause}
        return {**dict.fromkeys(names, 0), **told}, b""

    def _on_reset(self, tail: bytes):
        self.restart()
        return {}, b""

    def _on_echo(self, tail: bytes):
        return {}, tail
