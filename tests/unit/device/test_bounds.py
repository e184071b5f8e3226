"""Sessions end: with a result, or with an error that tells what was seen, whatever the device does. On a virtual
clock, against a device of the protocol's document."""

from __future__ import annotations

import struct

import pytest

from pipeline.core import interrupt
from pipeline.core.errors import DeviceError
from pipeline.device.session import NoResultError
from pipeline.device.transfer import CLEAN_ANSWERS, MOST_ATTEMPTS
from pipeline.protocol import wire
from tests.support.virtual import Device, frame

SAMPLE = bytes(range(64))


def bending(wanted: str, change):
    """A `bend` that changes the answers to one message."""
    return lambda name, seq, data: change(seq) if name == wanted else data


def test_a_device_of_the_document_is_understood():
    device = Device()
    results = list(device.session().run([SAMPLE, SAMPLE[::-1]]))
    assert [result.output.tobytes() for result in results] == [SAMPLE[:10], SAMPLE[::-1][:10]]
    assert results[0].layer_ticks.tolist() == [3, 4]


class Counting(Device):
    """Notes how many bytes each read waits for."""

    def __init__(self, **options) -> None:
        self.leasts: list[int] = []
        super().__init__(**options)

    def read(self, timeout_s: float, least: int = 1) -> bytes:
        self.leasts.append(least)
        return super().read(timeout_s, least)


LONG = {"input_bytes": 2048, "arena_bytes": 2048, "answer_s": 0.01}


def test_answers_are_taken_several_at_a_time():
    """Nine pieces of a sample, three in flight: the next leaves while the device has one to work on."""
    device = Counting(**LONG)
    session = device.session()
    device.leasts.clear()
    results = list(session.run([SAMPLE * 32] * 10))
    assert [result.output.tobytes() for result in results] == [SAMPLE[:10]] * 10
    assert len(device.requests) - 1 == 10 * 10  # but HELLO
    assert len(device.leasts) <= 10 * 6
    piece, run = 8 + 8, 8 + 8 + 10 + 4 * 2
    assert min(device.leasts) == piece and {2 * piece, run, run + piece} < set(device.leasts)


def test_an_answer_after_a_loss_is_taken_alone():
    device = Counting(**LONG, act=lambda name, device: device.requests.count("RUN") == 5 and name == "RUN")
    session = device.session()
    device.leasts.clear()
    list(session.run([SAMPLE * 32] * 12))
    first = device.leasts.index(1)
    alone = device.leasts[first : first + CLEAN_ANSWERS]
    assert set(alone) == {1} and max(device.leasts[first + CLEAN_ANSWERS :]) > 1


def test_an_error_that_is_shorter_than_the_answer_is_not_waited_for():
    """No longer than a look at what has come."""
    error = {"request": wire.BY_NAME["RUN"].code, "code": 4, "detail": 0}
    device = Device(
        bend=lambda name, seq, data: frame("ERROR", seq, **error) if device.requests.count("RUN") == 1 else data
    )
    session = device.session()
    device.requests.clear()
    before_s = device.now_s
    assert session.run_sample(SAMPLE).output.tobytes() == SAMPLE[:10]
    assert device.requests.count("RUN") == 2
    assert device.now_s - before_s < interrupt.LOOK_EVERY_S + 0.1


def restarts_in_every_run(name: str, device: Device) -> bool:
    """As on a supply that the inference is too much for."""
    runs = name == "RUN" and len(device.sample) == 64
    if runs:
        device.restart()
    return runs


def restarts_now_and_then(name: str, device: Device) -> bool:
    return device.requests.count("RUN") % 5 == 1 and restarts_in_every_run(name, device)


def test_a_device_that_restarts_in_every_run_is_given_up():
    device = Device(act=restarts_in_every_run, reset_cause=5)
    session = device.session()
    with pytest.raises(NoResultError, match=r"no result .*the device forgot what it had of it \d+ times") as caught:
        session.run_sample(SAMPLE)
    assert "brown-out" in caught.value.hint
    assert "watchdog" in caught.value.hint
    assert (caught.value.reset_cause, str(caught.value).endswith("flags of its last reset: 0x5")) == (5, True)
    assert device.resets > 10
    assert device.now_s < 1000 + 400


