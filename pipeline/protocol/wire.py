"""The serial protocol: one message table, from which the C header and docs/PROTOCOL.md are rendered, and the framing.

A frame on the wire is COBS(type u8, seq u8, payload, crc32 u32) followed by one zero byte; everything little-endian;
the CRC is zlib's CRC-32 over type, seq and payload. A reply has the request's type with bit 7 set and its seq.
"""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cobs import cobs

PROTOCOL = 2
REPLY = 0x80
"""Bit set in the type of every reply."""
DELIMITER = b"\0"
OVERHEAD = 6
"""type, seq and CRC around a payload, before COBS."""
ALL_LAYERS = 0xFFFF
DIGEST_BYTES = 16
DELTA_BITS = (2, 3, 4, 5, 6, 7)
"""Widths of the differences in a DELTA."""
MOST_IN_FLIGHT = 100
"""Requests that may be unanswered at a time: well below the 256 sequence numbers, so that a late answer cannot be taken
for a younger request's."""
TICK_UNITS = ("instructions", "cycles", "us")
"""tick_unit codes of HELLO: executed instructions (emulated), core cycles (silicon), microseconds."""


@dataclass(frozen=True, eq=False)  # one object is one field: the layouts of messages are looked up by it
class Field:
    """One fixed-size field."""

    name: str
    """As in the C struct."""
    ctype: str
    """u8, u16, u32, or bytesN / textN for N raw bytes (text is zero-padded ASCII)."""
    doc: str
    """What docs/PROTOCOL.md says of it."""

    @property
    def size(self) -> int:
        return struct.calcsize("<" + self.format)

    @property
    def format(self) -> str:
        """struct format character(s)."""
        plain = {"u8": "B", "u16": "H", "u32": "I"}
        return plain.get(self.ctype) or f"{self.ctype.removeprefix('bytes').removeprefix('text')}s"


@dataclass(frozen=True)
class Message:
    """One request and its reply."""

    name: str
    """Of the request, in capitals."""
    code: int
    """Of the request, a byte; the reply's has the highest bit set."""
    doc: str
    """What docs/PROTOCOL.md says of it."""
    request: tuple[Field, ...] = ()
    """Fixed fields of the request."""
    reply: tuple[Field, ...] = ()
    """Fixed fields of the reply."""
    request_tail: str = ""
    """What follows the request's fixed fields; "" for nothing."""
    reply_tail: str = ""
    """What follows the reply's fixed fields; "" for nothing."""


_TICKET = Field("ticket", "u32", "number of this transfer, 1 or more, increasing")
_RECEIVED = (
    Field("ticket", "u32", "ticket the device is at"),
    Field("received", "u32", "elements of it received without a gap"),
)
"""The reply to a piece of a sample."""

