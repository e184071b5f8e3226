"""Samples on their way: how far ahead, how much at a time, and as differences; to the mirror on the host board, whose
answers are the samples it has got."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest

from pipeline.device.session import Session
from pipeline.protocol import wire
from tests.conftest import Firmware
from tests.support import clock, mirror
from tests.support.timed_line import TimedLine

pytestmark = pytest.mark.toolchain
SIZE = 200
RUN, DELTA, INPUT = (wire.BY_NAME[name].code for name in ("RUN", "DELTA", "INPUT"))


class Watched:
    """A link, and what passes: unanswered request bytes now and at most, requests by type, and for every RUN the bytes
    that were sent between it and its answer."""

    def __init__(self, inner) -> None:
        self.name, self.close, self._inner = inner.name, inner.close, inner
        self._up, self._down = wire.Decoder(), wire.Decoder()
        self._sizes: list[tuple[int, int]] = []
        self.most, self.types, self.during_runs = 0, [], []

    def read(self, timeout_s, least=1):
        data = self._inner.read(timeout_s, least)
        for _ in self._down.feed(data):
            request, _ = self._sizes.pop(0)
            if request == RUN:
                self.during_runs.append(sum(size for _, size in self._sizes))
        return data

    def write(self, data):
        for part in data.split(b"\0")[:-1]:
            [frame] = self._up.feed(part + b"\0")
            self._sizes.append((frame.type, len(part) + 1))
            self.types.append(frame.type)
        self.most = max(self.most, sum(size for _, size in self._sizes))
        self._inner.write(data)


@pytest.fixture(scope="module")
def host(tmp_path_factory) -> Firmware:
    """Keeps a base; 200 elements a sample, which answers show whole."""
    link = {"buffers": "sample", "max_payload": 256, "rx_buffer_bytes": 1024}
    return mirror.built(tmp_path_factory.mktemp("mirror"), "host", (SIZE,), **link)


@contextmanager
def talking_to(firmware: Firmware) -> Iterator[tuple[Session, Watched]]:
    with mirror.opened(firmware) as inner:
        link = Watched(inner)
        device = Session(link, clock=clock.unhurried)
        device.hello()
        yield device, link


@contextmanager
def talking_slowly_to(firmware: Firmware) -> Iterator[tuple[Session, Watched]]:
    """At 921600 baud to a device that takes a tenth of a second a sample, on a virtual clock."""
    with mirror.opened(firmware) as inner:
        line = TimedLine(inner, 92160, run_s=0.1)
        link = Watched(line)
        device = Session(link, clock=line.clock)
        device.hello()
        yield device, link


def arrived(device: Session, groups, size: int = SIZE, **options) -> list[bytes]:
    """What the device has got, sample by sample."""
    results = device.run_groups(groups, layers=1, output_bytes=size, **options)
    return [result.output.tobytes() for result in results]


def flat(groups: list[list[bytes]]) -> list[bytes]:
    return [sample for group in groups for sample in group]


def test_differences_of_every_width_arrive(host):
    """The worst values of 2 to 7 bits, wrapping round everywhere; 8 bits go as they are."""
    groups = mirror.groups(40, SIZE, [1 << bits - 1 for bits in (*wire.DELTA_BITS, 8)])
    with talking_to(host) as (device, link):
        assert arrived(device, groups) == flat(groups)
        counted = device.link_stats()
    assert counted.deltas == 40 * len(wire.DELTA_BITS)
    assert counted.retries == 0
    assert link.types.count(DELTA) >= counted.deltas
    assert link.types.count(INPUT) >= 2 * 40


def test_differences_are_shorter(host):
    groups = mirror.groups(50, SIZE, [2, 2, 2, 2])
    sent = []
    for order in (groups, [[sample] for sample in flat(groups)]):
        with talking_to(host) as (device, _):
            assert arrived(device, order) == flat(groups)
            sent.append(device.link_stats().bytes_sent)
    # Four of five samples in three bits instead of eight, frames and RUNs on top.
    assert sent[0] < 0.66 * sent[1]


def test_groups_of_one_keep_nothing(host):
    with talking_to(host) as (device, link):
        assert arrived(device, [[bytes(SIZE)]] * 3) == [bytes(SIZE)] * 3
        assert DELTA not in link.types
        assert device.link_stats().deltas == 0


def test_a_device_without_a_base_gets_samples_as_they_are(tmp_path):
    plain = mirror.built(tmp_path, "host", (SIZE,))
    groups = mirror.groups(5, SIZE, [1, 2])
    with talking_to(plain) as (device, link):
        assert device.info.base_bytes == 0
        assert arrived(device, groups) == flat(groups)
        assert DELTA not in link.types


def test_never_more_on_the_wire_than_the_credit(host):
    groups = mirror.groups(150, SIZE, [1, 8, 64])
    with talking_to(host) as (device, link):
        credit = device.info.rx_buffer_bytes
        results = device.run_groups(groups, layers=1, output_bytes=SIZE)
        for number, result in enumerate(results):
            assert result.output.tobytes() == groups[number // 4][number % 4]
            if number % 50 == 0:
                device.echo(bytes(250))
        assert number == 599
    assert credit == 1024
    assert credit - 100 < link.most <= credit


class Restarting:
    """A link to a device that restarts right before it gets the first DELTA to each of these bases, counted from 0 as
    the host names them: at a place in the stream, not at a time."""

    def __init__(self, inner, bases: Iterable[int]) -> None:
        self.name, self.close, self.read, self._inner = inner.name, inner.close, inner.read, inner
        self._restart_at, self._seen, self.restarts = set(bases), set(), 0

    def write(self, data):
        for part in data.split(b"\0")[:-1]:
            for frame in wire.Decoder().feed(part + b"\0"):
                self._before(frame)
            self._inner.write(part + b"\0")

    def _before(self, frame) -> None:
        if frame.type != DELTA:
            return
        base = wire.unpack_fields(wire.BY_NAME["DELTA"].request, frame.payload)[0]["base"]
        if base not in self._seen and len(self._seen) in self._restart_at:
            self._inner.write(wire.request("RESET", frame.seq))
            self.restarts += 1
        self._seen.add(base)


def test_a_restart_costs_the_base_and_no_result(host):
    """A restarted device has no base: it says so, that sample goes as it is, and the next group has a base again."""
    groups = mirror.groups(30, SIZE, [4] * 5)
    versions = 30 * 5
    with mirror.opened(host) as inner:
        link = Restarting(inner, (3, 12, 20))
        device = Session(link)
        device.hello()
        assert arrived(device, groups) == flat(groups)
        counted = device.link_stats()
    assert link.restarts == 3
    # At most the group that begins, and the sample before it where its RUN was still to come.
    assert versions - (5 + 1) * 3 <= counted.deltas <= versions - 3
    assert counted.retries >= 3


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Firmware:
    """Samples of 3072 elements."""
    folder = tmp_path_factory.mktemp("large")
    return mirror.built(folder, "host", (32, 32, 3), buffers="sample", max_payload=256, rx_buffer_bytes=1024)


def test_the_whole_next_sample_is_there_when_an_inference_ends(large):
    groups = mirror.groups(6, 3072, [])
    with talking_slowly_to(large) as (device, link):
        list(device.run_groups(groups))
        credit = device.info.rx_buffer_bytes
    starts = range(0, 3072, 248)
    whole = sum(len(wire.request("INPUT", 1, groups[1][0][i : i + 248], ticket=1, offset=i)) for i in starts)
    assert whole < credit < 2 * whole
    assert min(link.during_runs[:-1]) >= whole
    assert link.most <= credit


def test_nothing_is_sent_while_the_first_samples_run(large):
    groups = mirror.groups(7, 3072, [1])
    with talking_slowly_to(large) as (device, link):
        list(device.run_groups(groups, quiet=4))
    clean, near = link.during_runs[::2], link.during_runs[1::2]
    assert clean[:4] == [0] * 4
    assert max(clean[4:]) > 0
    assert max(near) > 0
    assert len(link.during_runs) == 14
