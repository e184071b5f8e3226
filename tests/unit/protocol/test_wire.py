"""The protocol's bytes: every frame survives the way, no damaged one gets through, none drags the next one along."""

from __future__ import annotations

import re
import struct
import zlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.config.board import LinkConfig
from pipeline.core import schema
from pipeline.core.errors import ConfigError
from pipeline.core.paths import RESOURCES
from pipeline.protocol import wire
from pipeline.protocol.wire import Decoder, Frame, FrameError
from tests.support import protocol_tables

bytes_up_to_600 = st.binary(max_size=600)
frames = st.builds(Frame, st.integers(0, 255), st.integers(0, 255), bytes_up_to_600)


def test_a_hello_byte_by_byte():
    body = b"\x01\x2a\x02"
    crc = struct.pack("<I", zlib.crc32(body))
    assert 0 not in crc
    assert wire.request("HELLO", 0x2A, protocol=2) == bytes([8]) + body + crc + b"\0"
    assert wire.request("HELLO", 0x2A, protocol=2).hex(" ") in (RESOURCES / "docs" / "PROTOCOL.md").read_text()


@given(frames)
def test_a_frame_survives_the_way(frame):
    data = wire.encode(frame)
    assert data.endswith(b"\0")
    assert data.count(0) == 1
    assert wire.least_wire_size(len(frame.payload)) <= len(data) <= wire.wire_size(len(frame.payload))
    assert wire.decode(data[:-1]) == frame


@given(st.integers(0, 5000))
def test_wire_size_is_reached_when_no_byte_is_zero(payload_bytes):
    frame = Frame(1, 1, b"\1" * payload_bytes)
    assert wire.wire_size(payload_bytes) - 2 <= len(wire.encode(frame)) <= wire.wire_size(payload_bytes)


@given(st.lists(frames, max_size=6), st.data())
def test_chunks_of_any_size_give_the_same_frames(sent, data):
    stream = b"".join(map(wire.encode, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    decoder = Decoder()
    edges = zip([0, *cuts], [*cuts, len(stream)], strict=True)
    got = [frame for start, end in edges for frame in decoder.feed(stream[start:end])]
    assert got == sent
    assert decoder.errors == decoder.held == 0


@given(st.binary(max_size=300), frames)
def test_garbage_costs_no_frame_behind_a_delimiter(garbage, frame):
    decoder = Decoder()
    got = list(decoder.feed(garbage + wire.DELIMITER + wire.encode(frame)))
    assert got[-1] == frame
    assert len(got) == 1  # chance of a CRC that fits: 2^-32


@given(frames, st.data())
def test_a_damaged_frame_never_becomes_another_one(frame, data):
    sent = wire.encode(frame)
    place = data.draw(st.integers(0, len(sent) - 2))
    damage = data.draw(st.sampled_from(["flip", "drop", "duplicate", "swap"]))
    if damage == "flip":
        damaged = sent[:place] + bytes([sent[place] ^ 1 << data.draw(st.integers(0, 7))]) + sent[place + 1 :]
    elif damage == "drop":
        damaged = sent[:place] + sent[place + 1 :]
    elif damage == "duplicate":
        damaged = sent[: place + 1] + sent[place:]
    else:
        damaged = sent[:place] + sent[place + 1 : place + 2] + sent[place : place + 1] + sent[place + 2 :]
    assume(damaged != sent)
    assert [got for got in Decoder().feed(damaged + wire.DELIMITER) if got != frame] == []


@pytest.mark.parametrize(
    "data",
    [b"", b"\x02\x01", b"\x05\x01", wire.encode(Frame(1, 1, b"abc"))[1:-1]],
    ids=["empty", "short", "cobs", "cut"],
)
def test_what_is_no_frame_is_refused(data):
    with pytest.raises(FrameError):
        wire.decode(data)


def values_of(field: wire.Field) -> st.SearchStrategy:
    if field.ctype.startswith("text"):
        return st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=field.size)
    if field.ctype.startswith("bytes"):
        return st.binary(min_size=field.size, max_size=field.size)
    return st.integers(0, (1 << 8 * field.size) - 1)


@pytest.mark.parametrize("message", wire.MESSAGES, ids=lambda m: m.name)
@given(data=st.data(), tail=st.binary(max_size=50))
def test_fields_survive_packing(message, data, tail):
    for fields in (message.request, message.reply):
        values = {field.name: data.draw(values_of(field)) for field in fields}
        packed = wire.pack_fields(fields, values, tail)
        assert wire.unpack_fields(fields, packed) == (values, tail)
        if fields:
            with pytest.raises(FrameError):
                wire.unpack_fields(fields, packed[: sum(f.size for f in fields) - 1])


def test_codes_are_distinct_and_leave_the_reply_bit_free():
    codes = [message.code for message in wire.MESSAGES]
    assert len(set(codes)) == len(codes)
    assert all(0 < code < wire.REPLY for code in codes)
    assert len({code for _, code, _ in wire.ERRORS}) == len(wire.ERRORS)


def test_no_board_has_frames_too_small_for_the_fixed_parts():
    largest = max(sum(f.size for f in fields) for m in wire.MESSAGES for fields in (m.request, m.reply))
    too_small = {"kind": "serial", "max_payload": largest - 1}
    with pytest.raises(ConfigError, match="max_payload"):
        schema.validate(LinkConfig, too_small, "test")
    assert schema.validate(LinkConfig, {"kind": "serial", "max_payload": largest}, "test").max_payload == largest


def test_the_document_shows_the_tables():
    document = (RESOURCES / "docs" / "PROTOCOL.md").read_text()
    assert document == protocol_tables.updated(document), "python -m tests.support.protocol_tables brings it up to date"
    assert re.search(r"protocol version \**2\b", document)


def test_data_without_a_delimiter_does_not_grow_the_decoder():
    decoder = Decoder()
    for _ in range(100):
        assert list(decoder.feed(b"\1" * 10_000)) == []
        assert len(decoder._buffer) <= wire.MOST_FRAME_BYTES
    assert list(decoder.feed(b"\1\0" + wire.encode(Frame(1, 2, b"next")))) == [Frame(1, 2, b"next")]
    assert decoder.errors == 1


def test_the_largest_frame_passes_in_pieces():
    data = wire.encode(Frame(1, 2, b"\1" * 0xFFFF))
    assert len(data) == wire.MOST_FRAME_BYTES + 1
    decoder = Decoder()
    found = [f for start in range(0, len(data), 1000) for f in decoder.feed(data[start : start + 1000])]
    assert [len(f.payload) for f in found] == [0xFFFF]
    assert decoder.errors == 0


def test_control_characters_in_the_text_of_a_device_are_dropped():
    text = wire.BY_NAME["HELLO"].reply[-1:]
    assert wire.unpack_fields(text, b"\x1b[2Jun\0o\r\n".ljust(32, b"\0"))[0] == {"board": "[2Juno"}


@pytest.mark.parametrize("name", ["INPUT", "STATS", "RESET", "ERROR"])
def test_bytes_behind_the_last_field_are_no_reply(name):
    fixed = bytes(wire.fixed_reply_bytes(name))
    assert wire.reply(name, Frame(0, 0, fixed))[1] == b""
    with pytest.raises(FrameError, match="1 bytes follow"):
        wire.reply(name, Frame(0, 0, fixed + b"\0"))