MESSAGES = (
    Message(
        "HELLO",
        0x01,
        "Who are you? The device forgets its sample, its ticket and its base, as after a reset. The host repeats it "
        "until it is answered.",
        (Field("protocol", "u8", "protocol version of the host"),),
        (
            Field("protocol", "u8", "protocol version of the device"),
            Field("tick_unit", "u8", "0 instructions (emulated), 1 core cycles, 2 microseconds"),
            Field("max_payload", "u16", "largest payload of a frame, bytes, either direction"),
            Field("rx_buffer_bytes", "u16", "credit: most unanswered request bytes on the wire, framing included"),
            Field("layers", "u16", "number of layers"),
            Field("tick_hz", "u32", "ticks per second; 0 when a tick is an instruction"),
            Field("arena_bytes", "u32", "activation arena, scratch included"),
            Field("input_bytes", "u32", "bytes of one sample"),
            Field("output_bytes", "u32", "bytes of one result"),
            Field("base_bytes", "u32", "memory for the base of DELTAs: a whole sample, or 0 when there is none"),
            Field("digest", f"bytes{DIGEST_BYTES}", "digest of the sources this firmware was built from"),
            Field("board", "text32", "board name"),
        ),
    ),
    Message(
        "INPUT",
        0x02,
        "A piece of one sample. Pieces arrive in order; a repeated one is answered and ignored. The first piece of a "
        "higher ticket starts a new sample; pieces of a ticket already run are answered and ignored.",
        (_TICKET, Field("offset", "u32", "first element of the piece")),
        _RECEIVED,
        request_tail="int8 elements",
    ),
    Message(
        "RUN",
        0x03,
        "Run the first `layers` layers on the sample. Repeating it for the same ticket and layers repeats the answer; "
        "another number of layers is refused with INCOMPLETE: it needs the sample again, under a higher ticket.",
        (
            Field("ticket", "u32", "ticket whose sample is complete"),
            Field("layers", "u16", "how many layers to run; 65535: all"),
            Field("keep", "u8", "1: the sample becomes the base of DELTAs, where there is memory for one"),
        ),
        (
            Field("ticket", "u32", "ticket that was run"),
            Field("ticks", "u32", "ticks of all layers that ran"),
        ),
        reply_tail="the last layer's output (int8), then u32 ticks per layer run, as far as the frame holds",
    ),
    Message(
        "TICKS",
        0x04,
        "Ticks per layer of the last run.",
        (Field("first", "u16", "first layer"),),
        (Field("first", "u16", "first layer"),),
        reply_tail="u32 per layer, as far as the frame holds",
    ),
    Message(
        "TENSOR",
        0x05,
        "A piece of a layer's output as it is in the arena now: valid after a RUN that ended with this layer.",
        (
            Field("layer", "u16", "layer number, from 0"),
            Field("length", "u16", "bytes wanted"),
            Field("offset", "u32", "first byte"),
        ),
        (
            Field("layer", "u16", "layer number"),
            Field("length", "u16", "bytes that follow"),
            Field("offset", "u32", "first byte"),
        ),
        reply_tail="int8 elements",
    ),
    Message(
        "STATS",
        0x06,
        "What the device measured since reset.",
        (),
        (
            Field("stack_high_water", "u32", "deepest stack use, bytes"),
            Field("stack_size", "u32", "reserved stack, bytes"),
            Field("arena_touched", "u32", "highest arena byte written, plus one"),
            Field("canaries_ok", "u32", "1: nothing wrote around the arena or below the stack"),
            Field("rx_dropped", "u32", "bytes lost because the receive buffer was full or the UART overran"),
            Field("crc_errors", "u32", "frames dropped for a bad CRC, bad COBS or a wrong length"),
            Field("frames", "u32", "good frames"),
            Field("reset_cause", "u32", "raw reset flags of the MCU, 0 if unknown"),
        ),
    ),
    Message("RESET", 0x07, "Answer, then restart the MCU."),
    Message("ECHO", 0x08, "Send the same bytes back.", request_tail="any bytes", reply_tail="the same bytes"),
    Message(
        "DELTA",
        0x09,
        "A piece of one sample, as INPUT, given as its differences from another sample, the base: the last one that "
        "was run with `keep` set. Pieces of a sample may be INPUT or DELTA. Unknown to devices without memory for a "
        "base.",
        (
            _TICKET,
            Field("base", "u32", "ticket of the base; refused with NO_BASE when the device has another or none"),
            Field("offset", "u32", "first element of the piece"),
            Field("bits", "u8", f"width of a difference, {DELTA_BITS[0]} to {DELTA_BITS[-1]}"),
        ),
        _RECEIVED,
        request_tail="differences modulo 256, two's complement, each `bits` wide, from the low bits of the first byte "
        "on: as many as the bytes hold, at most up to the sample's end",
    ),
    Message(
        "FAULT",
        0x7E,
        "Sent once, unasked, by the fault handler, as a reply without a request: its type is 0xfe, its seq 0. The "
        "device then stops until it is reset.",
        reply=(
            Field("ipsr", "u32", "exception number"),
            Field("cfsr", "u32", "configurable fault status"),
            Field("hfsr", "u32", "hard fault status"),
            Field("mmfar", "u32", "memory manage fault address"),
            Field("bfar", "u32", "bus fault address"),
            Field("pc", "u32", "faulting instruction, 0 if its frame is unreadable"),
            Field("lr", "u32", "link register of the faulting code, 0 if unreadable"),
            Field("exc_return", "u32", "EXC_RETURN"),
        ),
    ),
    Message(
        "ERROR",
        0x7F,
        "The request could not be served and has changed nothing. Sent in place of its reply: the type is 0xff, the "
        "seq the request's.",
        reply=(
            Field("request", "u8", "type of the request"),
            Field("code", "u8", "see the error table"),
            Field("detail", "u32", "a number that depends on the code"),
        ),
    ),
)

BY_NAME: Mapping[str, Message] = {m.name: m for m in MESSAGES}

ERRORS = (
    ("UNKNOWN_REQUEST", 1, "no such request; detail: its type"),
    ("BAD_LENGTH", 2, "payload too short or too long; detail: its length"),
    ("BAD_OFFSET", 3, "beyond the end or after a gap; detail: bytes of the ticket received, or of TENSOR's output"),
    (
        "INCOMPLETE",
        4,
        "RUN before the whole sample is there; detail: bytes received, 0 if ticket or layers are not the device's",
    ),
    ("BAD_LAYER", 5, "no such layer; detail: number of layers"),
    ("NO_BASE", 6, "the base of a DELTA is not there; detail: ticket of the one that is, 0 for none"),
    ("BAD_BITS", 7, "no such width of differences; detail: the width"),
)

UNSOLICITED = frozenset({"FAULT"})


class FrameError(ValueError):
    """Bytes between two delimiters that are no valid frame."""


@dataclass(frozen=True)
class Frame:
    """What one frame on the wire carries."""

    type: int
    """Code of a message, of its reply, or of an error."""
    seq: int
    """0 to 255; a reply has its request's."""
    payload: bytes
    """Fixed fields, then the tail."""


