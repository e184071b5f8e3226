"""Bounds by which a session ends, and how little a loss costs: counted in requests, on a virtual clock."""

from __future__ import annotations

import pytest

from pipeline.config import board
from pipeline.core.errors import DeviceError
from pipeline.device import session
from pipeline.device.session import IdentityError, NoResultError
from pipeline.protocol import wire
from tests.support.virtual import Device, frame

SAMPLE = bytes(range(64))


def at_most(count: int, also=lambda name, device: False):
    """An `act` that ends the test when the host asks for more."""

    def act(name: str, device: Device) -> bool:
        assert len(device.requests) <= count, "the host never gives up"
        return also(name, device)

    return act


def test_a_sample_is_sent_a_few_hundred_times_at_most():
    error = {"request": wire.BY_NAME["RUN"].code, "code": 4, "detail": 64}
    device = Device(
        act=at_most(3000), bend=lambda name, seq, data: frame("ERROR", seq, **error) if name == "RUN" else data
    )
    opened = device.session(sample_s=1e9)
    with pytest.raises(NoResultError):
        opened.run_sample(SAMPLE)


def test_a_silent_device_is_given_up_after_its_silence():
    device = Device(act=at_most(300, lambda name, device: name != "HELLO"))
    opened = device.session(silence_s=30.0)
    said_hello_s = device.now_s
    with pytest.raises(DeviceError, match="for 30 s"):
        opened.stats()
    assert 30 <= device.now_s - said_hello_s < 31


def test_one_lost_piece_is_taken_up_once():
    """The pieces behind it are refused, each; they were sent before the host knew, and cost no further repetition."""

    def loses_the_second_piece(name: str, device: Device) -> bool:
        return name == "INPUT" and device.requests.count("INPUT") == 2

    device = Device(act=loses_the_second_piece, input_bytes=640, max_payload=76, arena_bytes=640)
    opened = device.session()
    sample = bytes(range(64)) * 10
    assert opened.run_sample(sample).output.tobytes() == sample[:10]
    assert opened.link_stats().retries == 1


@pytest.mark.parametrize("same", range(0, 32))
def test_every_digit_of_the_firmware_counts(same):
    info = Device(board="host").session().info
    expected = "0" * same + "1" + "0" * (31 - same)
    with pytest.raises(IdentityError, match=expected):
        session.check_identity(info, expected, board.load("host"))
