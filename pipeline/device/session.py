"""A conversation with one device: who it is, samples in and results out, tensors, statistics; over any link."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.config.board import Board
from pipeline.core import registry
from pipeline.core.errors import ConfigError, DeviceError
from pipeline.core.nouns import DeviceInfo, Int8Array, LinkStats, QModel
from pipeline.device import runners
from pipeline.device.channel import LOST, TIMEOUT, Answer, Channel, DeviceFaultError, Inbox
from pipeline.device.links import Link
from pipeline.device.transfer import RESTARTS_HINT, NoResultError, Uploader
from pipeline.protocol import wire

__all__ = [
    "DeviceFaultError",
    "IdentityError",
    "NoResultError",
    "RefusedError",
    "Result",
    "Session",
    "check_identity",
    "check_sizes",
    "connect",
    "open_link",
]

HELLO_TIMEOUT_S = 10.0
SILENCE_S = 30.0
SAMPLE_S = 300.0
"""Within this time a sample gives its result, however often it is sent."""
MOST_RERUNS = 20
"""Times a sample is run again because its output, fetched in pieces, was not there to the end."""
_FIXED_REPLY_BYTES = 8
"""Fixed fields of a RUN or TENSOR reply."""
WRONG_FIRMWARE = "flash the board with the firmware this version builds"


class IdentityError(DeviceError):
    """The device that answers is another board, or runs other firmware."""


class RefusedError(DeviceError):
    """The device answered with an ERROR. code: its name; detail: its number."""

    def __init__(self, message: str, hint: str, code: str, detail: int) -> None:
        super().__init__(message, hint)
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class Result:
    """What one run of the network, or of its first layers, gave."""

    output: Int8Array
    """(elements,) output of the last layer that ran."""
    ticks: int
    """Of the whole run."""
    layer_ticks: NDArray[np.uint32]
    """(layers run,) ticks of every layer."""


class _Counters(NamedTuple):
    """What a device had counted when it was last asked, and how often it had answered until then."""

    frames: int
    crc_errors: int
    answers: int


class _MalformedError(DeviceError):
    """A reply says what it cannot say."""

    def __init__(self, link: Link, message: str) -> None:
        super().__init__(f"{link.name}: {message}", WRONG_FIRMWARE)


class Session:
    """One device on an open link. `hello` comes first. The counters are those of `link_stats`."""

    def __init__(
        self,
        link: Link,
        *,
        silence_s: float = SILENCE_S,
        sample_s: float = SAMPLE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """silence_s: how long the device may answer nothing; sample_s: how long a sample may take to give its result;
        clock: what both are measured by, seconds."""
        self.link = link
        self._sample_s = sample_s
        self._clock = clock
        self._channel = Channel(link, silence_s=silence_s, clock=clock)
        self._info: DeviceInfo | None = None
        self._uploader: Uploader | None = None
        self._last: _Counters | None = None
        self._resets = self._device_crc_errors = 0

    @property
    def info(self) -> DeviceInfo:
        """What the device said in HELLO."""
        assert self._info is not None, "hello() comes first"
        return self._info

    def link_stats(self) -> LinkStats:
        """Counters since the link was opened; device_crc_errors and resets are those between the calls of `stats`."""
        return replace(self._channel.link_stats(), device_crc_errors=self._device_crc_errors, resets=self._resets)

    def hello(self, timeout_s: float = HELLO_TIMEOUT_S, hint: str = "`tritmcu flash`") -> DeviceInfo:
        """The device's identity. HELLO is repeated until it is answered: bytes that reach a device before its UART is
        enabled are lost. DeviceError, with the hint, when nothing answers within timeout_s, or nothing of this protocol
        does."""
        deadline_s, inbox = self._clock() + timeout_s, Inbox()
        while True:
            self._channel.post("HELLO", inbox, protocol=wire.PROTOCOL)
            answered = [answer for answer in self._channel.collect(inbox) if not answer.error]
            if answered:
                return self._introduce(answered[-1].fields)
            if self._clock() > deadline_s:
                raise self._no_hello(timeout_s, hint)

    def _introduce(self, fields: Mapping[str, Any]) -> DeviceInfo:
        if fields["protocol"] != wire.PROTOCOL:
            message = f"{self.link.name}: speaks protocol {fields['protocol']}, this program {wire.PROTOCOL}"
            raise DeviceError(message, WRONG_FIRMWARE)
        for name, is_right in _plausible(fields).items():
            if not is_right:
                raise _MalformedError(self.link, f"HELLO names {fields[name]!r} as {name}")
        named = {"digest": fields["digest"].hex(), "tick_unit": wire.TICK_UNITS[fields["tick_unit"]]}
        self._info = info = DeviceInfo(**{**fields, **named})
        self._channel.credit = info.rx_buffer_bytes
        self._uploader = Uploader(self._channel, self._largest_piece(info), info.base_bytes, sample_s=self._sample_s)
        return info

    def _largest_piece(self, info: DeviceInfo) -> int:
        """Most sample bytes of one INPUT: what the largest frame holds, and what the credit lets through."""
        fixed = wire.fixed_bytes("INPUT")
        piece = info.max_payload - fixed
        while piece > 0 and wire.wire_size(fixed + piece) > info.rx_buffer_bytes:
            piece -= 1
        if piece < 1:
            message = f"{self.link.name}: HELLO names {info.max_payload} bytes as largest payload and "
            message += f"{info.rx_buffer_bytes} as receive buffer: too small for one INPUT"
            raise DeviceError(message, "correct the board's [link] and flash it again")
        return piece

    def _no_hello(self, timeout_s: float, hint: str) -> DeviceError:
        counters = self.link_stats()
        heard = (
            f"{counters.bytes_received} bytes came that are no answer: other firmware or another baud rate"
            if counters.bytes_received
            else "nothing came back: not powered, not flashed, or another port"
        )
        return DeviceError(f"{self.link.name}: no answer to HELLO within {timeout_s:g} s; {heard}", hint)

    def call(self, name: str, tail: bytes = b"", **values: Any) -> tuple[Mapping[str, Any], bytes]:
        """(fields, tail) of the reply to one request, repeated until it is answered; the answer to any repetition will
        do, however late it is. RefusedError on an ERROR."""
        inbox = Inbox()
        while True:
            self._channel.wait_for_room(wire.fixed_bytes(name) + len(tail))
            self._channel.post(name, inbox, tail, **values)
            answered = [answer for answer in self._channel.collect(inbox) if answer.error not in (LOST, TIMEOUT)]
            if answered:
                return self._accepted(answered[0])
            self._channel.count_retry()

    def _accepted(self, answer: Answer) -> tuple[Mapping[str, Any], bytes]:
        if answer.error:
            detail = answer.fields["detail"]
            docs = {name: doc for name, _, doc in wire.ERRORS}
            message = f"{self.link.name}: refused {answer.request.name}: {answer.error}, detail {detail}"
            raise RefusedError(message, docs.get(answer.error, ""), answer.error, detail)
        return answer.fields, answer.tail

    def echo(self, data: bytes) -> bytes:
        """The same bytes, from the device. At most max_payload of them."""
        echoed = self.call("ECHO", data)[1]
        if echoed != data:
            raise _MalformedError(self.link, f"ECHO of {len(data)} bytes came back as {len(echoed)} others")
        return echoed

    def stats(self) -> dict[str, int]:
        """The device's own measurements since reset: the fields of STATS. `link_stats` counts from one call to the
        next, and a restart in between."""
        fields = dict(self.call("STATS")[0])
        if fields["canaries_ok"] > 1 or fields["arena_touched"] > self.info.arena_bytes:
            told = f"{fields['arena_touched']} of {self.info.arena_bytes} arena bytes touched"
            raise _MalformedError(self.link, f"STATS with canaries_ok {fields['canaries_ok']}, {told}")
        self._compare(fields["frames"], fields["crc_errors"])
        return fields

    def _compare(self, frames: int, crc_errors: int) -> None:
        """Takes note of the device's counters. They start anew with the device: one that has restarted has seen fewer
        frames than it has answered since the last time."""
        answers, last = self._channel.answers, self._last
        if last is not None:
            restarted = frames < last.frames + answers - last.answers or crc_errors < last.crc_errors
            self._resets += restarted
            self._device_crc_errors += crc_errors - (0 if restarted else last.crc_errors)
        self._last = _Counters(frames, crc_errors, answers)

    def reset(self) -> None:
        """Restarts the device; `hello` comes next. Whether its answer arrives before it restarts is its own affair."""
        inbox = Inbox()
        self._channel.post("RESET", inbox)
        self._channel.collect(inbox)
        self._info = self._last = None

    def tensor(self, layer: int, size_bytes: int) -> Int8Array:
        """int8 (size_bytes,): output of `layer` (from 0), read from the arena after a run that ended with it."""
        return np.frombuffer(self._tensor_bytes(layer, 0, size_bytes), np.int8)

    def has_output(self, layer: int) -> bool:
        """Whether the output of `layer` (from 0) is in the arena as a whole; inside a cascade none is."""
        _, tail = self.call("TENSOR", layer=layer, length=1, offset=0)
        return bool(tail)

    def _tensor_bytes(self, layer: int, start: int, end: int) -> bytes:
        most = self.info.max_payload - _FIXED_REPLY_BYTES
        data = bytearray()
        while (offset := start + len(data)) < end:
            length = min(end - offset, most)
            fields, tail = self.call("TENSOR", layer=layer, length=length, offset=offset)
            told = {"layer": layer, "offset": offset, "length": len(tail)}
            if fields != told or len(tail) > length:
                message = (
                    f"TENSOR {layer} from byte {offset}, {length} wanted: {len(tail)} bytes, told as {dict(fields)}"
                )
                raise _MalformedError(self.link, message)
            if not tail:
                raise _MalformedError(self.link, f"TENSOR {layer} ends at byte {offset}, {end} expected")
            data += tail
        return bytes(data)

    def run_sample(self, x: bytes, *, layers: int = wire.ALL_LAYERS, output_bytes: int | None = None) -> Result:
        """Result of one sample, its int8 elements as bytes. layers: stop after so many; output_bytes: size of the last
        one's output, by default the model's."""
        return next(self.run((x,), layers=layers, output_bytes=output_bytes))

    def run(
        self, samples: Iterable[bytes], *, layers: int = wire.ALL_LAYERS, output_bytes: int | None = None
    ) -> Iterator[Result]:
        """Yields the Result of every sample, in order; the next ones are on their way meanwhile. See `run_sample`."""
        return self.run_groups(((sample,) for sample in samples), layers=layers, output_bytes=output_bytes)

    def run_groups(
        self,
        groups: Iterable[Sequence[bytes]],
        *,
        layers: int = wire.ALL_LAYERS,
        output_bytes: int | None = None,
        quiet: int = 0,
    ) -> Iterator[Result]:
        """Yields the Result of every sample of every group, in order. Samples of a group are near the first of it, and
        travel as differences to that one where the device keeps a base. While the first sample of the first `quiet`
        groups runs, nothing is sent. A NoResultError tells why the device was last reset. See `run`."""
        try:
            yield from self._results(groups, layers, output_bytes, quiet)
        except NoResultError as error:
            raise self._with_reset_cause(error) from error

    def _with_reset_cause(self, error: NoResultError) -> NoResultError:
        """The same error, with what the device says of its last reset."""
        try:
            cause = self.stats()["reset_cause"]
        except DeviceError:
            return error
        told = f"; flags of its last reset: {cause:#x}" if cause else ""
        return NoResultError(f"{error}{told}", error.hint, cause)

    def _results(
        self, groups: Iterable[Sequence[bytes]], layers: int, output_bytes: int | None, quiet: int
    ) -> Iterator[Result]:
        assert self._uploader is not None, "hello() comes first"
        ran = min(layers, self.info.layers)
        size = self.info.output_bytes if output_bytes is None else output_bytes
        whole = _FIXED_REPLY_BYTES + size + 4 * ran <= self.info.max_payload
        result_bytes = size + 4 * ran if whole else None
        for sample, answer in self._uploader.run(groups, layers, result_bytes=result_bytes, quiet=quiet):
            yield self._result(answer, ran, size) if whole else self._result_in_pieces(sample, answer, layers, size)

    def _result_in_pieces(self, sample: bytes, answer: Answer, layers: int, size: int) -> Result:
        """The result of a sample, from its RUN answer and from what TENSOR and TICKS bring of the rest. They name no
        ticket: so RUN is repeated once all is there, which only a device answers that is still at this sample. One
        that is not gets the sample again."""
        assert self._uploader is not None, "hello() comes first"
        ran = min(layers, self.info.layers)
        for _ in range(MOST_RERUNS):
            result, problem = None, None
            try:
                result = self._result(answer, ran, size)
            except (_MalformedError, RefusedError) as error:
                problem = error
            if self._is_still_at(answer, layers):
                if result is not None:
                    return result
                assert problem is not None
                raise problem
            self._channel.count_retry()
            _, answer = next(self._uploader.run(((sample,),), layers, result_bytes=None))
        message = f"{self.link.name}: the device lost the output of a sample {MOST_RERUNS} times while it was fetched"
        raise NoResultError(message, RESTARTS_HINT)

    def _is_still_at(self, answer: Answer, layers: int) -> bool:
        """Whether the device repeats this RUN answer."""
        try:
            again = self.call("RUN", ticket=answer.fields["ticket"], layers=layers, keep=0)
        except RefusedError:
            return False
        return again == (answer.fields, answer.tail)

    def _result(self, answer: Answer, layers: int, size: int) -> Result:
        """The result in a RUN answer, and from TENSOR and TICKS what its frame had no room for."""
        output, ticks = answer.tail[:size], answer.tail[size:]
        if len(ticks) > 4 * layers or len(ticks) % 4:
            told = f"RUN of {layers} layers with {size} bytes of output answered with {len(answer.tail)} bytes"
            raise _MalformedError(self.link, told)
        if len(output) < size:
            output += self._tensor_bytes(layers - 1, len(output), size)
        while len(ticks) < 4 * layers:
            ticks += self._ticks_bytes(len(ticks) // 4, layers)
        layer_ticks = np.frombuffer(ticks, "<u4")
        total = int(layer_ticks.sum(dtype=np.uint32))
        if total != answer.fields["ticks"]:
            raise _MalformedError(self.link, f"RUN took {answer.fields['ticks']} ticks, its layers {total}")
        return Result(np.frombuffer(output, np.int8), total, layer_ticks)

    def _ticks_bytes(self, first: int, layers: int) -> bytes:
        fields, tail = self.call("TICKS", first=first)
        if fields["first"] != first or not 4 <= len(tail) <= 4 * (layers - first) or len(tail) % 4:
            told = f"{len(tail)} bytes from layer {fields['first']}"
            raise _MalformedError(self.link, f"TICKS of {layers} layers from layer {first}: {told}")
        return tail


def _plausible(fields: Mapping[str, Any]) -> dict[str, bool]:
    """Whether each field of HELLO says what a device can say; what has no bounds is not among them."""
    counts_instructions = fields["tick_unit"] == wire.TICK_UNITS.index("instructions")
    return {
        "tick_unit": fields["tick_unit"] < len(wire.TICK_UNITS),
        "tick_hz": (fields["tick_hz"] == 0) == counts_instructions,
        "max_payload": fields["max_payload"] >= wire.fixed_reply_bytes("HELLO"),
        "layers": 0 < fields["layers"] < wire.ALL_LAYERS,
        "input_bytes": 0 < fields["input_bytes"] <= fields["arena_bytes"],
        "output_bytes": 0 < fields["output_bytes"] <= fields["arena_bytes"],
        "base_bytes": fields["base_bytes"] in (0, fields["input_bytes"]),
    }


def check_identity(info: DeviceInfo, digest: str, board: Board) -> None:
    """IdentityError unless the device is this board with the firmware of this digest; it names both."""
    if info.board != board.name:
        message = f"the device says it is board {info.board!r}, not {board.name!r}"
        raise IdentityError(message, f"name the port of the other board, or use --board {info.board}")
    if info.digest != digest:
        message = f"board {board.name!r} runs firmware {info.digest}, not the expected {digest}"
        raise IdentityError(message, f"`tritmcu flash --board {board.name}`")


def check_sizes(info: DeviceInfo, qmodel: QModel) -> None:
    """ConfigError unless the device's network has the sizes of this one."""
    told = (info.input_bytes, info.output_bytes, info.layers)
    expected = (qmodel.input.size_bytes, qmodel.output.size_bytes, len(qmodel.layers))
    if told != expected:
        message = f"the device's model has (input bytes, output bytes, layers) {told}, the network {expected}"
        raise ConfigError(message, "render, build and flash this network first")


@contextmanager
def connect(board: Board, folder: Path, place: str | None = None) -> Iterator[Session]:
    """A Session with the board; an emulated board runs the firmware in `folder` as long as the block. place: the port
    of a real one. HELLO has not been said. ToolError or DeviceError when there is no way to it."""
    # A board at a place is there already, whatever has flashed it; without one it is the runner that knows.
    attach = registry.load("runners", board.runner).attach if place is None else runners.already_running
    with attach(board, folder, place) as found, closing(open_link(board, found)) as link:
        yield Session(link)


def open_link(board: Board, place: str) -> Link:
    """The link to the board at `place`. Its kind is the board's, unless the place says otherwise: a board with a serial
    port may be emulated at HOST:PORT, and an emulated one may exist in silicon, at a port."""
    kind = board.link.kind
    if re.fullmatch(r"[^/]+:\d+", place):
        kind = "tcp"
    elif kind == "tcp" and place.startswith("/"):
        kind = "serial"
    link: Link = registry.load("links", kind).open_link(board, place)
    return link
