"""A TCP socket: an emulator's serial port, or a serial-to-network bridge."""

from __future__ import annotations

import serial

from pipeline.config.board import Board
from pipeline.core.errors import ConfigError, DeviceError
from pipeline.device.links import Link
from pipeline.device.links._pyserial import WRITE_TIMEOUT_S, PyserialLink


def open_link(board: Board, place: str) -> Link:
    """The link to `place`, "HOST:PORT". DeviceError when nothing listens there."""
    host, _, port = place.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f"tcp place {place!r}: must be HOST:PORT, for example 127.0.0.1:5555")
    try:
        stream = serial.serial_for_url(f"socket://{place}", timeout=0, write_timeout=WRITE_TIMEOUT_S)
    except serial.SerialException as error:
        raise DeviceError(
            f"{board.name}: nothing answers at tcp {place}: {error}", "start the emulator or bridge, then try again"
        ) from error
    return PyserialLink(stream, f"tcp {place}", "see whether the emulator or bridge still runs, then run again")
