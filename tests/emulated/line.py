"""Bytes between a pseudo terminal and an emulator's serial line."""

from __future__ import annotations

import os
import select
import socket


def connect(place: str) -> socket.socket:
    """A connection to "HOST:PORT"."""
    host, _, port = place.rpartition(":")
    return socket.create_connection((host, int(port)))


def pump(terminal: int, line: socket.socket, stop: int) -> None:
    """Passes bytes both ways until the descriptor `stop` has something to read."""
    while True:
        ready, _, _ = select.select([terminal, line, stop], [], [])
        if stop in ready:
            return
        if terminal in ready:
            line.sendall(os.read(terminal, 4096))
        if line in ready:
            os.write(terminal, line.recv(4096))
