"""Links against real pseudo terminals, sockets and processes; each way to fail has its remedy."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from pipeline.config import board
from pipeline.core.errors import ConfigError, DeviceError
from pipeline.device.links import Link, pipe, serial, tcp
from tests.support import faulty_link
from tests.support.clock import Clock, Loopback
from tests.support.faulty_link import Faults, FaultyLink

HOST = board.load("host")
NOBODY = 65534


@pytest.fixture
def pty_pair() -> Iterator[tuple[int, str]]:
    """(file descriptor of the far end, path of the near one), no character changed on the way."""
    far, near = os.openpty()
    tty.setraw(near)
    yield far, os.ttyname(near)
    for fd in (far, near):
        with suppress(OSError):  # a test may have closed it
            os.close(fd)


@contextmanager
def looping_back() -> Iterator[str]:
    """HOST:PORT of a server that sends everything back."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                while data := connection.recv(4096):
                    connection.sendall(data)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join(timeout=5)


def receive(link: Link, count: int, timeout_s: float = 10.0) -> bytes:
    """The next `count` bytes, or fewer when they do not come in time."""
    deadline_s, data = time.monotonic() + timeout_s, b""
    while len(data) < count and (left_s := deadline_s - time.monotonic()) > 0:
        data += link.read(left_s)
    return data


def ended(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def failure(function, *arguments) -> DeviceError:
    with pytest.raises(DeviceError) as caught:
        function(*arguments)
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    return caught.value


def test_every_byte_passes_a_serial_port_unchanged(pty_pair):
    far, near = pty_pair
    everything = bytes(range(256)) * 4
    with closing(serial.open_link(HOST, near)) as link:
        assert link.name == near
        link.write(everything)
        got = b""
        while len(got) < len(everything):
            got += os.read(far, 4096)
        assert got == everything
        os.write(far, everything)
        assert receive(link, len(everything)) == everything


def test_reading_waits_as_long_as_told(pty_pair):
    with closing(serial.open_link(HOST, pty_pair[1])) as link:
        started = time.monotonic()
        assert link.read(0.2) == b""
        assert time.monotonic() - started > 0.19
        assert link.read(0) == b""


def test_a_missing_port_names_those_there_are():
    error = failure(serial.open_link, HOST, "/dev/ttyNOSUCH")
    assert "/dev/ttyNOSUCH" in str(error)
    assert "ports here" in error.hint


def test_a_busy_port_names_who_holds_it(pty_pair):
    with closing(serial.open_link(HOST, pty_pair[1])):
        error = failure(serial.open_link, HOST, pty_pair[1])
    assert "busy" in str(error)
    assert f"process {os.getpid()}" in str(error)


def test_a_forbidden_port_names_the_group(pty_pair):
    path = Path(pty_pair[1])
    mode, group = path.stat().st_mode, path.group()
    path.chmod(0)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(NOBODY)
        error = failure(serial.open_link, HOST, str(path))
    finally:
        if root:
            os.seteuid(0)
        path.chmod(mode)
    assert "permission" in str(error)
    assert f"usermod -aG {group} " in error.hint


@pytest.mark.parametrize("place", ["/dev/null", "/etc/passwd"])
def test_what_is_no_serial_port_is_refused(place):
    assert place in str(failure(serial.open_link, HOST, place))


def test_a_vanished_port_is_noticed(pty_pair):
    far, near = pty_pair
    with closing(serial.open_link(HOST, near)) as link:
        os.close(far)
        assert near in str(failure(link.read, 1.0))
        assert near in str(failure(lambda: [link.write(b"x" * 100) for _ in range(3)]))


def test_every_byte_passes_a_socket_unchanged():
    everything = bytes(range(256)) * 40
    with looping_back() as place, closing(tcp.open_link(HOST, place)) as link:
        assert place in link.name
        link.write(everything)
        assert receive(link, len(everything)) == everything
        assert link.read(0.05) == b""


def test_a_socket_waits_for_as_many_bytes_as_wanted_and_then_gives_what_there_is():
    with looping_back() as place, closing(tcp.open_link(HOST, place)) as link:
        link.write(bytes(10))
        started = time.monotonic()
        assert link.read(0.2, 20) == bytes(10)
        assert time.monotonic() - started > 0.19
        link.write(bytes(30))
        assert receive(link, 30) == bytes(30)
        assert link.read(0, 20) == b""


def test_a_socket_that_ends_is_not_waited_for():
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = tcp.open_link(HOST, f"127.0.0.1:{server.getsockname()[1]}")
        far = server.accept()[0]
        far.sendall(b"ab")
        far.close()
        with closing(link):
            assert link.read(60, 20) == b"ab"
            failure(link.read, 60, 20)


def test_a_socket_that_takes_no_more_is_given_up(monkeypatch):
    monkeypatch.setattr(tcp, "WRITE_TIMEOUT_S", 0.1)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        closing(tcp.open_link(HOST, f"127.0.0.1:{server.getsockname()[1]}")) as link,
        server.accept()[0],
    ):
        assert "took no data for 0.1 s" in str(failure(link.write, bytes(1 << 24)))


