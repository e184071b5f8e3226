"""Devices of a cluster: each is an actor that holds the connection on whatever machine its board is plugged in.

A node that has real boards names them as resources when it joins: ray start --resources '{"nucleo-f446re": 1}'; its own
rig says where they are. An emulator takes a CPU.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.config.board import Board
from pipeline.core.cluster import CPU, Actor, Cluster, GoneError, joined
from pipeline.core.errors import DeviceError, PipelineError
from pipeline.core.nouns import Image, QModel
from pipeline.device import rig, runners
from pipeline.device.connection import Connection
from pipeline.device.session import Result

FIRMWARE = ("firmware.elf", "firmware.bin", "firmware.hex", "firmware.uf2")
"""Files of an image that runners take."""


@contextmanager
def devices(
    address: str, model: QModel, image: Image, image_folder: Path, board: Board, count: int
) -> Iterator[tuple[RemoteDevice, ...]]:
    """`count` boards of the cluster at `address`, "HOST:PORT" or "local", that run `image` of `model`, as long as the
    block. DeviceError: no cluster there, or fewer boards in it than wanted; ToolError without Ray."""
    emulated = runners.is_emulated(board)
    with joined(address, cpus=count, resources={} if emulated else {board.name: count}) as found:
        _check_boards(found, board, count, CPU if emulated else board.name)
        files = {name: (image_folder / name).read_bytes() for name in FIRMWARE if (image_folder / name).exists()}
        resources = {} if emulated else {board.name: 1}
        yield tuple(
            RemoteDevice(found.actor(_Host, model, image, files, board, cpus=int(emulated), resources=resources))
            for _ in range(count)
        )


def _check_boards(cluster: Cluster, board: Board, count: int, needed: str) -> None:
    there = cluster.count(needed)
    if there < count:
        what = f"board {board.name!r}: {count} devices wanted, cluster {cluster.address} has {there}"
        told = f"{what} CPUs for emulators" if needed == CPU else f"{what} of them"
        raise DeviceError(told, f"--devices {there}" if there else f"ray start --resources '{{\"{needed}\": 1}}'")


class RemoteDevice:
    """A board of a cluster."""

    def __init__(self, host: Actor) -> None:
        self._host = host

    def ask(self, samples: Sequence[bytes], take: Callable[[Result], None]) -> None:
        """Calls `take` with the Result of every sample, in order. DeviceError: the board or its machine is gone; what
        was taken before is right."""
        results, failure = self._host.call("ask", list(samples))
        for result in results:
            take(result)
        if failure is not None:
            raise DeviceError(*failure)

    def close(self) -> None:
        """Ends the connection. Safe to call twice."""
        with suppress(GoneError):
            self._host.call("close")


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
