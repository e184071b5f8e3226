"""Devices of a Ray cluster: each is an actor that holds the connection on whatever machine its board is plugged in. The
only door to Ray.

A node that has real boards names them as resources when it joins: ray start --resources '{"nucleo-f446re": 1}'; its own
rig says where they are. An emulator takes a CPU.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline.config.board import Board
from pipeline.core import registry
from pipeline.core.errors import ConfigError, DeviceError, PipelineError, ToolError
from pipeline.core.nouns import Image, QModel
from pipeline.device import rig
from pipeline.device.connection import Connection
from pipeline.device.session import Result

LOCAL = "local"
"""Instead of an address: a cluster of this machine alone, started for the purpose."""
FIRMWARE = ("firmware.elf", "firmware.bin", "firmware.hex")
"""Files of an image that runners take."""
CONNECT_TIMEOUT_S = 10.0


@contextmanager
def devices(
    address: str, model: QModel, image: Image, image_folder: Path, board: Board, count: int
) -> Iterator[tuple[RemoteDevice, ...]]:
    """`count` boards of the cluster at `address`, "HOST:PORT" or LOCAL, that run `image` of `model`, as long as the
    block. DeviceError: no cluster there, or fewer boards in it than wanted; ToolError without Ray."""
    try:
        import ray
    except ImportError as error:
        raise ToolError("--cluster needs the package ray", "pip install 'tritmcu[cluster]'") from error
    emulated = registry.load("runners", board.runner).EMULATOR
    with _joined(ray, address, {} if emulated else {board.name: count}, count):
        _check_resources(ray, address, board, count, "CPU" if emulated else board.name)
        resources: dict[str, Any] = {"num_cpus": 1} if emulated else {"num_cpus": 0, "resources": {board.name: 1}}
        files = {name: (image_folder / name).read_bytes() for name in FIRMWARE if (image_folder / name).exists()}
        host = ray.remote(**resources)(_Host)
        yield tuple(RemoteDevice(ray, host.remote(model, image, files, board)) for _ in range(count))


@contextmanager
def _joined(ray: Any, address: str, resources: dict[str, int], count: int) -> Iterator[None]:
    """This process is part of the cluster as long as the block."""
    own: dict[str, Any] = {}
    if address == LOCAL:
        cpus = max(count, os.cpu_count() or 1)
        own = {"num_cpus": cpus, "resources": resources, "include_dashboard": False}
    else:
        _check_reachable(address)
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False, **own)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise _not_there(address, error) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """DeviceError unless something listens at "HOST:PORT": Ray itself would try for a minute, and end this process."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f"--cluster {address}: must be HOST:PORT, for example 10.0.0.5:6379", "ray status tells it")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise _not_there(address, error) from error


def _not_there(address: str, error: Exception) -> DeviceError:
    why = " ".join(str(error).split())[:200]
    return DeviceError(f"--cluster {address}: no cluster there ({why})", "ray start --head, or leave out ADDRESS")


def _check_resources(ray: Any, address: str, board: Board, count: int, needed: str) -> None:
    there = int(ray.cluster_resources().get(needed, 0))
    if there < count:
        what = f"board {board.name!r}: {count} devices wanted, cluster {address} has {there}"
        told = f"{what} CPUs for emulators" if needed == "CPU" else f"{what} of them"
        raise DeviceError(told, f"--devices {there}" if there else f"ray start --resources '{{\"{needed}\": 1}}'")


class RemoteDevice:
    """A board of a cluster."""

    def __init__(self, ray: Any, host: Any) -> None:
        self._ray, self._host = ray, host

    def ask(self, samples: Sequence[bytes], take: Callable[[Result], None]) -> None:
        """Calls `take` with the Result of every sample, in order. DeviceError: the board or its machine is gone; what
        was taken before is right."""
        try:
            results, failure = self._ray.get(self._host.ask.remote(list(samples)))
        except self._ray.exceptions.RayError as error:
            why = " ".join(str(error).split())[:200]
            raise DeviceError(f"a machine of the cluster is gone ({why})", "ray status shows the cluster") from error
        for result in results:
            take(result)
        if failure is not None:
            raise DeviceError(*failure)

    def close(self) -> None:
        """Ends the connection. Safe to call twice."""
        with suppress(self._ray.exceptions.RayError):
            self._ray.get(self._host.close.remote())


class _Host:
    """The actor on the machine of a board."""

    def __init__(self, model: QModel, image: Image, files: dict[str, bytes], board: Board) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="tritmcu-cluster-")
        folder = Path(self._scratch.name)
        for name, content in files.items():
            (folder / name).write_bytes(content)
            (folder / name).chmod(0o755)  # that of the host board is run as it is
        self._model, self._image, self._folder, self._board = model, image, folder, board
        self._connection: Connection | None = None

    def ask(self, samples: list[bytes]) -> tuple[list[Result], tuple[str, str] | None]:
        """(results, in order; the message and hint of what ended them early)."""
        results: list[Result] = []
        try:
            self._connect().ask(samples, results.append)
        except PipelineError as error:
            return results, (str(error), error.hint)
        return results, None

    def close(self) -> None:
        """Ends the connection, and its emulator. Safe to call twice."""
        if self._connection is not None:
            self._connection.close()
        self._scratch.cleanup()

    def _connect(self) -> Connection:
        """The connection to the board; where it is, the rig of this machine knows."""
        if self._connection is None:
            place = rig.find(self._board).port_now()
            self._connection = Connection(self._model, self._image, self._folder, self._board, place)
        return self._connection
