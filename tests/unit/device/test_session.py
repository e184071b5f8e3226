"""A session with the tiny network on the host board: who it is, every message, and devices that are not what they
should be. What a bad line does to it is in tests/emulated/test_link_faults.py."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import board
from pipeline.core.errors import DeviceError
from pipeline.device import session
from pipeline.device.links import pipe
from pipeline.device.session import DeviceFaultError, IdentityError, RefusedError, Session
from pipeline.network import twin
from pipeline.protocol import faults, wire
from tests.support import clock, tiny

pytestmark = pytest.mark.toolchain


@pytest.fixture(scope="session")
def host(firmware):
    return firmware("host")


@pytest.fixture
def device(host) -> Iterator[Session]:
    """A fresh device that has said hello."""
    with session.connect(host.board, host.folder) as opened:
        patient = Session(opened.link, clock=clock.unhurried)
        patient.hello()
        yield patient


@contextmanager
def talking_to(folder: Path, script: str, **options: float) -> Iterator[Session]:
    """A session with a shell script in the device's place."""
    program = folder / "device"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    with closing(pipe.open_link(board.load("host"), str(program))) as link:
        yield Session(link, **options)


def test_hello_says_who_it_is(device, host):
    info = device.info
    assert (info.board, info.digest, info.protocol) == ("host", host.image.digest, wire.PROTOCOL)
    assert (info.input_bytes, info.output_bytes, info.layers) == (64, 10, len(host.qmodel.layers))
    assert (info.tick_unit, info.tick_hz) == ("us", 1_000_000)
    assert info.arena_bytes == host.image.arena_bytes
    session.check_identity(info, host.image.digest, host.board)


def test_another_digest_and_another_board_are_refused(device, host):
    with pytest.raises(IdentityError) as caught:
        session.check_identity(device.info, "0" * 32, host.board)
    assert "0" * 32 in str(caught.value)
    assert host.image.digest in str(caught.value)
    assert "tritmcu flash" in caught.value.hint
    other = host.board.model_copy(update={"name": "uno"})
    with pytest.raises(IdentityError, match=r"'host', not 'uno'"):
        session.check_identity(device.info, host.image.digest, other)


def test_echo_returns_every_length_and_every_byte(device):
    for size in (0, 1, 2, 253, 254, 255, 508, 509, device.info.max_payload):
        data = bytes(itertools.islice(itertools.cycle(range(256)), size))
        assert device.echo(data) == data
    assert device.echo(bytes(600)) == bytes(600)


def test_logits_are_the_twins(device, host):
    x = tiny.samples(host.qmodel, 300)
    results = list(device.run(sample.tobytes() for sample in x))
    assert np.array_equal([r.output for r in results], twin.run(host.qmodel, x))
    assert all(r.layer_ticks.shape == (device.info.layers,) for r in results)
    assert all(r.ticks == r.layer_ticks.sum() for r in results)
    assert device.link_stats().retries == 0


def test_every_layer_is_the_twins(device, host):
    x = tiny.samples(host.qmodel, 1)
    for layer, expected in enumerate(twin.trace(host.qmodel, x)):
        result = device.run_sample(x.tobytes(), layers=layer + 1, output_bytes=expected.size)
        assert np.array_equal(result.output, expected.ravel())
        assert np.array_equal(device.tensor(layer, expected.size), expected.ravel())
        assert len(result.layer_ticks) == layer + 1


def test_what_a_small_frame_cannot_hold_is_asked_for(firmware):
    """Frames of 76 bytes: RUN answers without room for all outputs and ticks."""
    small = firmware("host", max_payload=76, rx_buffer_bytes=128)
    x = tiny.samples(small.qmodel, 20)
    with session.connect(small.board, small.folder) as device:
        assert device.hello().max_payload == 76
        results = list(device.run(sample.tobytes() for sample in x))
        assert np.array_equal([r.output for r in results], twin.run(small.qmodel, x))
        assert all(len(r.layer_ticks) == device.info.layers and r.ticks == r.layer_ticks.sum() for r in results)
        for layer, expected in enumerate(twin.trace(small.qmodel, x[:1])):
            result = device.run_sample(x[0].tobytes(), layers=layer + 1, output_bytes=expected.size)
            assert np.array_equal(result.output, expected.ravel())


