"""The rig: which unit of which board is connected to which port. Private to one bench: rig.toml, which git ignores.

A unit is known by its USB serial number, so that it is found again whatever its port is called today.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pydantic import model_validator

from pipeline.config import board as boards
from pipeline.config.board import Board
from pipeline.core import schema, store
from pipeline.core.errors import ConfigError, DeviceError
from pipeline.core.registry import unknown
from pipeline.core.schema import Label, Name, Strict
from pipeline.device import runners
from pipeline.device.links import serial
from pipeline.device.links.serial import Port, ports

__all__ = [
    "FILE",
    "Location",
    "Port",
    "Probe",
    "Rig",
    "Unit",
    "add",
    "candidates",
    "find",
    "find_several",
    "load",
    "locate",
    "locate_several",
    "pick",
    "ports",
    "probes",
]

FILE = Path("rig.toml")
USB_DEVICES = Path("/sys/bus/usb/devices")
PROBES = {
    "0483:3748": "ST-LINK/V2",
    "0483:374b": "ST-LINK/V2-1",
    "0483:3752": "ST-LINK/V2-1",
    "0483:374e": "ST-LINK/V3",
    "0483:374f": "ST-LINK/V3",
    "0483:3753": "ST-LINK/V3",
    "0483:3754": "ST-LINK/V3",
    "0d28:0204": "DAPLink",
    "0483:df11": "STM32 DFU bootloader",
    "2341:0366": "GIGA R1 bootloader",
    "2341:035b": "Portenta H7 bootloader",
}
"""Debug probes and bootloaders by USB id; others are known by CMSIS-DAP in their name or SEGGER's vendor id."""
SEGGER = "1366"


class Unit(Strict):
    """One board on the bench."""

    board: Name
    """Name of its board file."""
    serial_number: Label = ""
    """USB serial number of its serial port; "" for a port without one."""
    port: Label = ""
    """Name of the serial port, for one without a serial number."""
    probe: Label = ""
    """Serial number of a debug probe that is another USB device than the port."""
    name: Label = ""
    """What people call it; does not start with -."""

    @model_validator(mode="after")
    def _can_be_found(self) -> Unit:
        if not (self.serial_number or self.port):
            raise ValueError("needs serial_number or port")
        if self.name.startswith("-"):
            raise ValueError(f"name {self.name!r}: --unit would take it for an option")
        return self

    @property
    def label(self) -> str:
        """What a person may call it in --unit."""
        return self.name or self.serial_number or self.port


class Rig(Strict):
    """The units of a bench, as [[unit]] tables in rig.toml."""

    unit: tuple[Unit, ...] = ()
    """In the order of the file."""

    @model_validator(mode="after")
    def _can_be_told_apart(self) -> Rig:
        called: dict[tuple[str, str], Unit] = {}
        for unit in self.unit:
            for word in filter(None, {unit.name, unit.serial_number, unit.port}):
                if called.setdefault((unit.board, word), unit) is not unit:
                    raise ValueError(f"unit: two of board {unit.board!r} are called {word!r}")
        return self


class Probe(NamedTuple):
    """A debug probe or USB bootloader that is plugged in."""

    kind: str
    """Such as ST-LINK/V2-1."""
    usb_id: str
    """ "vendor:product" in lower-case hexadecimal."""
    serial_number: str
    """USB serial number; "" for none."""
    description: str
    """What the device calls itself."""


class Location(NamedTuple):
    """Where a unit is."""

    port: str | None
    """Serial port; None for an emulated board."""
    serial_number: str = ""
    """Of its debug probe; "" when not known or not needed."""
    usb: Port | None = None
    """The port as it was found; None for what is no serial port here."""

    def port_now(self) -> str | None:
        """The port's name now: a board may come back under another one after a restart (serial.follow)."""
        return self.port if self.usb is None else serial.follow(self.usb)


def load(path: Path = FILE) -> Rig:
    """The rig in the file; one without units when there is no file. ConfigError for mistakes and unknown boards."""
    if not path.exists():
        return Rig()
    rig = schema.load(Rig, path)
    for unit in rig.unit:
        if unit.board not in boards.names():
            message, hint = unknown("board", unit.board, boards.names())
            raise ConfigError(f"{path}: unit {unit.label!r}: {message}", hint)
    return rig


def save(rig: Rig, path: Path = FILE) -> None:
    """Writes the file, whole or not at all."""
    text = ["# Which unit is connected to which port; `tritmcu rig` lists what is there."]
    for unit in rig.unit:
        text.append("\n[[unit]]")
        # A JSON string is a TOML string.
        text += [
            f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in unit.model_dump().items() if value
        ]
    store.write_text(path, "\n".join(text) + "\n")


def add(rig: Rig, board: Board, port: Port, *, name: str = "", probe: str = "") -> Rig:
    """The rig with the unit on `port`; what was known of the same unit is replaced. ConfigError: a name that
    cannot be, or that another unit of the board has."""
    where = {"serial_number": port.serial_number} if port.serial_number else {"port": port.device}
    unit = schema.validate(Unit, {"board": board.name, "name": name, "probe": probe, **where}, "unit")
    others = tuple(u for u in rig.unit if (u.serial_number, u.port) != (unit.serial_number, unit.port))
    return schema.validate(Rig, {"unit": (*others, unit)}, str(FILE))