def encode(frame: Frame) -> bytes:
    """Bytes of the frame on the wire, its delimiter included."""
    body = struct.pack("<BB", frame.type, frame.seq) + frame.payload
    return bytes(cobs.encode(body + struct.pack("<I", zlib.crc32(body)))) + DELIMITER


def decode(data: bytes) -> Frame:
    """The frame in `data` (between two delimiters, delimiter excluded). Raises FrameError on bad COBS, length, CRC."""
    try:
        body = cobs.decode(data)
    except cobs.DecodeError as error:
        raise FrameError(f"bad COBS: {error}") from error
    if len(body) < OVERHEAD:
        raise FrameError(f"{len(body)} bytes are too short for a frame")
    (crc,) = struct.unpack("<I", body[-4:])
    if crc != zlib.crc32(body[:-4]):
        raise FrameError("bad CRC")
    return Frame(body[0], body[1], body[2:-4])


def fixed_bytes(name: str) -> int:
    """Bytes of the fixed fields of a request."""
    return _layout(BY_NAME[name].request).size


def fixed_reply_bytes(name: str) -> int:
    """Bytes of the fixed fields of a reply."""
    return _layout(BY_NAME[name].reply).size


def wire_size(payload_bytes: int) -> int:
    """Largest number of bytes a frame with this payload takes on the wire (COBS worst case and delimiter)."""
    body = payload_bytes + OVERHEAD
    return body + body // 254 + 2


def least_wire_size(payload_bytes: int) -> int:
    """Smallest number of bytes a frame with this payload takes on the wire (one byte of COBS and the delimiter)."""
    return payload_bytes + OVERHEAD + 2


MOST_FRAME_BYTES = wire_size(0xFFFF) - 1
"""Longest frame without its delimiter: with the largest payload that HELLO can name."""


class Decoder:
    """Cuts a byte stream into frames; `errors` counts what was dropped. Bytes before the first delimiter of a damaged
    stream are lost with the frame they belong to, never the frame after it. Holds at most MOST_FRAME_BYTES: what is
    longer is dropped, and counted once, up to its delimiter."""

    def __init__(self) -> None:
        self.errors = 0
        self._buffer = bytearray()
        self._is_too_long = False

    @property
    def held(self) -> int:
        """Bytes of the frame that is not complete yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yields each valid frame that `data` completes."""
        self._buffer += data
        while (end := self._buffer.find(0)) >= 0:
            chunk = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            if self._is_too_long:
                self._is_too_long = False
            elif chunk:
                try:
                    yield decode(chunk)
                except FrameError:
                    self.errors += 1
        if len(self._buffer) > MOST_FRAME_BYTES:
            self.errors += not self._is_too_long
            self._is_too_long = True
        if self._is_too_long:
            self._buffer.clear()


@functools.cache
def _layout(fields: tuple[Field, ...]) -> struct.Struct:
    return struct.Struct("<" + "".join(f.format for f in fields))


def pack_fields(fields: tuple[Field, ...], values: Mapping[str, Any], tail: bytes = b"") -> bytes:
    """Payload bytes. Text fields take str, bytes fields bytes, the others int; a missing value is a KeyError."""
    raw = [values[f.name].encode() if f.ctype.startswith("text") else values[f.name] for f in fields]
    return _layout(fields).pack(*raw) + tail


def unpack_fields(fields: tuple[Field, ...], payload: bytes) -> tuple[dict[str, Any], bytes]:
    """(values by field name, tail). Text comes without control characters. Raises FrameError when the payload is
    shorter than the fixed fields."""
    layout = _layout(fields)
    if len(payload) < layout.size:
        raise FrameError(f"payload of {len(payload)} bytes, at least {layout.size} expected")
    raw = layout.unpack_from(payload)
    values = {f.name: _printable(v) if f.ctype.startswith("text") else v for f, v in zip(fields, raw, strict=True)}
    return values, payload[layout.size :]


def _printable(text: bytes) -> str:
    return "".join(filter(str.isprintable, text.decode("ascii", "replace")))


def request(name: str, seq: int, tail: bytes = b"", **values: Any) -> bytes:
    """Wire bytes of a request."""
    message = BY_NAME[name]
    return encode(Frame(message.code, seq, pack_fields(message.request, values, tail)))


def reply(name: str, frame: Frame) -> tuple[dict[str, Any], bytes]:
    """(fields, tail) of a reply frame to message `name`. Raises FrameError when it is too short, or longer than a
    message without a tail may be; HELLO, which another protocol version may have made longer, is cut."""
    message = BY_NAME[name]
    fields, tail = unpack_fields(message.reply, frame.payload)
    if tail and not message.reply_tail and name != "HELLO":
        raise FrameError(f"{len(tail)} bytes follow the fields of {name}")
    return fields, tail