def test_other_requests_between_two_results(device, host):
    x = tiny.samples(host.qmodel, 50)
    expected = twin.run(host.qmodel, x)
    for number, result in enumerate(device.run(sample.tobytes() for sample in x)):
        assert np.array_equal(result.output, expected[number])
        assert device.echo(b"between") == b"between"
    assert device.link_stats().retries == 0, "the run has lost none of its answers"


def test_a_run_that_is_not_read_to_its_end_spoils_no_other(device, host):
    x = tiny.samples(host.qmodel, 60)
    expected = twin.run(host.qmodel, x)
    for start in range(0, 60, 20):
        results = device.run(sample.tobytes() for sample in x[start:])
        assert np.array_equal(next(results).output, expected[start])


def test_a_device_measures_itself(device):
    list(device.run([bytes(64)] * 3))
    stats = device.stats()
    assert stats["canaries_ok"] == 1
    assert stats["crc_errors"] == stats["rx_dropped"] == 0
    assert 64 < stats["arena_touched"] <= device.info.arena_bytes


def test_a_refused_request_says_why(device):
    with pytest.raises(RefusedError, match="BAD_LAYER") as caught:
        device.tensor(99, 1)
    assert (caught.value.code, caught.value.detail) == ("BAD_LAYER", device.info.layers)
    assert "no such layer" in caught.value.hint
    with pytest.raises(RefusedError, match="BAD_LENGTH"):
        device.call("TICKS", b"too long", first=0)
    with pytest.raises(DeviceError, match="BAD_LAYER"):
        device.run_sample(bytes(64), layers=50)
    assert device.echo(b"still there") == b"still there"


def test_a_reset_device_says_hello_again(device):
    list(device.run([bytes(64)] * 5))
    frames = device.stats()["frames"]
    device.reset()
    device.hello()
    assert device.stats()["frames"] < frames
    assert len(device.run_sample(bytes(64)).output) == 10


def test_a_device_that_restarts_under_way_gets_the_sample_again(device, host):
    """A restart loses the ticket, as a brown-out does; nothing but the sample's result must tell."""
    x = tiny.samples(host.qmodel, 30)
    expected = twin.run(host.qmodel, x)
    for number, result in enumerate(device.run(sample.tobytes() for sample in x)):
        assert np.array_equal(result.output, expected[number])
        if number % 10 == 5:
            device.call("RESET")
    assert device.stats()["frames"] < 60


def test_restarts_and_frames_damaged_before_and_after_are_counted(device):
    """A restarted device counts from 0; what it has counted before is not lost."""
    device.stats()
    for number, _ in enumerate(device.run([bytes(64)] * 40), 1):
        if number % 10 == 5:
            device.call("RESET")
            device.link.write(bytes(range(1, 20)) + b"\0")
        if number % 10 == 0:
            device.stats()
            assert device.link_stats().resets == number // 10
    assert device.link_stats().device_crc_errors == 4
    for _ in device.run([bytes(64)] * 40):
        device.stats()
    assert device.link_stats().resets == 4


def test_a_second_host_finds_the_device_as_new(host):
    """The same device, another session: what the first one left behind is no answer to the second."""
    x = tiny.samples(host.qmodel, 2)
    with closing(pipe.open_link(host.board, host.program)) as link:
        first = Session(link)
        first.hello()
        abandoned = first.run([x[0].tobytes()] * 20)
        next(abandoned)
        second = Session(link)
        second.hello()
        assert np.array_equal(second.run_sample(x[1].tobytes()).output, twin.run(host.qmodel, x)[1])


def test_the_place_tells_the_kind_of_link(host):
    """A board with a serial port may be emulated at an address; an emulated one may hang on a port."""
    emulated = board.load("netduinoplus2")
    serial = emulated.model_copy(update={"link": emulated.link.model_copy(update={"kind": "serial"})})
    with pytest.raises(DeviceError, match=r"nothing answers at tcp 127\.0\.0\.1:1"):
        session.open_link(serial, "127.0.0.1:1")
    with pytest.raises(DeviceError, match="/dev/ttyNOSUCH: no such port"):
        session.open_link(emulated, "/dev/ttyNOSUCH")
    with closing(session.open_link(host.board, host.program)) as link:
        assert link.name.startswith("process")


