"""Samples to the device, results back: the sender's side of INPUT, DELTA and RUN.

A sample travels as INPUT pieces, sent ahead as far as the device's credit reaches, and a RUN. After a loss the host
goes back to the first byte the device has not confirmed (go-back-N) and becomes careful: smaller pieces, and no piece
of the next sample before the result of this one, because a new ticket makes the device forget an unfinished sample.
While nothing is lost, the next samples are sent during the inference and wait in the device's receive buffer.

Samples come in groups whose members are near each other, as a clean sample and its adversarial versions. Where the
device has memory for it, it keeps the first of a group, and the others travel as differences to that one. A device
that has lost it, by a reset or because the next group was already run, refuses the differences; then the sample goes
as it is.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pipeline.core.errors import DeviceError
from pipeline.device import delta
from pipeline.device.channel import LOST, TIMEOUT, Answer, Channel, Inbox
from pipeline.device.delta import Delta
from pipeline.protocol import wire

SMALLEST_PIECE_BYTES = 16
CLEAN_ANSWERS = 32
"""Answers without a loss after which the host sends larger pieces and further ahead again."""
MOST_ATTEMPTS = 500
"""Times one sample is resent without the device confirming a byte that it never had before."""
RESTARTS_HINT = "does it restart meanwhile? brown-out: another supply or cable; watchdog: firmware that disables it"
_CABLE_HINT = "use a shorter or better cable, or a lower baud rate"
_REFUSED_HINT = "flash the board again: its firmware does not do what it says it can"
_FORGOTTEN = "the device forgot what it had of it"
_PIECES = ("INPUT", "DELTA")


class NoResultError(DeviceError):
    """The device is there and answers, but a sample gives no result within its bounds. reset_cause: the reset flags of
    its MCU after that, 0 where it does not tell."""

    def __init__(self, message: str, hint: str = "", reset_cause: int = 0) -> None:
        super().__init__(message, hint)
        self.reset_cause = reset_cause


@dataclass(eq=False)
class _Transfer:
    """A sample on its way."""

    data: bytes
    """Its int8 elements."""
    ticket: int
    """Its number on the wire; a new one when it starts anew after later samples were sent."""
    is_quiet: bool = False
    """Nothing is sent between its RUN and the answer."""
    keep: bool = False
    """The device shall keep it as a base, and has not said that it has none."""
    base: _Transfer | None = None
    """The sample it may travel as differences to."""
    delta: Delta | None = None
    """Its differences to `base`, if they are shorter."""
    sent: int = 0
    """Next byte to send."""
    acked: int = 0
    """Bytes the device has without a gap."""
    most_acked: int = 0
    """The most it ever had, before it lost some."""
    run_sent: bool = False
    """RUN is on its way."""
    epoch: int = 0
    """How often it was resent: tells answers to what was sent before from the others."""
    attempts: int = 0
    """The same since most_acked last rose."""
    started_s: float | None = None
    """When it became the oldest sample under way."""
    seen: Counter[str] = field(default_factory=Counter)
    """Why it was resent."""

    @property
    def is_delta(self) -> bool:
        """Whether it travels as differences: it has some, and the device has not refused the base."""
        return self.delta is not None and self.base is not None and self.base.keep

    @property
    def started(self) -> bool:
        return self.sent > 0 or self.run_sent

    def rewind(self, received: int) -> None:
        self.sent = self.acked = received
        self.run_sent = False
        self.epoch += 1

    def next_request(self, most_bytes: int, layers: int) -> tuple[str, bytes, int, dict[str, int]]:
        """(message, tail, first element after it, fields) of the piece, or the RUN, that is to be sent now; most_bytes:
        of an INPUT's tail."""
        if self.sent == len(self.data):
            return "RUN", b"", self.sent, {"ticket": self.ticket, "layers": layers, "keep": int(self.keep)}
        values = {"ticket": self.ticket, "offset": self.sent}
        if self.is_delta:
            assert self.delta is not None and self.base is not None
            room = most_bytes + wire.fixed_bytes("INPUT") - wire.fixed_bytes("DELTA")
            tail, end = self.delta.piece(self.sent, room)
            return "DELTA", tail, end, {**values, "base": self.base.ticket, "bits": self.delta.bits}
        tail = self.data[self.sent : self.sent + most_bytes]
        return "INPUT", tail, self.sent + len(tail), values


@dataclass(frozen=True)
class _Tag:
    """What a request was for. end: first byte after its piece, or after the sample for a RUN."""

    transfer: _Transfer
    ticket: int
    epoch: int
    end: int


