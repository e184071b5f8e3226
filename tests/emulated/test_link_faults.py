"""Sessions over bad lines, against the firmware itself: on the host board, and on an emulated STM32F405. Bytes are
dropped, flipped, doubled and delayed in both directions, and the line is cut; no result is ever wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import numpy as np
import pytest

from pipeline.core import registry
from pipeline.core.errors import DeviceError
from pipeline.device import session
from pipeline.device.links import Link, pipe
from pipeline.device.runners import qemu
from pipeline.device.session import Session
from pipeline.protocol import wire
from tests.support import mirror, tiny
from tests.support.faulty_link import Faults, FaultyLink

pytestmark = pytest.mark.toolchain

ONE_PERCENT = {
    "drop": Faults(drop=0.01),
    "flip": Faults(flip=0.01),
    "duplicate": Faults(duplicate=0.01),
    "delay": Faults(delay=0.01, delay_s=0.005),
    "all": Faults(drop=0.003, flip=0.003, duplicate=0.002, delay=0.002, delay_s=0.005),
}
BOARDS = ["host", pytest.param("netduinoplus2", marks=[pytest.mark.emulator, pytest.mark.slow])]


@contextmanager
def links(firmware) -> Iterator[object]:
    """A function that opens a link to the running firmware, again and again."""
    kind = registry.load("links", firmware.board.link.kind)
    runner = registry.load("runners", firmware.board.runner)
    with runner.attach(firmware.board, firmware.folder) as place:
        yield lambda: kind.open_link(firmware.board, place)


def clean_outputs(link: Link, samples: np.ndarray) -> np.ndarray:
    """What the device answers over a good line."""
    device = Session(link)
    device.hello()
    return np.array([result.output for result in device.run(x.tobytes() for x in samples)])


@pytest.mark.parametrize("kind", ONE_PERCENT)
@pytest.mark.parametrize("name", BOARDS)
def test_one_byte_in_a_hundred_is_bad_and_every_result_right(firmware, name, kind):
    built = firmware(name)
    samples = tiny.samples(built.qmodel, 60 if name == "host" else 10)
    with links(built) as opened:
        with closing(opened()) as link:
            expected = clean_outputs(link, samples)
        with closing(FaultyLink(opened(), ONE_PERCENT[kind], seed=7)) as link:
            device = Session(link)
            device.hello()
            results = list(device.run(x.tobytes() for x in samples))
            counted = device.link_stats()
            assert device.stats()["canaries_ok"] == 1
    assert np.array_equal([result.output for result in results], expected)
    assert all(result.ticks == result.layer_ticks.sum() for result in results)
    assert link.injected > len(samples)
    if kind != "delay":
        assert counted.retries > 0
        assert counted.crc_errors > 0


@pytest.mark.parametrize("kind", ["drop", "flip"])
def test_ten_thousand_frames_and_no_undetected_error(firmware, kind):
    """Each frame carries its own number four times; what comes back whole is as it was sent."""
    total, per_round = 10_000, 50
    built, decoder, arrived = firmware("host"), wire.Decoder(), set()

    def take(data: bytes) -> None:
        for frame in decoder.feed(data):
            number = int.from_bytes(frame.payload[:4], "little")
            assert frame == wire.Frame(wire.BY_NAME["ECHO"].code | wire.REPLY, number % 256, frame.payload[:4] * 4)
            assert number < total
            arrived.add(number)

    with closing(FaultyLink(pipe.open_link(built.board, built.program), ONE_PERCENT[kind])) as link:
        for start in range(0, total, per_round):
            numbers = range(start, start + per_round)
            link.write(b"".join(wire.request("ECHO", n % 256, n.to_bytes(4, "little") * 4) for n in numbers))
            take(link.read(0.01))
        while data := link.read(1.0):
            take(data)
    assert 0.4 * total < len(arrived) < 0.9 * total
    assert decoder.errors > 500


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "count", "frames"),
    [("host", 120, 10_000), pytest.param("netduinoplus2", 4, 300, marks=pytest.mark.emulator)],
)
def test_differences_over_a_bad_line_give_the_samples(tmp_path, name, count, frames):
    """The device's answers are the samples it has put together; on the host board from ten thousand frames."""
    link = {"buffers": "sample", "max_payload": 256, "rx_buffer_bytes": 1024}
    built = mirror.built(tmp_path, name, (60,), **link)
    groups = mirror.groups(count, 60, [1, 4, 16, 4])
    with mirror.opened(built) as inner:
        faulty = FaultyLink(inner, Faults(drop=0.005, flip=0.005), seed=3)
        device = Session(faulty)
        device.hello()
        results = list(device.run_groups(groups, layers=1, output_bytes=60))
        seen, counted = device.stats(), device.link_stats()
    assert [result.output.tobytes() for result in results] == [sample for group in groups for sample in group]
    assert counted.deltas > 3 * count, "most samples go as differences all the same"
    # Requests that reached the device, whole and damaged, and its answers to the whole ones.
    assert 2 * seen["frames"] + seen["crc_errors"] >= frames
    assert seen["crc_errors"] > 8 * count
    assert seen["rx_dropped"] == 0


def test_two_bad_bytes_in_a_hundred_are_slow_and_right(firmware):
    built = firmware("host")
    samples = tiny.samples(built.qmodel, 3)
    with links(built) as opened:
        with closing(opened()) as link:
            expected = clean_outputs(link, samples)
        with closing(FaultyLink(opened(), Faults(drop=0.01, flip=0.01), seed=1)) as link:
            device = Session(link)
            device.hello()
            assert np.array_equal([r.output for r in device.run(x.tobytes() for x in samples)], expected)


def test_a_dead_line_is_given_up(firmware):
    built = firmware("host")
    with (
        closing(FaultyLink(pipe.open_link(built.board, built.program), Faults(drop=1.0))) as link,
        pytest.raises(DeviceError, match="no answer to HELLO"),
    ):
        Session(link).hello(timeout_s=0.5)


@pytest.mark.parametrize("cut", [0, 1, 8, 9, 10, 50, 99, 100, 1000, 1001, 1002, 1003])
def test_a_cut_is_an_error_wherever_it_falls(firmware, cut):
    built = firmware("host")
    samples = tiny.samples(built.qmodel, 40)
    with links(built) as opened, closing(FaultyLink(opened(), Faults(cut_after=cut))) as link:
        device = Session(link)
        with pytest.raises(DeviceError, match=f"cut after {cut} bytes"):
            device.hello()
            list(device.run(x.tobytes() for x in samples))


@pytest.mark.emulator
def test_a_line_cut_and_mended_while_the_device_runs_on(firmware):
    """The same device, with half a frame and half a sample of the first session in it, serves the next one."""
    built = firmware("netduinoplus2")
    samples = tiny.samples(built.qmodel, 6)
    with qemu.attach(built.board, built.folder) as place:
        opened = registry.load("links", "tcp").open_link
        with closing(opened(built.board, place)) as link:
            expected = clean_outputs(link, samples)
        for cut in (60, 101, 177):
            with closing(FaultyLink(opened(built.board, place), Faults(cut_after=cut))) as link:
                device = session.Session(link)
                with pytest.raises(DeviceError, match="cut"):
                    device.hello()
                    list(device.run(x.tobytes() for x in samples))
            with closing(opened(built.board, place)) as link:
                assert np.array_equal(clean_outputs(link, samples), expected)