def test_nobody_at_the_socket():
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"127.0.0.1:{server.getsockname()[1]}"
    assert place in str(failure(tcp.open_link, HOST, place))


def test_a_closed_socket_is_noticed():
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = tcp.open_link(HOST, f"127.0.0.1:{server.getsockname()[1]}")
        server.accept()[0].close()
        with closing(link):
            failure(link.read, 5.0)


@pytest.mark.parametrize("place", ["localhost", "5555", ":1", "host:0", "host:99999", "host:abc"])
def test_a_place_that_is_no_address(place):
    with pytest.raises(ConfigError, match="HOST:PORT"):
        tcp.open_link(HOST, place)


def test_a_process_is_a_link_and_ends_with_it():
    everything = bytes(range(256)) * 1000
    with closing(pipe.open_link(HOST, "/bin/cat")) as link:
        pid = int(link.name.split()[1])
        assert not ended(pid)
        got = bytearray()
        for start in range(0, len(everything), 16000):
            link.write(everything[start : start + 16000])
            got += receive(link, 16000 if start + 16000 <= len(everything) else len(everything) - start)
        assert bytes(got) == everything
    assert ended(pid)
    link.close()


def test_a_program_that_ends_tells_how(tmp_path):
    program = tmp_path / "dies"
    program.write_text("#!/bin/sh\necho out of luck >&2\nexit 3\n")
    program.chmod(0o755)
    with closing(pipe.open_link(HOST, str(program))) as link:
        error = failure(link.read, 5.0)
        assert "exit code 3" in str(error)
        assert "out of luck" in str(error)
        failure(link.write, b"anybody there?")


def test_what_is_no_program_is_refused(tmp_path):
    text = tmp_path / "text"
    text.write_text("hello")
    failure(pipe.open_link, HOST, str(text))
    failure(pipe.open_link, HOST, str(tmp_path / "none"))


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """The time of the faulty links."""
    found = Clock()
    monkeypatch.setattr(faulty_link, "time", found)
    return found


def through(clock: Clock, faults: Faults, data: bytes, seed: int = 0) -> tuple[bytes, int]:
    """(what comes back through such a link, faults injected)."""
    link = FaultyLink(Loopback(clock), faults, seed)
    got = b""
    for start in range(0, len(data), 1000):
        link.write(data[start : start + 1000])
        got += link.read(0.05)
    while more := link.read(0.3):
        got += more
    return got, link.injected


DATA = random.Random(1).randbytes(20_000)


def test_a_link_without_faults_is_that_link(clock):
    assert through(clock, Faults(), DATA) == (DATA, 0)


