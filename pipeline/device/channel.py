"""Requests in flight on a link: sequence numbers, credit, loss, timeouts, and what all of that is counted in. Every
request names the inbox of its owner, and what becomes of it is put there; what is sent again is the owner's choice.

The device serves requests in order, so an answer also says that every older request, or its answer, was lost. Silence
is judged by the device's own pace, as TCP does (RFC 6298): mean and deviation of the recent waits for the same kind of
request; sooner once a damaged frame has arrived, which most likely was the answer, and later while nothing is answered.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from pipeline.core import interrupt
from pipeline.core.errors import DeviceError
from pipeline.core.nouns import LinkStats
from pipeline.device.links import Link
from pipeline.protocol import faults, wire

LOST = "LOST"
"""Answer.error: a younger request was answered first."""
TIMEOUT = "TIMEOUT"
"""Answer.error: nothing came in time."""

_ERROR_NAMES = {code: name for name, code, _ in wire.ERRORS}
_MESSAGE_NAMES = {message.code: message.name for message in wire.MESSAGES}
_REPLY_NAMES = {code | wire.REPLY: name for code, name in _MESSAGE_NAMES.items()}
_FIRST_PATIENCE_S = 0.5
"""Before the device's pace is known. Every request may be repeated: too little patience costs a frame, no error."""
_LEAST_MARGIN_S = 0.02
_CLEAN_LINE_MARGIN_S = 1.0
"""Of a timeout above the mean wait; while nothing gets lost, a busy computer is the likeliest reason to wait longer."""
_HELLO_PATIENCE_S = 0.1
"""A device that still boots loses HELLOs without a word."""
_MOST_BACKOFF = 4


@dataclass
class _Pace:
    """How long answers to one kind of request take: smoothed mean and deviation, seconds (RFC 6298, section 2)."""

    mean_s: float
    deviation_s: float

    @property
    def longest_s(self) -> float:
        return self.mean_s + 4 * self.deviation_s

    def learn(self, waited_s: float) -> None:
        self.deviation_s += (abs(waited_s - self.mean_s) - self.deviation_s) / 4
        self.mean_s += (waited_s - self.mean_s) / 8


class DeviceFaultError(DeviceError):
    """The firmware's fault handler reported itself; the device stops until it is reset."""


@dataclass(eq=False)
class Request:
    """A request on the wire."""

    name: str
    """Of its message."""
    seq: int
    """Its sequence number, 0 to 255."""
    size: int
    """Its bytes on the wire."""
    sent_s: float
    """When it was posted, by the channel's clock."""
    inbox: Inbox
    """Where what becomes of it is put."""
    reply_size: int = 0
    """Bytes on the wire that its reply is known to take; 0 where nothing is known of it."""
    tag: Any = None
    """The owner's own note."""


@dataclass(frozen=True)
class Answer:
    """What became of a request."""

    request: Request
    """The one it answers."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Fixed fields of the reply by name; of an error code its detail."""
    tail: bytes = b""
    """What follows the fixed fields."""
    error: str = ""
    """ "" for a reply, else LOST, TIMEOUT or an error code's name."""


Inbox = deque[Answer]
"""What became of one owner's requests, in order. An owner who is no longer interested drops it."""