def test_a_device_that_restarts_now_and_then_gives_its_results():
    device = Device(
        act=lambda name, device: device.requests.count("RUN") % 5 == 1 and restarts_in_every_run(name, device)
    )
    results = list(device.session().run([SAMPLE] * 20))
    assert [result.output.tobytes() for result in results] == [SAMPLE[:10]] * 20
    assert device.resets > 3


def test_incomplete_for_ever_is_given_up():
    error = {"request": wire.BY_NAME["RUN"].code, "code": 4, "detail": 64}
    device = Device(bend=bending("RUN", lambda seq: frame("ERROR", seq, **error)))
    session = device.session()
    with pytest.raises(NoResultError, match=rf"in {MOST_ATTEMPTS} attempts \(RUN refused with INCOMPLETE") as caught:
        session.run_sample(SAMPLE)
    assert "flash" in caught.value.hint


@pytest.mark.parametrize("answer_s", [0.6, 2.5, 8.0])
def test_a_slow_device_is_waited_for(answer_s):
    """Later than the host's patience each time: a late answer is an answer."""
    device = Device(answer_s=answer_s)
    session = device.session(sample_s=10_000)
    assert session.stats()["frames"] > 0
    assert session.run_sample(SAMPLE).output.tobytes() == SAMPLE[:10]
    assert session.stats()["frames"] > 2


def test_a_device_too_slow_for_a_sample_is_given_up():
    session = Device(answer_s=8.0).session(sample_s=20.0)
    with pytest.raises(NoResultError, match=r"no result within 20 s \(no answer \d+ times\)") as caught:
        list(session.run([SAMPLE] * 1000))
    assert "baud" in caught.value.hint


def test_the_time_between_two_results_is_not_a_samples():
    device = Device()
    session = device.session(sample_s=5.0)
    for result in session.run([SAMPLE] * 4):
        assert result.output.tobytes() == SAMPLE[:10]
        device.now_s += 100


@pytest.mark.parametrize("ticket", [0xFFFFFFFF, 1 << 31])
@pytest.mark.parametrize("name", ["INPUT", "RUN"])
def test_a_ticket_that_was_never_sent_is_refused(name, ticket):
    replies = {
        "INPUT": lambda seq: frame("INPUT", seq, ticket=ticket, received=64),
        "RUN": lambda seq: frame("RUN", seq, bytes(18), ticket=ticket, ticks=0),
    }
    session = Device(bend=bending(name, replies[name])).session()
    with pytest.raises(DeviceError, match=f"is at sample {ticket}, which was not sent"):
        session.run_sample(SAMPLE)


def test_more_than_the_sample_cannot_be_received():
    def more(name, seq, data):
        if name != "INPUT":
            return data
        fields, _ = wire.reply("INPUT", wire.decode(data[:-1]))
        return frame("INPUT", seq, **{**fields, "received": 65})

    with pytest.raises(DeviceError, match="has 65 of 64 bytes of a sample"):
        Device(bend=more).session().run_sample(SAMPLE)


def run_reply(seq: int, device_ticks: int, tail: bytes, ticket: int) -> bytes:
    return frame("RUN", seq, tail, ticket=ticket, ticks=device_ticks)


@pytest.mark.parametrize(
    ("ticks", "tail", "says"),
    [
        (8, bytes(10) + struct.pack("<2I", 3, 4), "RUN took 8 ticks, its layers 7"),
        (7, bytes(10) + struct.pack("<3I", 3, 4, 0), "answered with 22 bytes"),
        (7, bytes(10) + struct.pack("<2I", 3, 4)[:-1], "answered with 17 bytes"),
    ],
)
def test_a_run_that_does_not_add_up_is_refused(ticks, tail, says):
    device = Device()
    device._bend = bending("RUN", lambda seq: run_reply(seq, ticks, tail, device.ticket))
    with pytest.raises(DeviceError, match=says):
        device.session().run_sample(SAMPLE)


def test_ticks_wrap_as_the_device_counts_them():
    device = Device()
    tail = bytes(10) + struct.pack("<2I", 0xFFFFFFFF, 3)
    device._bend = bending("RUN", lambda seq: run_reply(seq, 2, tail, device.ticket))
    assert device.session().run_sample(SAMPLE).ticks == 2


LARGE = {"output_bytes": 100, "max_payload": 76}
"""RUN's frame does not hold all of the output."""