def test_dropped_bytes_are_missing(clock):
    got, injected = through(clock, Faults(drop=0.01), DATA)
    assert len(got) == len(DATA) - injected
    assert 300 < injected < 500  # two directions, 1 % of 20,000 bytes each


def test_duplicated_bytes_come_twice(clock):
    got, injected = through(clock, Faults(duplicate=0.01), DATA)
    assert len(got) == len(DATA) + injected
    assert 300 < injected < 500


def test_flipped_bytes_differ_in_one_bit(clock):
    got, injected = through(clock, Faults(flip=0.01), DATA)
    wrong = [(a ^ b).bit_count() for a, b in zip(got, DATA, strict=True) if a != b]
    assert 0.95 * injected <= len(wrong) <= injected
    assert set(wrong) <= {1, 2}  # 2: flipped on both ways


def test_delayed_bytes_come_late_and_in_order(clock):
    got, injected = through(clock, Faults(delay=0.001, delay_s=0.03), DATA)
    assert got == DATA
    assert injected > 10
    assert clock.now_s > 0.03 * injected / 2


def test_the_same_seed_gives_the_same_faults():
    faults = Faults(drop=0.01, flip=0.01)
    with_seed_1 = FaultyLink(_Sink(), faults, seed=1), FaultyLink(_Sink(), faults, seed=1)
    with_seed_2 = FaultyLink(_Sink(), faults, seed=2)
    for link in (*with_seed_1, with_seed_2):
        link.write(DATA)
    first, second, other = (link._inner.data for link in (*with_seed_1, with_seed_2))
    assert first == second
    assert first != other


class _Sink:
    name = "sink"

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data


def test_a_cut_link_has_passed_what_came_before():
    with closing(FaultyLink(pipe.open_link(HOST, "/bin/cat"), Faults(cut_after=1500))) as link:
        link.write(DATA[:1000])
        assert receive(link, 1000) == DATA[:1000]
        assert "cut after 1500" in str(failure(link.write, DATA[1000:2000]))


ACM0 = serial.Port("/dev/ttyACM0", "2341:0043", "75439313", "Arduino Uno")
NAMELESS = serial.Port("/dev/ttyUSB0", "1a86:7523", "", "USB Serial")


@pytest.mark.parametrize(
    ("before", "now", "name"),
    [
        (ACM0, [ACM0], "/dev/ttyACM0"),
        (ACM0, [ACM0._replace(device="/dev/ttyACM1")], "/dev/ttyACM1"),
        (ACM0, [ACM0._replace(device="/dev/ttyACM1", usb_id="2341:0001")], "/dev/ttyACM1"),
        (ACM0, [ACM0._replace(serial_number="other"), ACM0._replace(device="/dev/ttyACM1")], "/dev/ttyACM1"),
        (ACM0, [ACM0._replace(device="/dev/ttyACM1", serial_number="other")], "/dev/ttyACM0"),
        (ACM0, [ACM0, ACM0._replace(device="/dev/ttyACM1")], "/dev/ttyACM0"),
        (NAMELESS, [NAMELESS._replace(device="/dev/ttyUSB1")], "/dev/ttyUSB1"),
        (NAMELESS, [NAMELESS._replace(device=f"/dev/ttyUSB{n}") for n in (1, 2)], "/dev/ttyUSB0"),
        (NAMELESS, [ACM0], "/dev/ttyUSB0"),
        (serial.Port("/dev/ttyS0", "", "", "ttyS0"), [ACM0], "/dev/ttyS0"),
        (ACM0, [], "/dev/ttyACM0"),
    ],
    ids=[
        "same", "renamed", "bootloader", "name taken", "another", "two ports", "by id", "two alike", "gone", "no USB",
        "nothing",
    ],
)  # fmt: skip
def test_a_port_is_known_by_its_usb_device_and_not_by_its_name(monkeypatch, before, now, name):
    monkeypatch.setattr(serial, "ports", lambda: tuple(now))
    assert serial.follow(before) == name