def pick(board: Board, present: Iterable[Port], device: str = "") -> Port:
    """The port called `device`, or the only one that may be the board's. DeviceError when there is none or a choice."""
    present = tuple(present)
    matching = [p for p in present if (p.device == device if device else p.usb_id and p.usb_id in board.usb_ids)]
    if len(matching) == 1:
        return matching[0]
    what = f"no port {device!r}" if device else "more than one port may be it" if matching else "no port has its USB id"
    raise DeviceError(
        f"board {board.name!r}: {what}; ports here: {_listed(p.device for p in matching or present)}",
        "plug it in, or name its port with --port",
    )


def candidates(port: Port) -> tuple[str, ...]:
    """Names of the boards whose serial port has this port's USB id."""
    return tuple(name for name in boards.names() if port.usb_id and port.usb_id in boards.load(name).usb_ids)


def probes(root: Path = USB_DEVICES) -> tuple[Probe, ...]:
    """Debug probes and bootloaders among the USB devices, as the kernel lists them; no tool is needed for that."""
    found = []
    for folder in sorted(root.glob("*")):
        usb_id = ":".join(_attribute(folder, name) for name in ("idVendor", "idProduct"))
        description = _attribute(folder, "product")
        if kind := _probe_kind(usb_id, description):
            found.append(Probe(kind, usb_id, _attribute(folder, "serial"), description))
    return tuple(found)


def _attribute(folder: Path, name: str) -> str:
    try:
        return (folder / name).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _probe_kind(usb_id: str, description: str) -> str:
    """Name of the kind of probe, "" for other devices."""
    if usb_id in PROBES:
        return PROBES[usb_id]
    if usb_id.startswith(f"{SEGGER}:"):
        return "J-Link"
    return "CMSIS-DAP" if "CMSIS-DAP" in description else ""


def find(board: Board, *, port: str = "", unit: str = "", path: Path = FILE) -> Location:
    """Where the board is, among the ports of this machine and the units in the file; see `locate`. A board whose first
    runner emulates it is nowhere, unless `port` or `unit` says that a real one is meant."""
    if runners.is_emulated(board, port or unit or None):
        return Location(None)
    return locate(board, load(path), ports(), unit=unit, port=port)


def find_several(
    board: Board, count: int, *, port: str = "", unit: str = "", path: Path = FILE
) -> tuple[Location, ...]:
    """Where `count` units of the board are, see `find`; of an emulated one, that many nowhere. ConfigError: `port` or
    `unit` names one of several; DeviceError, with what there is: fewer are there."""
    if count == 1:
        return (find(board, port=port, unit=unit, path=path),)
    if port or unit:
        what = f"port {port}" if port else f"unit {unit!r}"
        raise ConfigError(f"{count} devices wanted, but {what} is one", "leave out --devices, or --port and --unit")
    if runners.is_emulated(board):
        return (Location(None),) * count
    return locate_several(board, load(path), ports(), count)


def locate_several(board: Board, rig: Rig, present: Iterable[Port], count: int) -> tuple[Location, ...]:
    """Where `count` units of the board are, the first ones of the rig that are plugged in; without any in the rig, of
    the ports whose USB id is the board's. DeviceError when fewer are there."""
    present = tuple(present)
    known = [unit for unit in rig.unit if unit.board == board.name]
    serial_numbers = {port.serial_number for port in present}
    here = [unit for unit in known if not unit.serial_number or unit.serial_number in serial_numbers]
    found = [_locate_unit(board, [unit], present, "") for unit in here]
    if not known:
        found = [_location(port) for port in present if port.usb_id and port.usb_id in board.usb_ids]
    if len(found) < count:
        raise DeviceError(
            f"board {board.name!r}: {count} devices wanted, {len(found)} there: {_listed(str(f.port) for f in found)}",
            f"plug in more of them, or --devices {len(found)}" if found else "plug them in; tritmcu rig lists ports",
        )
    return tuple(found[:count])


def locate(board: Board, rig: Rig, present: Iterable[Port], *, unit: str = "", port: str = "") -> Location:
    """Where the board is: at `port` if given, else the unit of the rig (`unit` names one of several), else the only
    port whose USB id is one of the board's. DeviceError, with what there is, when that is none or more than one."""
    present = tuple(present)
    if port:
        return next((_location(p) for p in present if p.device == port), Location(port, ""))
    known = [u for u in rig.unit if u.board == board.name]
    if known or unit:
        return _locate_unit(board, known, present, unit)
    return _location(pick(board, present))


def _locate_unit(board: Board, known: list[Unit], present: tuple[Port, ...], unit: str) -> Location:
    chosen = [u for u in known if not unit or unit in (u.name, u.serial_number, u.port)]
    if len(chosen) != 1:
        what = f"no unit {unit!r}" if unit and not chosen else "more than one unit"
        raise DeviceError(
            f"board {board.name!r}: {what} in rig.toml; units: {_listed(u.label for u in known)}",
            "name one with --unit",
        )
    wanted = chosen[0]
    if not wanted.serial_number:
        return Location(wanted.port, wanted.probe)
    for port in present:
        if port.serial_number == wanted.serial_number:
            return Location(port.device, wanted.probe or _location(port).serial_number, port)
    raise DeviceError(
        f"board {board.name!r}: unit {wanted.label!r} (serial number {wanted.serial_number}) is not plugged in; "
        f"ports here: {_listed(f'{p.device} {p.serial_number}'.strip() for p in present)}",
        "plug it in, or correct rig.toml",
    )


def _location(port: Port) -> Location:
    """The port and, where it belongs to a debug probe, that probe: both have one serial number."""
    return Location(port.device, port.serial_number if port.usb_id in PROBES else "", port)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