def test_an_output_in_pieces_is_the_samples():
    assert Device(**LARGE).session().run_sample(SAMPLE).output.tobytes() == SAMPLE + bytes(36)


@pytest.mark.parametrize("times", [1, 3])
def test_an_output_lost_while_it_is_fetched_is_not_taken_from_the_arena(times):
    """A restart between RUN and TENSOR: what lies there then belongs to no sample."""

    def act(name: str, device: Device) -> bool:
        if name == "TENSOR" and device.resets < times:
            device.restart()
            device.arena = b"\xa5" * 128
        return False

    device = Device(act=act, **LARGE)
    assert device.session().run_sample(SAMPLE).output.tobytes() == SAMPLE + bytes(36)
    assert device.resets == times


def test_an_output_lost_every_time_is_given_up():
    def act(name: str, device: Device) -> bool:
        if name == "TENSOR":
            device.restart()
        return False

    with pytest.raises(NoResultError, match="lost the output of a sample") as caught:
        Device(act=act, **LARGE).session().run_sample(SAMPLE)
    assert "brown-out" in caught.value.hint


@pytest.mark.parametrize(
    "change",
    [
        {"tail": bytes(200), "length": 200},
        {"tail": bytes(10), "length": 11},
        {"tail": b"", "length": 0},
        {"tail": bytes(10), "length": 10, "layer": 1},
        {"tail": bytes(10), "length": 10, "offset": 3},
    ],
)
def test_a_tensor_of_another_size_or_place_is_refused(change):
    fields = {"layer": 0, "offset": 0, **change}
    session = Device(bend=bending("TENSOR", lambda seq: frame("TENSOR", seq, **fields))).session()
    with pytest.raises(DeviceError, match="TENSOR 0"):
        session.tensor(0, 20)


@pytest.mark.parametrize(("first", "size"), [(1, 8), (0, 0), (0, 7), (0, 400)])
def test_ticks_of_other_layers_are_refused(first, size):
    device = Device(bend=bending("TICKS", lambda seq: frame("TICKS", seq, bytes(size), first=first)), **LARGE)
    with pytest.raises(DeviceError, match="TICKS of 2 layers from layer 0"):
        device.session().run_sample(SAMPLE)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tick_unit", 3),
        ("tick_hz", 7),
        ("max_payload", 75),
        ("layers", 0),
        ("layers", 0xFFFF),
        ("input_bytes", 0),
        ("output_bytes", 129),
        ("base_bytes", 3),
    ],
)
def test_a_hello_that_cannot_be_is_refused(name, value):
    with pytest.raises(DeviceError, match=f"HELLO names {value} as {name}"):
        Device(**{name: value}).session()


def test_an_echo_of_other_bytes_is_refused():
    session = Device(bend=bending("ECHO", lambda seq: frame("ECHO", seq, b"other"))).session()
    with pytest.raises(DeviceError, match="ECHO of 4 bytes"):
        session.echo(b"same")


@pytest.mark.parametrize(("name", "value"), [("canaries_ok", 2), ("arena_touched", 129)])
def test_statistics_that_cannot_be_are_refused(name, value):
    fields = {field.name: 0 for field in wire.BY_NAME["STATS"].reply}
    session = Device(bend=bending("STATS", lambda seq: frame("STATS", seq, **{**fields, name: value}))).session()
    with pytest.raises(DeviceError, match="STATS with"):
        session.stats()


def test_counters_that_fall_back_are_a_restart():
    counts = iter([(5, 9), (50, 2)])

    def stats(seq: int) -> bytes:
        fields = {field.name: 0 for field in wire.BY_NAME["STATS"].reply}
        frames, errors = next(counts)
        return frame("STATS", seq, **{**fields, "canaries_ok": 1, "frames": frames, "crc_errors": errors})

    session = Device(bend=bending("STATS", stats)).session()
    session.stats()
    session.stats()
    counted = session.link_stats()
    assert (counted.resets, counted.device_crc_errors) == (1, 2)


def test_answers_go_to_whoever_asked():
    """A request between two results takes none of the run's answers, also when it has to wait for room."""
    device = Device(answer_s=0.02)
    session = device.session()
    for number, result in enumerate(session.run([SAMPLE] * 30)):
        assert result.output.tobytes() == SAMPLE[:10]
        assert session.echo(bytes([number]) * 200) == bytes([number]) * 200
    assert session.link_stats().retries == 0
