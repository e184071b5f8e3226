"""The device as the oracle: boards answer the queries of a black-box attack. What a device has answered once it is not
asked again, and every answer is held against the twin's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from pipeline.core.errors import DeviceError
from pipeline.core.nouns import DeviceAnswers, Int8Array, QModel
from pipeline.device.session import Result
from pipeline.network.twin import Twin
from pipeline.robustness.answers import Answers, digest_of_input

AT_ONCE = 64
"""Samples that are handed to a device together."""


class Device(Protocol):
    """Who answers: device.connection.Connection."""

    def ask(self, samples: Sequence[bytes], take: Callable[[Result], None]) -> None:
        """Calls `take` with the Result of every sample, in order."""
        ...

    def close(self) -> None:
        """Ends the connection. Safe to call twice."""
        ...


class DeviceOracle:
    """An Oracle of devices that all run `model`: each is asked through its own shard, by one thread at a time.

    A DeviceError of one of them ends all the others' work, and tells how to go on; close() ends the connections.
    """

    def __init__(self, model: QModel, devices: Sequence[Device], answers: Answers) -> None:
        self.model, self.input, self.classes = model, model.input, len(model.classes)
        self.logit_scale = model.output.quantization.scale
        self._devices, self._answers, self._state = tuple(devices), answers, _State()
        self.shards = tuple(_Shard(model, device, answers, self._state) for device in self._devices)
        """An Oracle for each device."""

    def logits(self, x: Int8Array) -> Int8Array:
        """int8 (n, classes): every device answers its share at the same time."""
        answers, n = np.empty((len(x), self.classes), np.int8), len(self.shards)

        def ask(number: int) -> None:
            answers[number::n] = self.shards[number].logits(x[number::n])

        with ThreadPoolExecutor(n) as pool:
            list(pool.map(ask, range(n)))
        return answers

    def summary(self, board: str, digest: str) -> DeviceAnswers:
        """What the devices have answered so far. board, digest: theirs, and of their firmware."""
        asked = [self._answers[each] for each in set().union(*(shard.asked for shard in self.shards))]
        return DeviceAnswers(
            board=board,
            digest=digest,
            devices=len(self._devices),
            answers=len(asked),
            reused=sum(answer.is_reused for answer in asked),
            differing=sum(answer.logits != answer.twin for answer in asked),
        )

    @property
    def differing(self) -> tuple[tuple[Int8Array, Int8Array], ...]:
        """(input, logits of the device) of all that were not answered as by the twin, in the order of their digests."""
        return tuple(found for _, found in sorted(self._state.differing.items()))

    def close(self) -> None:
        """Ends all connections and closes the file of answers."""
        for device in self._devices:
            device.close()
        self._answers.close()


@dataclass
class _State:
    """What the shards of one oracle share."""

    lost: DeviceError | None = None
    """Why one of the devices gave up."""
    differing: dict[bytes, tuple[Int8Array, Int8Array]] = field(default_factory=dict)
    """Inputs and the device's logits, by digest, where the twin's are others."""


class _Shard:
    """One device as an Oracle."""

    def __init__(self, model: QModel, device: Device, answers: Answers, state: _State) -> None:
        self.input, self.classes = model.input, len(model.classes)
        self.logit_scale = model.output.quantization.scale
        self.asked: set[bytes] = set()
        """Digests of the inputs that it was asked about, or would have been."""
        self._device, self._answers, self._state = device, answers, state
        self._twin = Twin(model)

    def logits(self, x: Int8Array) -> Int8Array:
        """int8 (n, classes): answered before, or now by the device."""
        digests = [digest_of_input(sample) for sample in x]
        self.asked.update(digests)
        unknown = {digest: row for row, digest in enumerate(digests) if digest not in self._answers}
        for start in range(0, len(unknown), AT_ONCE):
            part = list(unknown)[start : start + AT_ONCE]
            self._ask(part, x[[unknown[digest] for digest in part]])
        self._note_differing(digests, x)
        found = b"".join(self._answers[digest].logits for digest in digests)
        return np.frombuffer(found, np.int8).reshape(len(x), self.classes)

    def _note_differing(self, digests: Sequence[bytes], x: Int8Array) -> None:
        """Also of answers that an earlier run has kept: the file holds no inputs, the same attack asks again."""
        for digest, sample in zip(digests, x, strict=True):
            answer = self._answers[digest]
            if answer.logits != answer.twin:
                self._state.differing[digest] = sample.copy(), np.frombuffer(answer.logits, np.int8)

    def _ask(self, digests: Sequence[bytes], x: Int8Array) -> None:
        if self._state.lost:
            raise self._state.lost
        waiting = zip(digests, self._twin.run(x).reshape(len(x), -1), strict=True)

        def take(result: Result) -> None:
            digest, expected = next(waiting)
            self._answers.add(digest, result.output, expected)

        try:
            self._device.ask([sample.tobytes() for sample in x], take)
        except DeviceError as error:
            self._state.lost = self._given_up(error)
            raise self._state.lost from error

    def _given_up(self, error: DeviceError) -> DeviceError:
        """The error, with what is kept for the next time."""
        if not len(self._answers):
            return DeviceError(str(error), error.hint)
        kept = f"({len(self._answers)} answers are kept in {self._answers.path})"
        return DeviceError(f"{error} {kept}", f"{error.hint}; the same command continues from there".removeprefix("; "))
