"""The firmware's frames are those of wire.py: the same bytes out, the same frames in, whatever happens to the wire."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.config import board
from pipeline.core import shell
from pipeline.protocol import wire
from pipeline.stages import render
from tests.support import tiny

WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
SANITIZERS = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
HOST = board.load("host")
LONGEST = HOST.link.max_payload


class Harness:
    """link/frame.c in a process of its own, sanitized."""

    def __init__(self, process: shell.Process) -> None:
        self._process = process

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = os.read(self._process.stdout, size - len(data))
            assert piece, f"the harness ended: {self._process.log_tail(30)}"
            data += piece
        return data

    def _send(self, command: bytes, data: bytes) -> None:
        request = command + struct.pack("<H", len(data)) + data
        while request:
            request = request[os.write(self._process.stdin, request) :]

    def _length(self) -> int:
        return int(struct.unpack("<H", self._read(2))[0])

    def encode(self, frame: wire.Frame) -> bytes:
        self._send(b"E", bytes((frame.type, frame.seq)) + frame.payload)
        return self._read(self._length())

    def decode(self, data: bytes) -> tuple[list[wire.Frame], int]:
        """(frames, number of damaged ones)"""
        self._send(b"D", data)
        frames = []
        while (length := self._length()) != 0xFFFF:
            body = self._read(length)
            frames.append(wire.Frame(body[0], body[1], body[2:]))
        good, dropped = struct.unpack("<II", self._read(8))
        assert good == len(frames)
        return frames, dropped

    def crc32(self, data: bytes) -> int:
        self._send(b"C", data)
        return int(struct.unpack("<I", self._read(4))[0])


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    folder = tmp_path_factory.mktemp("link")
    files = render.render(tiny.qmodel(), HOST).files
    for name in ("link/frame.h", "link/frame.c", "nn/nn_flash.h", "generated/board_config.h"):
        (folder / Path(name).name).write_text(files[name])
    source = Path(__file__).with_name("link_harness.c")
    program = folder / "harness"
    shell.run(["gcc", "-std=c11", *WARNINGS, *SANITIZERS, "-I", folder, source, folder / "frame.c", "-o", program])
    with shell.Process([program], log=folder / "log", pipes=True) as process:
        yield Harness(process)


payloads = st.one_of(
    st.binary(max_size=40),
    st.binary(max_size=LONGEST),
    st.lists(st.sampled_from([b"\0", b"\1", b"\xff", b"a" * 253, b"a" * 254, b"a" * 255]), max_size=8).map(b"".join),
)
frames = st.builds(wire.Frame, st.integers(0, 255), st.integers(0, 255), payloads)


@given(frames)
@example(wire.Frame(0, 0, b""))
@example(wire.Frame(1, 1, b"\1" * LONGEST))
@example(wire.Frame(0, 0, b"\0" * LONGEST))
def test_encodes_as_the_host(harness: Harness, frame: wire.Frame) -> None:
    assert harness.encode(frame) == wire.encode(frame)


def test_encodes_every_length(harness: Harness) -> None:
    """Every place the end of a frame can have in a COBS block."""
    for length in range(1040):
        frame = wire.Frame(1, 2, bytes(1 + i % 255 for i in range(length)))
        assert harness.encode(frame) == wire.encode(frame)


@given(st.lists(frames, max_size=3))
def test_decodes_what_the_host_sends(harness: Harness, sent: list[wire.Frame]) -> None:
    assert harness.decode(b"".join(map(wire.encode, sent))) == (sent, 0)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Wire bytes of a frame with bytes replaced, cut out, cut off or inserted; zeros included."""
    data = bytearray(wire.encode(draw(frames)))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(data)))
        replaced = draw(st.integers(0, 4))
        data[place : place + replaced] = draw(st.binary(max_size=4))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


@settings(max_examples=300)
@given(st.lists(st.one_of(damaged(), st.binary(max_size=30)), max_size=4), frames)
def test_a_damaged_wire_means_the_same_to_both(harness: Harness, pieces: list[bytes], last: wire.Frame) -> None:
    """The same frames survive, the same number is dropped, and the frame after the damage arrives."""
    data = b"".join(pieces) + wire.DELIMITER + wire.encode(last)
    decoder = wire.Decoder()
    expected = list(decoder.feed(data))
    received, dropped = harness.decode(data)
    expected_to_fit = [frame for frame in expected if len(frame.payload) <= LONGEST]
    assert received == expected_to_fit
    assert dropped == decoder.errors + len(expected) - len(expected_to_fit)
    assert received[-1] == last


@pytest.mark.parametrize("excess", [1, 2, 5, 300])
def test_a_frame_too_long_is_dropped_whole(harness: Harness, excess: int) -> None:
    good = wire.Frame(8, 9, b"after")
    data = wire.encode(wire.Frame(1, 2, b"x" * (LONGEST + excess))) + wire.encode(good)
    assert harness.decode(data) == ([good], 1)


def test_every_single_bit_error_is_caught(harness: Harness) -> None:
    data = wire.encode(wire.Frame(3, 200, b"ab\0cd\0\0" * 4))
    for bit in range(8 * (len(data) - 1)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        received, dropped = harness.decode(bytes(flipped))
        assert (received, dropped > 0) == ([], True), bit


@given(st.binary(max_size=600))
def test_crc_is_zlibs(harness: Harness, data: bytes) -> None:
    assert harness.crc32(data) == zlib.crc32(data)
