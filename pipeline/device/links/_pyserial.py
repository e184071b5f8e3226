"""The link that serial and tcp share: both are pyserial objects with a file descriptor."""

from __future__ import annotations

import select

import serial

from pipeline.core.errors import DeviceError

READ_BYTES = 65536
WRITE_TIMEOUT_S = 10.0


class PyserialLink:
    """A Link on an open pyserial port whose own read timeout is 0: waiting is done by select, which costs no port
    reconfiguration per call. `gone`: the hint for a stream that ended."""

    def __init__(self, port: serial.SerialBase, name: str, gone: str) -> None:
        self.name = name
        self._port = port
        self._gone = gone

    def read(self, timeout_s: float) -> bytes:
        try:
            ready, _, _ = select.select([self._port.fileno()], [], [], timeout_s)
            return bytes(self._port.read(READ_BYTES)) if ready else b""
        except (serial.SerialException, OSError) as error:
            raise DeviceError(f"{self.name} went away while reading: {error}", self._gone) from error

    def write(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except serial.SerialTimeoutException as error:
            message = f"{self.name} took no data for {WRITE_TIMEOUT_S:g} s"
            raise DeviceError(message, "reset the board or unplug it and plug it in again") from error
        except (serial.SerialException, OSError) as error:
            raise DeviceError(f"{self.name} went away while writing: {error}", self._gone) from error

    def close(self) -> None:
        self._port.close()
