"""A USB cable pulled from a board that keeps its power: the port vanishes and comes back, the board runs on."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import tty
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.board import Board
from pipeline.core import registry
from pipeline.core.errors import DeviceError
from pipeline.device import connection
from pipeline.network import twin
from pipeline.stages import stream
from tests.emulated.line import connect, pump
from tests.emulated.test_stream import dataset

pytestmark = [pytest.mark.toolchain, pytest.mark.emulator]
SAMPLES = 60
PULL_AT = 20
IN_FLIGHT = 2
"""Answers that may already be on this side of the cable when it is pulled."""


class Cable:
    """Between the serial line of a running board, "HOST:PORT", and a port of this machine at `path`."""

    def __init__(self, line: str, path: Path) -> None:
        self._line = connect(line)
        self._path = path
        self._ends: tuple[int, int] | None = None
        self._thread = threading.Thread()

    def plug(self) -> None:
        """The port appears."""
        master, slave = self._ends = os.openpty()
        tty.setraw(slave)
        self._wake, self._waker = os.pipe()
        self._thread = threading.Thread(target=pump, args=(master, self._line, self._wake))
        self._thread.start()
        self._path.symlink_to(os.ttyname(slave))

    def pull(self) -> None:
        """The port vanishes, under whoever has it open; what was under way is lost. Safe to call twice."""
        if self._ends is None:
            return
        os.write(self._waker, b"x")
        self._thread.join()
        self._path.unlink()
        for end in (*self._ends, self._wake, self._waker):
            os.close(end)
        self._ends = None

    def close(self) -> None:
        self.pull()
        self._line.close()


@pytest.fixture
def emulated(firmware):
    return firmware("netduinoplus2")


@pytest.fixture
def cable(emulated, tmp_path: Path) -> Iterator[Cable]:
    """A running board, plugged in at tmp_path/port."""
    with (
        registry.load("runners", "qemu").attach(emulated.board, emulated.folder) as line,
        contextlib.closing(Cable(line, tmp_path / "port")) as cable,
    ):
        cable.plug()
        yield cable


def on_a_port(board: Board) -> Board:
    return board.model_copy(update={"link": board.link.model_copy(update={"kind": "serial"})})


def test_a_pulled_cable_is_waited_for(emulated, cable: Cable, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(stream, "SHOW_EVERY_S", 0.0)
    e, data, timers = emulated, dataset(emulated.qmodel, SAMPLES), []

    def pull_once(what: str, done: int, total: int, info: str = "") -> None:
        if done == PULL_AT and not timers:
            cable.pull()
            timers.append(threading.Timer(0.8, cable.plug))
            timers[0].start()

    place = str(tmp_path / "port")
    trace = stream.stream(
        e.qmodel, [data], e.image, e.folder, on_a_port(e.board), tmp_path, place=place, progress=pull_once
    )
    stream.check(trace, tmp_path)
    assert trace.link.reconnects >= 1
    assert np.array_equal(trace.datasets[0].logits, twin.run(e.qmodel, data.splits["test"].x))


def test_a_run_goes_on_at_the_sample_where_the_cable_was_pulled(
    emulated, cable: Cable, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(stream, "SHOW_EVERY_S", 0.0)
    monkeypatch.setattr(connection, "RECONNECT_PAUSES_S", (0.1, 0.1))
    e, data, seen = emulated, dataset(emulated.qmodel, SAMPLES), []
    arguments = (e.qmodel, [data], e.image, e.folder, on_a_port(e.board), tmp_path)
    place = str(tmp_path / "port")

    def pull(what: str, done: int, total: int, info: str = "") -> None:
        if done == PULL_AT:
            cable.pull()

    with pytest.raises(DeviceError, match=rf"\d+ of {SAMPLES} answers are kept") as error:
        stream.stream(*arguments, place=place, progress=pull)
    kept = int(re.findall(rf"(\d+) of {SAMPLES}", str(error.value))[0])
    assert PULL_AT <= kept <= PULL_AT + IN_FLIGHT
    cable.plug()
    trace = stream.stream(*arguments, place=place, progress=lambda what, done, *_: seen.append(done))
    assert min(seen) == kept + 1
    assert np.array_equal(trace.datasets[0].logits, twin.run(e.qmodel, data.splits["test"].x))
