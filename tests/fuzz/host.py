"""Hostile devices, made from a seed: how one departs from docs/PROTOCOL.md, on a virtual clock. python -m
tests.fuzz.host [SESSIONS] holds so many sessions."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.core.errors import DeviceError
from pipeline.device.session import Session
from pipeline.protocol import wire
from tests.support.virtual import Device, frame

MOST_REQUESTS = 100_000
"""Of one session: the bounds of its samples allow fewer."""
_NAMES = tuple(message.name for message in wire.MESSAGES)


@dataclass
class Hostile:
    """What one device does to the line and to its answers. `lies`: whether a result may be another than the right one,
    as whole frames say what is not so."""

    source: random.Random
    share: float
    """Of the answers that it spoils."""
    lies: bool
    count: int = field(init=False, default=0)

    def act(self, name: str, device: Device) -> bool:
        """Before a request: restarts, silence."""
        self.count += 1
        assert self.count < MOST_REQUESTS, "the session has no end"
        if self.source.random() >= self.share:
            return False
        kind = self.source.randrange(4)
        if kind == 0 and name != "HELLO":
            device.restart()
        if kind == 1:
            device.now_s += self.source.choice((0.01, 0.6, 2.5, 40.0))
        return kind < 2 or self.source.random() < 0.5

    def bend(self, name: str, seq: int, data: bytes) -> bytes:
        """What leaves in place of an answer."""
        if self.source.random() >= self.share:
            return data
        return self.source.choice(self._LIES if self.lies else self._DAMAGE)(self, name, seq, data)

    def _nothing(self, name: str, seq: int, data: bytes) -> bytes:
        return b""

    def _twice(self, name: str, seq: int, data: bytes) -> bytes:
        return data + data

    def _flipped(self, name: str, seq: int, data: bytes) -> bytes:
        spoilt = bytearray(data)
        spoilt[self.source.randrange(len(data))] ^= 1 << self.source.randrange(8)
        return bytes(spoilt)

    def _cut(self, name: str, seq: int, data: bytes) -> bytes:
        return data[: self.source.randrange(len(data))]

    def _noise(self, name: str, seq: int, data: bytes) -> bytes:
        return self.source.randbytes(self.source.randrange(1, 60)) + wire.DELIMITER + data

    def _any_frame(self, name: str, seq: int, data: bytes) -> bytes:
        """A whole frame of any kind, its payload by chance."""
        kind = self.source.choice(
            (wire.BY_NAME[self.source.choice(_NAMES)].code | wire.REPLY, self.source.randrange(256))
        )
        where = self.source.choice((seq, self.source.randrange(256)))
        return wire.encode(wire.Frame(kind, where, self.source.randbytes(self.source.randrange(80))))

    def _other_bytes(self, name: str, seq: int, data: bytes) -> bytes:
        """Its own answer with some fields at the ends of their ranges."""
        payload = bytearray(wire.decode(data[:-1]).payload)
        for _ in range(self.source.randrange(1, 5) if payload else 0):
            payload[self.source.randrange(len(payload))] = self.source.choice((0, 1, 127, 128, 255))
        return wire.encode(wire.Frame(wire.decode(data[:-1]).type, seq, bytes(payload)))

    def _longer_or_shorter(self, name: str, seq: int, data: bytes) -> bytes:
        answer = wire.decode(data[:-1])
        cut = self.source.randrange(len(answer.payload) + 1)
        payload = answer.payload[:cut] + self.source.randbytes(self.source.choice((0, 0, 1, 4, 200)))
        return wire.encode(wire.Frame(answer.type, seq, payload))

    def _error(self, name: str, seq: int, data: bytes) -> bytes:
        detail = self.source.choice((0, 1, 63, 64, 65, 0xFFFFFFFF))
        return frame("ERROR", seq, request=wire.BY_NAME[name].code, code=self.source.randrange(9), detail=detail)

    _DAMAGE = (_nothing, _twice, _flipped, _cut, _noise)
    _LIES = (*_DAMAGE, _any_frame, _other_bytes, _longer_or_shorter, _error)


def talk(session: Session, source: random.Random, samples: list[bytes]) -> list[bytes]:
    """What a user may ask of a device; the outputs of the samples."""
    session.hello()
    outputs = []
    groups = [samples[i : i + 2] for i in range(0, len(samples), 2)]
    for result in session.run_groups(groups, quiet=source.randrange(2)):
        outputs.append(result.output.tobytes())
        between: Callable[[], object] = source.choice((session.stats, lambda: session.echo(b"between"), lambda: None))
        between()
    session.link_stats()
    return outputs


def meet(seed: int) -> str:
    """One session with the device of that seed; "right", or the kind of DeviceError it has ended with. AssertionError
    where a device that does not lie has given a wrong result, or the session has no end."""
    source = random.Random(seed)
    lies = source.random() < 0.5
    hostile = Hostile(source, source.choice((0.0, 0.01, 0.05, 0.2, 0.6)), lies)
    output = source.choice((10, 64))
    hello = {"max_payload": source.choice((80, 256)), "output_bytes": output}
    device = Device(act=hostile.act, bend=hostile.bend, **hello)
    samples = [source.randbytes(64) for _ in range(source.randrange(1, 5))]
    try:
        outputs = talk(Session(device, clock=lambda: device.now_s), source, samples)
    except DeviceError as error:
        assert str(error).isprintable() and error.hint is not None
        return type(error).__name__
    assert lies or outputs == [sample[:output] for sample in samples], f"seed {seed}: a wrong result"
    return "right"


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    ends = Counter(meet(seed) for seed in range(count))
    print(f"{count} sessions: " + ", ".join(f"{number} {end}" for end, number in ends.most_common()))


if __name__ == "__main__":
    main()
