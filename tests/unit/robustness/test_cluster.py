"""Boards of a Ray cluster: a local one, with the board of this computer."""

from __future__ import annotations

import socket
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.config import board as boards
from pipeline.core import cluster as door
from pipeline.core.cluster import Actor, Cluster
from pipeline.core.errors import DeviceError, PipelineError, ToolError
from pipeline.device.session import Result
from pipeline.network import twin
from pipeline.robustness import cluster
from pipeline.robustness.cluster import RemoteDevice
from pipeline.stages import attack
from tests.support import tiny


class _RayError(Exception):
    """As ray.exceptions.RayError."""


class _TaskError(_RayError):
    """As ray.exceptions.RayTaskError."""


class _Exceptions:
    RayError, RayTaskError = _RayError, _TaskError


class _Ray:
    """What an Actor takes of Ray: get(call) makes the call."""

    exceptions = _Exceptions

    @staticmethod
    def get(call):
        return call()


class _Method:
    def __init__(self, call):
        self._call = call

    def remote(self, *arguments):
        return lambda: self._call(*arguments)


class _Actor:
    """An actor whose `ask` does as the function."""

    def __init__(self, ask):
        self.ask, self.closed = _Method(ask), 0
        self.close = _Method(self._close)

    def _close(self):
        self.closed += 1
        raise _RayError


RESULT = Result(np.zeros(3, np.int8), 0, np.zeros(0, np.uint32))


def test_what_a_lost_board_has_answered_is_taken_first():
    device, taken = RemoteDevice(Actor(_Ray, _Actor(lambda samples: ([RESULT], ("gone", "plug it in"))))), []
    with pytest.raises(DeviceError, match="gone") as caught:
        device.ask([b"a", b"b"], taken.append)
    assert caught.value.hint == "plug it in"
    assert taken == [RESULT]


def test_a_machine_that_is_gone_is_a_device_error():
    def fail(samples):
        raise _RayError("the actor died\nunexpectedly")

    actor = _Actor(fail)
    device = RemoteDevice(Actor(_Ray, actor))
    with pytest.raises(DeviceError, match=r"gone \(the actor died unexpectedly\)"):
        device.ask([b"a"], lambda result: None)
    device.close()
    assert actor.closed == 1


def test_a_mistake_of_ours_on_another_machine_is_no_lost_machine():
    def fail(samples):
        raise _TaskError("KeyError")

    with pytest.raises(_TaskError):
        RemoteDevice(Actor(_Ray, _Actor(fail))).ask([b"a"], lambda result: None)


def test_without_ray_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ToolError, match="needs the package ray") as caught, door.joined("local"):
        pass
    assert "tritmcu[cluster]" in caught.value.hint


@pytest.mark.parametrize(
    ("address", "told"),
    [("nowhere", "must be HOST:PORT"), ("127.0.0.1:99999", "must be HOST:PORT"), ("127.0.0.1:1", "no cluster there")],
)
def test_an_address_without_a_cluster_is_refused_at_once(address, told):
    with pytest.raises(PipelineError, match=f"--cluster {address}: {told}"), door._joined(_Ray, address, 1, {}):
        pass


def test_a_cluster_that_lets_nobody_in_names_the_token():
    """Ray asks for one by default, does not say that it misses it, and sends it to no address that was given."""

    def init(**_):
        raise RuntimeError("Failed to connect to Ray cluster")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        with (
            pytest.raises(DeviceError, match="cannot be joined") as caught,
            door._joined(SimpleNamespace(init=init), address, 1, {}),
        ):
            pass
    assert "RAY_AUTH_MODE=token" in caught.value.hint


def test_fewer_boards_than_wanted_are_refused_naming_both():
    ray = SimpleNamespace(cluster_resources=lambda: {"CPU": 3.0, "host": 1.0})
    board, joined = boards.load("host"), Cluster(ray, "local")
    cluster._check_boards(joined, board, 3, "CPU")
    with pytest.raises(DeviceError, match="'host': 4 devices wanted, cluster local has 3 CPUs for emulators"):
        cluster._check_boards(joined, board, 4, "CPU")
    with pytest.raises(DeviceError, match="'host': 2 devices wanted, cluster local has 1 of them") as caught:
        cluster._check_boards(joined, board, 2, "host")
    assert caught.value.hint == "--devices 1"


@pytest.mark.toolchain
def test_a_local_cluster_answers_as_the_twin(firmware, tmp_path):
    pytest.importorskip("ray", reason="the extra [cluster] is not installed")
    host = firmware("host")
    x = tiny.samples(host.qmodel, 20)
    setting = (host.qmodel, host.image, host.folder, host.board, [None, None], tmp_path / "answers")
    with attack.devices(*setting, address=door.LOCAL) as oracle:
        assert np.array_equal(oracle.logits(x), twin.run(host.qmodel, x).reshape(20, -1))
        told = oracle.summary("host", host.image.digest)
        assert (told.devices, told.answers, told.differing) == (2, 20, 0)
