"""A serial port of this machine: USB virtual COM port, USB-UART adapter, pseudo terminal."""

from __future__ import annotations

import errno
import os
import select
from pathlib import Path
from typing import NamedTuple

import serial
import serial.tools.list_ports

from pipeline.config.board import Board
from pipeline.core.errors import DeviceError
from pipeline.device.links import Link

READ_BYTES = 65536
WRITE_TIMEOUT_S = 10.0
GONE = "check cable and power"


class Port(NamedTuple):
    """A serial port of this machine."""

    device: str
    """Its name, such as /dev/ttyACM0."""
    usb_id: str
    """ "vendor:product" in lower-case hexadecimal; "" for a port that is no USB device."""
    serial_number: str
    """USB serial number; "" for none."""
    description: str
    """What the device calls itself."""


def ports() -> tuple[Port, ...]:
    """The serial ports of this machine, sorted by name."""
    found = sorted(serial.tools.list_ports.comports(), key=lambda port: str(port.device))
    return tuple(
        Port(
            port.device,
            "" if port.vid is None else f"{port.vid:04x}:{port.pid:04x}",
            port.serial_number or "",
            port.product or port.description or "",
        )
        for port in found
    )


def identify(place: str) -> Port | None:
    """The port of this name; None for what is no serial port of this machine, and for a name not there now."""
    return next((port for port in ports() if port.device == place), None)


def follow(port: Port) -> str:
    """The name that the USB device behind a port has now: a board that restarts may come back under another one. The
    same serial number tells, for a device without one the same USB id, where only one port has it; a port that cannot
    be told from others keeps its name."""
    if not port.usb_id:
        return port.device
    same = [now for now in ports() if _is_same(now, port)]
    names = [now.device for now in same]
    return names[0] if len(names) == 1 and port.device not in names else port.device


def _is_same(now: Port, before: Port) -> bool:
    """A bootloader may have another USB id, and the same serial number."""
    if before.serial_number:
        return now.serial_number == before.serial_number
    return (now.usb_id, now.serial_number) == (before.usb_id, "")


def open_link(board: Board, place: str) -> Link:
    """The link to the port `place`, at the board's baud rate, 8N1, locked against a second program.

    DeviceError when the port is missing, busy, forbidden or no serial port, each with its remedy.
    """
    try:
        port = serial.Serial(
            place, board.link.baud, timeout=0, write_timeout=WRITE_TIMEOUT_S, exclusive=True, dsrdtr=False
        )
    except (serial.SerialException, OSError, ValueError) as error:
        raise _explain(board, place, error) from error
    return _SerialLink(port, place)


class _SerialLink:
    """A Link on an open pyserial port whose own read timeout is 0: waiting is done by select, which costs no port
    reconfiguration per call."""

    def __init__(self, port: serial.SerialBase, name: str) -> None:
        self.name = name
        self._port = port

    def read(self, timeout_s: float, least: int = 1) -> bytes:
        try:
            ready, _, _ = select.select([self._port.fileno()], [], [], timeout_s)
            return bytes(self._port.read(READ_BYTES)) if ready else b""
        except (serial.SerialException, OSError) as error:
            raise DeviceError(f"{self.name} went away while reading: {error}", GONE) from error

    def write(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except serial.SerialTimeoutException as error:
            message = f"{self.name} took no data for {WRITE_TIMEOUT_S:g} s"
            raise DeviceError(message, "reset the board or unplug it and plug it in again") from error
        except (serial.SerialException, OSError) as error:
            raise DeviceError(f"{self.name} went away while writing: {error}", GONE) from error

    def close(self) -> None:
        self._port.close()


def _explain(board: Board, place: str, error: Exception) -> DeviceError:
    """The DeviceError for a port that did not open."""
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.EACCES:
        return DeviceError(f"{place}: no permission to open the port of {board.name}", _group_hint(place))
    if code in (errno.EBUSY, errno.EAGAIN):
        return DeviceError(f"{place}: busy, held by {_holders(place)}", "close that program, then run again")
    if not Path(place).exists():
        present = ", ".join(port.device for port in ports())
        return DeviceError(f"{place}: no such port for {board.name}", f"ports here: {present or 'none; plug it in'}")
    return DeviceError(f"{place}: cannot be used as the serial port of {board.name}: {error}", "name another port")


def _group_hint(place: str) -> str:
    try:
        group = Path(place).group()
    except KeyError:
        return f"the port belongs to the nameless group {Path(place).stat().st_gid}: ask the administrator for access"
    return f"the port belongs to group {group}: sudo usermod -aG {group} $USER, then log in again"


def _holders(place: str) -> str:
    """The processes that have the port open, as far as Linux's /proc shows them."""
    device = os.path.realpath(place)
    found = sorted({pid for pid in _process_ids() if _has_open(pid, device)})
    return ", ".join(f"process {pid} ({_command(pid)})" for pid in found) or "another program"


def _process_ids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]


def _has_open(pid: int, device: str) -> bool:
    try:
        return any(str(fd.readlink()) == device for fd in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "ended"