class Channel:
    """The requests in flight on one link. credit: most unanswered request bytes the device can hold; silence_s: how
    long a device may answer nothing before it counts as gone; clock: seconds, as time.monotonic counts them."""

    def __init__(self, link: Link, *, silence_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.link = link
        self.credit = wire.wire_size(0)
        self.silence_s = silence_s
        self.clock = clock
        self._answers = 0
        self._retries = 0
        self._deltas = 0
        self._decoder = wire.Decoder()
        self._in_flight: deque[Request] = deque()
        self._outgoing = bytearray()
        self._bytes_sent = 0
        self._bytes_received = 0
        self._seq = 0
        self._misses = 0
        self._paces: dict[str, _Pace] = {}
        self._damaged_s: float | None = None
        self._expired: dict[int, Request] = {}
        self._least_margin_s = _CLEAN_LINE_MARGIN_S
        self._heard_s = self._opened_s = self.clock()

    def link_stats(self) -> LinkStats:
        """Counters since the channel was made."""
        return LinkStats(
            bytes_sent=self._bytes_sent,
            bytes_received=self._bytes_received,
            seconds=self.clock() - self._opened_s,
            retries=self._retries,
            deltas=self._deltas,
            crc_errors=self._decoder.errors,
        )

    @property
    def answers(self) -> int:
        """Replies so far, ERROR included."""
        return self._answers

    def count_retry(self) -> None:
        """One request, or one sample from some byte on, is sent again."""
        self._retries += 1

    def count_delta(self) -> None:
        """One sample has travelled as differences to another."""
        self._deltas += 1

    def has_room(self, payload_bytes: int) -> bool:
        """Whether a request with this payload may be sent now. After a timeout only one is, until it is answered."""
        if not self._in_flight:
            return True
        if self._misses or len(self._in_flight) >= wire.MOST_IN_FLIGHT:
            return False
        return sum(request.size for request in self._in_flight) + wire.wire_size(payload_bytes) <= self.credit

    def wait_for_room(self, payload_bytes: int) -> None:
        """Returns once a request with this payload may be sent."""
        self._send()
        while not self.has_room(payload_bytes):
            self._advance()

    def post(
        self, name: str, inbox: Inbox, tail: bytes = b"", *, reply_size: int = 0, tag: Any = None, **values: Any
    ) -> None:
        """Queues a request; it leaves with the next `collect`. What becomes of it is put into `inbox`, and after a
        TIMEOUT perhaps its late answer, too. reply_size: bytes its reply takes on the wire, where its owner would
        rather have it as a whole than sooner."""
        data = wire.request(name, self._seq, tail, **values)
        if self._misses:
            # Closes whatever half frame the device may still hold.
            data = wire.DELIMITER + data
        request = Request(name, self._seq, len(data), self.clock(), inbox, reply_size, tag)
        self._expired.pop(self._seq, None)
        self._seq = (self._seq + 1) & 0xFF
        if not self._in_flight and not self._misses:
            self._heard_s = request.sent_s
        self._in_flight.append(request)
        self._outgoing += data

    def collect(self, inbox: Inbox) -> list[Answer]:
        """Sends what is queued and takes out of `inbox` what became of its requests, in order; waits for at least one
        outcome as long as any request is in flight, whoever posted it. A silent device yields a TIMEOUT for each of
        them. DeviceError when the link is gone, the device reports a fault, or it has answered nothing for
        silence_s."""
        self._send()
        while not inbox and self._in_flight:
            self._advance()
        answers = list(inbox)
        inbox.clear()
        return answers

    def _advance(self) -> None:
        """Waits for bytes, or until the requests in flight count as lost, and puts outcomes where they belong."""
        answers = self._receive(self._deadline_s() - self.clock())
        if not answers and self.clock() >= self._deadline_s():
            answers = self._time_out()
        for answer in answers:
            answer.request.inbox.append(answer)

    def _send(self) -> None:
        if self._outgoing:
            self._bytes_sent += len(self._outgoing)
            data = bytes(self._outgoing)
            self._outgoing.clear()
            self.link.write(data)

    def _receive(self, timeout_s: float) -> list[Answer]:
        interrupt.check()
        data = self.link.read(max(0.0, min(timeout_s, interrupt.LOOK_EVERY_S)), self._awaited_bytes())
        self._bytes_received += len(data)
        damaged = self._decoder.errors
        answers = [answer for frame in self._decoder.feed(data) for answer in self._settle(frame)]
        if answers:
            self._damaged_s = None
        elif self._decoder.errors > damaged:
            self._damaged_s = self.clock()
        return answers

    def _awaited_bytes(self) -> int:
        """How many bytes are worth waiting for: the answers to half of the requests in flight. The device is busy with
        the other half while the next ones are prepared, and an ERROR, which is shorter, only costs one look."""
        half = islice(self._in_flight, (len(self._in_flight) + 1) // 2)
        return max(1, sum(request.reply_size for request in half) - self._decoder.held)

    def _settle(self, frame: wire.Frame) -> list[Answer]:
        """The outcomes a frame decides: its request's, and the loss of every older one in flight. An answer that comes
        after its TIMEOUT is as good as one in time. Duplicate answers, and frames that answer nothing, decide nothing.
        """
        name = _REPLY_NAMES.get(frame.type, "")
        if name == "FAULT":
            raise self._crash(frame)
        request = next((r for r in self._in_flight if r.seq == frame.seq), self._expired.get(frame.seq))
        answer = _parse(request, name, frame) if request else None
        if answer is None:
            return []
        now_s = self.clock()
        if self._expired.pop(frame.seq, None):
            # Too impatient, or its last bytes came only with the repetition: a measure of the pace if none is better.
            self._least_margin_s = min(2 * self._least_margin_s, _CLEAN_LINE_MARGIN_S)
            if answer.request.name not in self._paces:
                self._learn_pace(answer.request, now_s)
            lost = []
        else:
            self._learn_pace(answer.request, now_s)
            lost = self._drop_until(answer.request)
        self._heard_s, self._misses = now_s, 0
        self._answers += 1
        return [*lost, answer]

    def _crash(self, frame: wire.Frame) -> DeviceFaultError:
        try:
            what = faults.describe(wire.reply("FAULT", frame)[0])
        except wire.FrameError as error:
            what = f"unreadable fault report: {error}"
        return DeviceFaultError(f"{self.link.name}: the firmware crashed: {what}", "reset the board")

    def _drop_until(self, request: Request) -> list[Answer]:
        """Takes the requests up to this one out of flight; the older ones as LOST."""
        lost = []
        while (oldest := self._in_flight.popleft()) is not request:
            lost.append(Answer(oldest, error=LOST))
        return lost

    def _learn_pace(self, request: Request, now_s: float) -> None:
        waited_s = now_s - max(request.sent_s, self._heard_s)
        self._paces.setdefault(request.name, _Pace(waited_s, waited_s / 2)).learn(waited_s)

    def _patience_s(self, name: str) -> float:
        """How long to wait for the answer to such a request before it counts as lost."""
        pace = self._paces.get(name)
        if name == "HELLO":
            patience_s = _HELLO_PATIENCE_S
        elif pace is None:
            patience_s = _FIRST_PATIENCE_S
        else:
            patience_s = pace.mean_s + max(4 * pace.deviation_s, self._least_margin_s)
        return patience_s * min(1 << max(self._misses - 1, 0), _MOST_BACKOFF)

    def _deadline_s(self) -> float:
        """When the requests in flight count as lost; the slowest of them decides, as its answer may be the only one
        still to come."""
        names = {request.name for request in self._in_flight}
        waiting_since_s = max(self._in_flight[0].sent_s, self._heard_s)
        deadline_s = waiting_since_s + max(self._patience_s(name) for name in names)
        if self._damaged_s is not None:
            unknown = _Pace(_LEAST_MARGIN_S, 0.0)
            longest_s = max(self._paces.get(name, unknown).longest_s for name in names)
            deadline_s = min(deadline_s, max(waiting_since_s, self._damaged_s) + longest_s)
        return min(deadline_s, self._heard_s + self.silence_s)

    def _time_out(self) -> list[Answer]:
        if self.clock() - self._heard_s >= self.silence_s:
            message = f"{self.link.name}: no answer to {self._in_flight[0].name} for {self.silence_s:g} s"
            raise DeviceError(message, "reset the board; if that does not help, flash it again")
        self._misses += 1
        self._damaged_s = None
        self._least_margin_s = max(self._least_margin_s / 2, _LEAST_MARGIN_S)
        answers = [Answer(request, error=TIMEOUT) for request in self._in_flight]
        self._expired.update((request.seq, request) for request in self._in_flight)
        self._in_flight.clear()
        return answers


def _parse(request: Request, name: str, frame: wire.Frame) -> Answer | None:
    """What the frame says about the request; None when it is no answer to it."""
    try:
        if name == "ERROR":
            fields, _ = wire.reply(name, frame)
            error = _ERROR_NAMES.get(fields["code"], f"ERROR_{fields['code']}")
            refused = _MESSAGE_NAMES.get(fields["request"]) == request.name
            return Answer(request, fields, error=error) if refused else None
        if name != request.name:
            return None
        fields, tail = wire.reply(name, frame)
    except wire.FrameError:
        return None
    return Answer(request, fields, tail)
