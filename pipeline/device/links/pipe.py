"""A child process: its standard input and output are the wire."""

from __future__ import annotations

import os
import select
import tempfile
from pathlib import Path

from pipeline.config.board import Board
from pipeline.core.errors import DeviceError
from pipeline.core.shell import Process
from pipeline.device.links import Link

READ_BYTES = 65536
WRITE_TIMEOUT_S = 10.0


def open_link(board: Board, place: str) -> Link:
    """The link to a fresh process of the program `place`; closing the link ends the process."""
    if not os.access(place, os.X_OK):
        raise DeviceError(f"{place}: not a program that can be run", f"`tritmcu build --board {board.name}`")
    return _Pipe(place)


class _Pipe:
    def __init__(self, program: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tritmcu-pipe-")
        self._process = Process([program], log=Path(self._folder.name) / "stderr", pipes=True)
        self._open = True
        self.name = f"process {self._process.pid} ({Path(program).name})"

    def read(self, timeout_s: float, least: int = 1) -> bytes:
        ready, _, _ = select.select([self._process.stdout], [], [], timeout_s)
        if not ready:
            return b""
        data = os.read(self._process.stdout, READ_BYTES)
        if not data:
            raise self._ended()
        return data

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            _, ready, _ = select.select([], [self._process.stdin], [], WRITE_TIMEOUT_S)
            if not ready:
                raise DeviceError(f"{self.name} took no data for {WRITE_TIMEOUT_S:g} s", "run again")
            try:
                # At most PIPE_BUF bytes never block once select has called the pipe writable.
                rest = rest[os.write(self._process.stdin, rest[: select.PIPE_BUF]) :]
            except BrokenPipeError as error:
                raise self._ended() from error

    def close(self) -> None:
        if self._open:
            self._open = False
            self._process.close()
            self._folder.cleanup()

    def _ended(self) -> DeviceError:
        code = self._process.wait(timeout_s=1.0)
        state = "closed its output" if code is None else f"ended with exit code {code}"
        last = self._process.log_tail()
        return DeviceError(f"{self.name} {state}{': ' if last else ''}{last}", "run again")
