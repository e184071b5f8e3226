"""A connection outlives its device: a lost one is connected again, and no sample is asked for twice in vain."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import DeviceError
from pipeline.device import connection
from pipeline.device.connection import Connection, keep_trying
from pipeline.device.session import IdentityError, NoResultError
from pipeline.network import twin
from tests.support import tiny
from tests.unit.stages.test_stream import children_of_this_process


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "RECONNECT_PAUSES_S", (0.0, 0.0, 0.0))


def failing(answers: list[int], *gains: int, error: Exception) -> Callable[[int], list[int]]:
    """An attempt that brings so many answers and fails, one gain a call; then its number of reconnects, as a list."""
    left = list(gains)

    def attempt(reconnects: int) -> list[int]:
        if not left:
            return [reconnects]
        answers.extend([0] * left.pop(0))
        raise error

    return attempt


@pytest.mark.parametrize("gains", [(1,), (1, 0), (1, 0, 0), (5, 0, 0, 2, 0, 0)])
def test_a_device_is_waited_for_as_long_as_it_answers_now_and_then(gains):
    answers: list[int] = []
    assert keep_trying(failing(answers, *gains, error=DeviceError("gone")), lambda: len(answers)) == [len(gains)]


@pytest.mark.parametrize("gains", [(0,), (1, 0, 0, 0)])
def test_a_device_that_never_answered_or_stays_away_is_given_up(gains):
    answers: list[int] = []
    with pytest.raises(DeviceError, match="gone"):
        keep_trying(failing(answers, *gains, error=DeviceError("gone")), lambda: len(answers))


@pytest.mark.parametrize("error", [IdentityError("other firmware"), NoResultError("no result")])
def test_what_a_new_connection_would_not_mend_is_not_tried_again(error):
    answers: list[int] = []
    with pytest.raises(type(error)):
        keep_trying(failing(answers, 3, error=error), lambda: len(answers))
    assert len(answers) == 3


@pytest.mark.toolchain
def test_a_lost_device_answers_the_rest_after_it_is_back(firmware):
    host, taken, killed = firmware("host"), [], []
    x = tiny.samples(host.qmodel, 400)

    def take(result) -> None:
        taken.append(result.output)
        if len(taken) == 20:
            [pid] = children_of_this_process(host.program)
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    with closing(Connection(host.qmodel, host.image, host.folder, host.board)) as device:
        device.ask([sample.tobytes() for sample in x[:10]], take)
        device.ask([sample.tobytes() for sample in x[10:]], take)
        [alive] = children_of_this_process(host.program)
        assert killed != [alive]
    assert np.array_equal(np.stack(taken), twin.run(host.qmodel, x).reshape(400, -1))
    assert children_of_this_process(host.program) == []


@pytest.mark.toolchain
def test_other_firmware_is_refused_before_it_is_asked(firmware, tmp_path: Path):
    host = firmware("host")
    image = replace(host.image, digest="e" * 32)
    with closing(Connection(host.qmodel, image, host.folder, host.board)) as device:
        with pytest.raises(IdentityError, match="e" * 32):
            device.ask([tiny.samples(host.qmodel, 1).tobytes()], lambda result: None)
        assert children_of_this_process(host.program) == []
