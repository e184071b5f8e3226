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
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.core.errors import DeviceError
from pipeline.device import delta
from pipeline.device.channel import LOST, TIMEOUT, Answer, Channel
from pipeline.device.delta import Delta
from pipeline.protocol import wire

SMALLEST_PIECE_BYTES = 16
CLEAN_ANSWERS = 32
"""Answers without a loss after which the host sends larger pieces and further ahead again."""
MOST_ATTEMPTS = 500
"""Times one sample is taken up again without the device confirming a single further byte."""
_PIECES = ("INPUT", "DELTA")


@dataclass(eq=False)
class _Transfer:
    """A sample on its way. is_quiet: nothing is sent between its RUN and the answer; keep: the device shall keep it as
    a base, and has not said that it has none; delta: its differences to `base`, if they are shorter. sent: next byte to
    send; acked: bytes the device has without a gap; epoch: how often it was taken up again, which tells answers to what
    was sent before from the others; attempts: the same since the last progress."""

    data: bytes
    ticket: int
    is_quiet: bool = False
    keep: bool = False
    base: _Transfer | None = None
    delta: Delta | None = None
    sent: int = 0
    acked: int = 0
    run_sent: bool = False
    epoch: int = 0
    attempts: int = 0

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

    largest_piece_bytes: most sample bytes of one INPUT; base_bytes: largest sample the device can keep as a base.
    """

    def __init__(self, channel: Channel, largest_piece_bytes: int, base_bytes: int = 0) -> None:
        self._channel = channel
        self._base_bytes = base_bytes
        self._largest_piece_bytes = self._piece_bytes = largest_piece_bytes
        self._clean_answers = CLEAN_ANSWERS
        # A random start keeps late answers to an earlier host from being taken for ours.
        self._ticket = random.SystemRandom().randrange(1 << 30)
        self._queue: deque[_Transfer] = deque()

    def run(self, groups: Iterable[Sequence[bytes]], layers: int, *, ahead: bool, quiet: int = 0) -> Iterator[Answer]:
        """Yields the RUN answer of every sample of every group, in order. ahead: whether later samples may be sent
        before it comes; quiet: of so many groups' first samples, they may not."""
        source = self._transfers(groups, quiet)
        self._queue.clear()
        while True:
            self._fill(source, layers, ahead)
            if not self._queue:
                return
            answers = self._channel.exchange()
            if not answers:
                # The caller used the session in between and took the answers.
                self._take_up_again(self._queue[0], self._queue[0].acked)
            for answer in answers:
                if self._completes(answer):
                    yield answer

    def _transfers(self, groups: Iterable[Sequence[bytes]], quiet: int) -> Iterator[_Transfer]:
        """The samples as transfers, each made when its turn comes."""
        for number, (first, *others) in enumerate(groups):
            keep = bool(others) and len(first) <= self._base_bytes
            base = _Transfer(first, self._next_ticket(), is_quiet=number < quiet, keep=keep)
            yield base
            for data in others:
                found = delta.between(data, first) if base.keep else None
                yield _Transfer(data, self._next_ticket(), base=base, delta=found)

    def _fill(self, source: Iterator[_Transfer], layers: int, ahead: bool) -> None:
        """Posts what credit and caution allow."""
        while True:
            transfer = next((t for t in self._queue if not t.run_sent), None)
            if self._queue and transfer is not self._queue[0]:
                may_go_ahead = ahead and self._line_is_clean() and not any(t.is_quiet for t in self._queue)
                if not may_go_ahead:
                    return
            if transfer is None:
                transfer = next(source, None)
                if transfer is None:
                    return
                self._queue.append(transfer)
            if not self._post(transfer, layers):
                return

    def _next_ticket(self) -> int:
        self._ticket += 1
        return self._ticket

    def _line_is_clean(self) -> bool:
        return self._clean_answers >= CLEAN_ANSWERS

    def _post(self, transfer: _Transfer, layers: int) -> bool:
        """Sends the next piece, or RUN after the last one; False when there is no room."""
        name, tail, end, values = transfer.next_request(self._piece_bytes, layers)
        if not self._channel.has_room(wire.fixed_bytes(name) + len(tail)):
            return False
        self._channel.post(name, tail, tag=_Tag(transfer, transfer.ticket, transfer.epoch, end), **values)
        transfer.sent, transfer.run_sent = end, name == "RUN"
        return True

    def _completes(self, answer: Answer) -> bool:
        """Whether this is the result of the sample at the head; everything else moves the transfers on or back."""
        tag = answer.request.tag
        if not isinstance(tag, _Tag) or tag.transfer not in self._queue or tag.ticket != tag.transfer.ticket:
            return False
        transfer = tag.transfer
        if answer.error:
            self._handle_error(answer, tag)
        elif answer.fields["ticket"] != tag.ticket:
            # The device is at another sample: it was reset, or another host has used it.
            self._ticket = max(self._ticket, answer.fields["ticket"])
            self._take_up_again(transfer, 0)
        elif answer.request.name == "RUN":
            self._clean_answers += 1
            self._channel.deltas += transfer.is_delta
            self._queue.remove(transfer)
            return True
        else:
            self._confirm(transfer, tag, answer.fields["received"])
        return False

    def _confirm(self, transfer: _Transfer, tag: _Tag, received: int) -> None:
        """Takes note of a piece's answer: the device has `received` bytes without a gap."""
        if received > transfer.acked:
            transfer.acked, transfer.attempts = received, 0
            transfer.sent = max(transfer.sent, received)
        if received < tag.end and tag.epoch == transfer.epoch:
            self._take_up_again(transfer, received)
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
            self._take_up_again(transfer, transfer.acked)
        elif error == "BAD_OFFSET" and name in _PIECES:
            self._take_up_again(transfer, min(transfer.acked, answer.fields["detail"]))
        elif error == "NO_BASE" and transfer.base is not None:
            transfer.base.keep = False
            self._take_up_again(transfer, transfer.acked)
        elif error == "INCOMPLETE" and name == "RUN":
            received = min(transfer.acked, answer.fields["detail"])
            self._take_up_again(transfer, received if received < len(transfer.data) else 0)
        else:
            detail = answer.fields["detail"]
            raise DeviceError(f"{self._channel.link.name}: refused {name}: {error}, detail {detail}", _meaning(error))

    def _take_up_again(self, transfer: _Transfer, received: int) -> None:
        """Goes back to byte `received` of the transfer, and to the start where the device may have forgotten it."""
        self._channel.retries += 1
        self._clean_answers = 0
        self._piece_bytes = max(self._piece_bytes // 2, min(SMALLEST_PIECE_BYTES, self._largest_piece_bytes))
        transfer.attempts += 1
        if transfer.attempts > MOST_ATTEMPTS:
            message = f"{self._channel.link.name}: a sample did not get across in {MOST_ATTEMPTS} attempts"
            raise DeviceError(message, "use a shorter or better cable, or a lower baud rate")
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
