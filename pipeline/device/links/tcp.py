"""A TCP socket: an emulator's serial port, or a serial-to-network bridge."""

from __future__ import annotations

import math
import select
import socket

from pipeline.config.board import Board
from pipeline.core.errors import ConfigError, DeviceError
from pipeline.device.links import Link

READ_BYTES = 65536
CONNECT_TIMEOUT_S = 5.0
WRITE_TIMEOUT_S = 10.0
_HINT = "see whether the emulator or bridge still runs, then run again"


def open_link(board: Board, place: str) -> Link:
    """The link to `place`, "HOST:PORT". DeviceError when nothing listens there."""
    host, _, port = place.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f"tcp place {place!r}: must be HOST:PORT, for example 127.0.0.1:5555")
    try:
        stream = socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S)
    except (OSError, UnicodeError) as error:
        raise DeviceError(
            f"{board.name}: nothing answers at tcp {place}: {error}", "start the emulator or bridge, then try again"
        ) from error
    stream.setblocking(False)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _Socket(stream, f"tcp {place}")


class _Socket:
    """A Link on a connected socket. An emulated UART sends every byte in a packet of its own: only the kernel can wait
    for several without waking this program, and the emulator's CPU, for each (SO_RCVLOWAT)."""

    def __init__(self, stream: socket.socket, name: str) -> None:
        self.name = name
        self._stream = stream
        self._least = 1
        self._arrival, self._room = select.poll(), select.poll()
        self._arrival.register(stream, select.POLLIN)
        self._room.register(stream, select.POLLOUT)

    def read(self, timeout_s: float, least: int = 1) -> bytes:
        try:
            self._await(timeout_s, least)
            data = self._stream.recv(READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise DeviceError(f"{self.name} went away while reading: {error}", _HINT) from error
        if not data:
            raise DeviceError(f"{self.name} went away while reading: closed at the other end", _HINT)
        return data

    def _await(self, timeout_s: float, least: int) -> None:
        """Returns once so many bytes are there, the stream has ended or the time is over."""
        if least != self._least:
            self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, least)
            self._least = least
        self._arrival.poll(math.ceil(1000 * timeout_s))

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._stream.send(rest) :]
            except BlockingIOError as error:
                if not self._room.poll(1000 * WRITE_TIMEOUT_S):
                    raise DeviceError(f"{self.name} took no data for {WRITE_TIMEOUT_S:g} s", _HINT) from error
            except OSError as error:
                raise DeviceError(f"{self.name} went away while writing: {error}", _HINT) from error

    def close(self) -> None:
        self._stream.close()