class Uploader:
    """The transfers to one device; keeps what it has learnt about the line from one `run` to the next.

    largest_piece_bytes: most sample bytes of one INPUT; base_bytes: largest sample the device can keep as a base;
    sample_s: how long a sample may take to give its result.
    """

    def __init__(self, channel: Channel, largest_piece_bytes: int, base_bytes: int = 0, *, sample_s: float) -> None:
        self._channel = channel
        self._base_bytes = base_bytes
        self._largest_piece_bytes = self._piece_bytes = largest_piece_bytes
        self._clean_answers = CLEAN_ANSWERS
        # A random start keeps late answers to an earlier host from being taken for ours.
        self._ticket = random.SystemRandom().randrange(1 << 30)
        self._sample_s = sample_s
        self._queue: deque[_Transfer] = deque()
        self._inbox = Inbox()

    def run(
        self, groups: Iterable[Sequence[bytes]], layers: int, *, result_bytes: int | None, quiet: int = 0
    ) -> Iterator[tuple[bytes, Answer]]:
        """Yields every sample of every group with its RUN answer, in order. result_bytes: of the whole result, in that
        answer's tail; None: it does not hold all, and no later sample may be sent before it comes; quiet: of so many
        groups' first samples, none may either. NoResultError when a sample is resent too often or takes longer than
        sample_s."""
        source = self._transfers(groups, quiet)
        self._queue.clear()
        self._inbox = Inbox()  # what an earlier run has still on its way is nobody's
        while True:
            self._fill(source, layers, result_bytes)
            if not self._queue:
                return
            self._check_time(self._queue[0])
            for answer in self._channel.collect(self._inbox):
                if self._completes(answer):
                    yield answer.request.tag.transfer.data, answer

    def _check_time(self, transfer: _Transfer) -> None:
        """NoResultError when the oldest sample under way has taken too long."""
        now_s = self._channel.clock()
        if transfer.started_s is None:
            transfer.started_s = now_s
        if now_s - transfer.started_s > self._sample_s:
            raise self._no_result(transfer, f"within {self._sample_s:g} s")

    def _no_result(self, transfer: _Transfer, bound: str) -> NoResultError:
        seen = ", ".join(f"{why} {times} times" for why, times in transfer.seen.most_common())
        message = f"{self._channel.link.name}: a sample gave no result {bound} ({seen or 'every answer came late'})"
        refused = any("refused" in why for why in transfer.seen)
        return NoResultError(
            message, RESTARTS_HINT if transfer.seen[_FORGOTTEN] else _REFUSED_HINT if refused else _CABLE_HINT
        )

    def _transfers(self, groups: Iterable[Sequence[bytes]], quiet: int) -> Iterator[_Transfer]:
        """The samples as transfers, each made when its turn comes."""
        for number, (first, *others) in enumerate(groups):
            keep = bool(others) and len(first) <= self._base_bytes
            base = _Transfer(first, self._next_ticket(), is_quiet=number < quiet, keep=keep)
            yield base
            for data in others:
                found = delta.between(data, first) if base.keep else None
                yield _Transfer(data, self._next_ticket(), base=base, delta=found)

    def _fill(self, source: Iterator[_Transfer], layers: int, result_bytes: int | None) -> None:
        """Posts what credit and caution allow."""
        while True:
            transfer = next((t for t in self._queue if not t.run_sent), None)
            if self._queue and transfer is not self._queue[0]:
                is_quiet = result_bytes is None or any(t.is_quiet for t in self._queue)
                if is_quiet or not self._line_is_clean():
                    return
            if transfer is None:
                transfer = next(source, None)
                if transfer is None:
                    return
                self._queue.append(transfer)
            if not self._post(transfer, layers, result_bytes or 0):
                return

    def _next_ticket(self) -> int:
        self._ticket += 1
        return self._ticket

    def _line_is_clean(self) -> bool:
        return self._clean_answers >= CLEAN_ANSWERS

    def _post(self, transfer: _Transfer, layers: int, result_bytes: int) -> bool:
        """Sends the next piece, or RUN after the last one; False when there is no room."""
        name, tail, end, values = transfer.next_request(self._piece_bytes, layers)
        if not self._channel.has_room(wire.fixed_bytes(name) + len(tail)):
            return False
        is_run = name == "RUN"
        size = wire.least_wire_size(wire.fixed_reply_bytes(name) + is_run * result_bytes)
        tag = _Tag(transfer, transfer.ticket, transfer.epoch, end)
        # On a line that loses something, every answer is news.
        self._channel.post(name, self._inbox, tail, reply_size=self._line_is_clean() * size, tag=tag, **values)
        transfer.sent, transfer.run_sent = end, is_run
        return True

    def _completes(self, answer: Answer) -> bool:
        """Whether this is the result of the sample at the head; everything else moves the transfers on or back."""
        tag: _Tag = answer.request.tag
        transfer = tag.transfer
        if transfer not in self._queue or tag.ticket != transfer.ticket:
            return False
        if answer.error:
            self._handle_error(answer, tag)
        elif answer.fields["ticket"] != tag.ticket:
            self._check_ticket(answer.fields["ticket"])
            self._resend_from(transfer, 0, _FORGOTTEN)
        elif answer.request.name == "RUN":
            self._clean_answers += 1
            if transfer.is_delta:
                self._channel.count_delta()
            self._queue.remove(transfer)
            return True
        else:
            self._confirm(transfer, tag, answer.fields["received"])
        return False

    def _check_ticket(self, ticket: int) -> None:
        """DeviceError for a ticket that was never sent: HELLO has made the device forget those of earlier hosts."""
        if ticket > self._ticket:
            message = f"{self._channel.link.name}: the device is at sample {ticket}, which was not sent"
            raise DeviceError(message, "close any other program that uses the device, or flash it again")

    def _confirm(self, transfer: _Transfer, tag: _Tag, received: int) -> None:
        """Takes note of a piece's answer: the device has `received` bytes without a gap."""
        if received > len(transfer.data):
            message = f"{self._channel.link.name}: the device has {received} of {len(transfer.data)} bytes of a sample"
            raise DeviceError(message, "flash the board with the firmware this version builds")
        if received > transfer.acked:
            transfer.acked = received
            transfer.sent = max(transfer.sent, received)
        if received > transfer.most_acked:
            transfer.most_acked, transfer.attempts = received, 0
        if received < tag.end and tag.epoch == transfer.epoch:
            self._resend_from(transfer, received, _FORGOTTEN if received < transfer.acked else "a gap")
            return
        self._clean_answers += 1
        if self._clean_answers % CLEAN_ANSWERS == 0:
            self._piece_bytes = min(2 * self._piece_bytes, self._largest_piece_bytes)

    def _handle_error(self, answer: Answer, tag: _Tag) -> None:
        name, error, transfer = answer.request.name, answer.error, tag.transfer
        if tag.epoch != transfer.epoch or (name in _PIECES and error == LOST):
            # A piece's lost answer needs nothing: the next one confirms its bytes, or reports the gap.
            return
        if error in (LOST, TIMEOUT):
            self._resend_from(transfer, transfer.acked, "no answer")
        elif (error == "BAD_OFFSET" and name in _PIECES) or (error == "INCOMPLETE" and name == "RUN"):
            received = min(transfer.acked, answer.fields["detail"])
            why = _FORGOTTEN if received < transfer.acked else f"{name} refused with {error}"
            # A device that has the whole sample and does not run it gets it anew.
            self._resend_from(transfer, received if name in _PIECES or received < len(transfer.data) else 0, why)
        elif error == "NO_BASE" and transfer.base is not None:
            transfer.base.keep = False
            self._resend_from(transfer, transfer.acked, error)
        else:
            detail = answer.fields["detail"]
            raise DeviceError(f"{self._channel.link.name}: refused {name}: {error}, detail {detail}", _meaning(error))

    def _resend_from(self, transfer: _Transfer, received: int, why: str) -> None:
        """Goes back to byte `received` of the transfer, and to the start where the device may have forgotten it."""
        self._channel.count_retry()
        self._clean_answers = 0
        self._piece_bytes = max(self._piece_bytes // 2, min(SMALLEST_PIECE_BYTES, self._largest_piece_bytes))
        transfer.seen[why] += 1
        transfer.attempts += 1
        if transfer.attempts > MOST_ATTEMPTS:
            raise self._no_result(transfer, f"in {MOST_ATTEMPTS} attempts")
        first = self._queue.index(transfer)
        later = [t for t in list(self._queue)[first + 1 :] if t.started]
        if not later and received > 0:
            transfer.rewind(received)
            return
        for moved in (transfer, *later):
            moved.ticket = self._next_ticket()
            moved.rewind(0)


def _meaning(error: str) -> str:
    return next((doc for name, _, doc in wire.ERRORS if name == error), "")