def test_garbage_before_the_first_answer_is_ignored(host, tmp_path):
    script = f"head -c 3000 /dev/urandom; exec {host.program}"
    with talking_to(tmp_path, script) as device:
        assert device.hello().board == "host"


@pytest.mark.parametrize(
    ("script", "said"),
    [("exec sleep 60", "nothing came back"), ("exec cat", "are no answer"), ("exec cat /dev/zero", "are no answer")],
    ids=["silent", "loopback", "zeros"],
)
def test_what_is_no_device_does_not_say_hello(tmp_path, script, said):
    with talking_to(tmp_path, script) as device, pytest.raises(DeviceError, match="HELLO") as caught:
        device.hello(timeout_s=0.5)
    assert said in str(caught.value)
    assert "flash" in caught.value.hint


def test_a_program_that_ends_says_so(tmp_path):
    with talking_to(tmp_path, "echo brown-out >&2; exit 7") as device, pytest.raises(DeviceError) as caught:
        device.hello()
    assert "exit code 7: brown-out" in str(caught.value)


def answering(*frames: bytes) -> str:
    """A device that answers with these bytes, whatever it is asked, and then is silent."""
    octal = "".join(f"\\0{byte:03o}" for byte in b"".join(frames))
    return f"head -c 1 >/dev/null; printf '%b' '{octal}'; exec sleep 60"


def hello_reply(**changes) -> bytes:
    fields = {
        "protocol": wire.PROTOCOL, "tick_unit": 0, "max_payload": 256, "rx_buffer_bytes": 1024, "layers": 1,
        "tick_hz": 0, "arena_bytes": 100, "input_bytes": 64, "output_bytes": 10, "base_bytes": 0, "digest": bytes(16),
        "board": "x",
    }  # fmt: skip
    payload = wire.pack_fields(wire.BY_NAME["HELLO"].reply, {**fields, **changes})
    return wire.encode(wire.Frame(wire.BY_NAME["HELLO"].code | wire.REPLY, 0, payload))


def test_another_protocol_version_is_named(tmp_path):
    with (
        talking_to(tmp_path, answering(hello_reply(protocol=9))) as device,
        pytest.raises(DeviceError, match=f"protocol 9, this program {wire.PROTOCOL}"),
    ):
        device.hello()


def test_a_buffer_too_small_for_any_piece_is_named(tmp_path):
    with (
        talking_to(tmp_path, answering(hello_reply(rx_buffer_bytes=16))) as device,
        pytest.raises(DeviceError, match="too small"),
    ):
        device.hello()


def test_a_device_that_falls_silent_is_given_up(tmp_path):
    with talking_to(tmp_path, answering(hello_reply()), silence_s=1.0) as device:
        device.hello()
        with pytest.raises(DeviceError, match=r"no answer to STATS for 1 s"):
            device.stats()


REGISTERS = {
    "ipsr": 3, "cfsr": 0x8200, "hfsr": 0x40000000, "mmfar": 0, "bfar": 0x20020000, "pc": 0x080008EA, "lr": 0x080008D1,
    "exc_return": 0xFFFFFFF9,
}  # fmt: skip


def test_a_crash_is_told_in_words(tmp_path):
    payload = wire.pack_fields(wire.BY_NAME["FAULT"].reply, REGISTERS)
    fault = wire.encode(wire.Frame(wire.BY_NAME["FAULT"].code | wire.REPLY, 0, payload))
    with talking_to(tmp_path, answering(hello_reply(), fault)) as device, pytest.raises(DeviceFaultError) as caught:
        device.hello()
        device.stats()
    for part in ("without memory (PRECISERR)", "pc 0x080008ea", "address 0x20020000"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("cfsr", "said"),
    [
        (1 << 25, "division by zero"),
        (1 << 16, "undefined instruction"),
        (1 << 12 | 1 << 15, "the stack has overflowed"),
        (1 << 24, "unaligned"),
        (1 << 8, "instruction fetch"),
        (0, "exception 3"),
    ],
)
def test_fault_flags_in_words(cfsr, said):
    assert said in faults.describe({**REGISTERS, "cfsr": cfsr, "hfsr": 0})


def test_sequence_numbers_go_round(device):
    for number in range(600):
        assert device.echo(bytes([number % 256])) == bytes([number % 256])
