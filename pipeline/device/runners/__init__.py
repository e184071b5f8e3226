"""Runners: how an image gets into a board, one module per tool. A module has

    PROGRAM: str       the program it needs, as in shell.PACKAGES; "" when it needs none
    EMULATOR: bool     whether it starts the board itself
    attach(board, folder, place) -> context manager yielding the place its link opens
                       an emulator runs, with the image loaded, as long as the block; a flashing tool yields `place`

An emulator has, besides,

    command(board, folder, place) -> list[str]
                       the exact command line that starts it

and a flashing tool

    NEEDS_PORT: bool   whether it works through the board's serial port, `place`
    FINDS_BOARD: bool  True where `command` raises DeviceError unless the board itself is there; may be left out
    TOUCHES: bool      True where it makes the 1200-baud touch itself; may be left out
    command(board, folder, place, serial_number) -> list[str]
                       the exact command line that flashes; serial_number: USB serial number of the unit's debug probe
                       or bootloader, "" when there is only one
    verify(board, result) -> None
                       DeviceError when the tool's output does not prove that the image was written

`folder` holds firmware.elf, firmware.bin and firmware.hex, and firmware.uf2 for a board with [flashing.uf2]; `place` is
a port, or None where the runner finds its own.
A board may name emulators and flashing tools: a place means the real one.
No exit code and no listing of probes is proof: several tools exit with 0 without having found a board. The last word
has the firmware itself, which names its digest in HELLO.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from pipeline.config.board import Board
from pipeline.core import registry, shell
from pipeline.core.errors import ConfigError, DeviceError, ToolError
from pipeline.core.nouns import Progress, no_progress
from pipeline.core.shell import Result
from pipeline.device.links import serial

FLASH_TIMEOUT_S = 900.0
"""2 MB through a UART bootloader at 115200 baud, written and read back, take 7 minutes."""
TOUCH_SETTLES_S = 1.0
TOUCH_TIMEOUT_S = 8.0


def firmware(board: Board, folder: Path, suffix: str = "elf") -> Path:
    """Path of the built firmware. DeviceError when there is none."""
    path = folder / f"firmware.{suffix}"
    if not path.exists():
        raise DeviceError(f"{path}: no firmware to flash", f"`tritmcu build --board {board.name}`")
    return path


def need_port(board: Board, place: str | None) -> str:
    """`place`. DeviceError when it is None."""
    if place is None:
        raise DeviceError(
            f"board {board.name!r}: no serial port named", "tritmcu rig lists ports; name one with --port"
        )
    return place


@contextmanager
def already_running(board: Board, folder: Path, place: str | None = None) -> Iterator[str]:
    """Yields `place`: the `attach` of flashing tools, for what they flash runs by itself."""
    yield need_port(board, place)


def check(board: Board, only: str | None) -> None:
    """ConfigError when `only` is none of the board's runners; None is one of them."""
    if only is not None and only not in board.runners:
        raise ConfigError(*registry.unknown(f"runner of board {board.name!r}:", only, board.runners))


def is_emulated(board: Board, place: str | None = None) -> bool:
    """Whether an emulator runs the board's firmware, as far as no place of a real one is named."""
    return place is None and bool(registry.load("runners", board.runner).EMULATOR)


def choose(
    board: Board, only: str | None = None, *, place: str | None = None, find: Callable[[str], object] = shell.find
) -> ModuleType:
    """Module of the board's first runner whose program `find` knows. only: that one of them; place: the port of a real
    board, for which no emulator will do.

    ToolError, with what installs the preferred one, when there is none.
    """
    check(board, only)
    modules = [registry.load("runners", name) for name in ([only] if only else board.runners)]
    modules = [module for module in modules if place is None or not module.EMULATOR]
    if not modules:
        raise ConfigError(f"board {board.name!r}: only emulated, no tool flashes one at {place}", "leave --port out")
    for module in modules:
        if not module.PROGRAM or find(module.PROGRAM):
            return module
    programs = " or ".join(module.PROGRAM for module in modules)
    raise ToolError(f"board {board.name!r}: {programs} is not installed", shell.install_hint(modules[0].PROGRAM))


def commands(
    runner: ModuleType, board: Board, folder: Path, place: str | None, serial_number: str = ""
) -> list[list[str]]:
    """Command lines that flash the board, in order: the 1200-baud touch where the board needs one, then the tool."""
    touch = []
    if board.flashing.touch_1200_baud and not getattr(runner, "TOUCHES", False):
        # Opening the port raises DTR, hupcl drops it on closing: what the Arduino bootloaders wait for.
        touch = [["stty", "-F", need_port(board, place), "1200", "hupcl"]]
    return [*touch, runner.command(board, folder, place, serial_number)]


def flash(
    board: Board,
    folder: Path,
    place: str | None = None,
    *,
    serial_number: str = "",
    only: str | None = None,
    progress: Progress = no_progress,
) -> None:
    """Writes the image in `folder` to the board with the first of its runners that is installed (or `only`).

    ToolError when none is, or it hangs; DeviceError with the remedy when it fails or does not prove its success.
    """
    runner = choose(board, only, place=place)
    *touches, command = commands(runner, board, folder, place, serial_number)
    progress("flash", 0, 1, runner.PROGRAM)
    port = serial.identify(place) if place else None
    for touch in touches:
        shell.run(touch, check=False, timeout_s=TOUCH_TIMEOUT_S)
        place = _wait_for_bootloader(place, port) if runner.NEEDS_PORT else place
        command = runner.command(board, folder, place, serial_number)
    result = shell.run(command, check=False, timeout_s=FLASH_TIMEOUT_S, env={"LC_ALL": "C"})
    runner.verify(board, result)
    progress("flash", 1, 1, runner.PROGRAM)


def _wait_for_bootloader(place: str | None, port: serial.Port | None) -> str | None:
    """The name of a touched board's port, once it has restarted and shows it again."""
    time.sleep(TOUCH_SETTLES_S)
    deadline_s = time.monotonic() + TOUCH_TIMEOUT_S
    while place is not None and time.monotonic() < deadline_s:
        place = serial.follow(port) if port else place
        if Path(place).exists():
            break
        time.sleep(0.1)
    return place


class Failure(NamedTuple):
    """A way in which a tool fails."""

    text: str
    """What it says then, a regular expression."""
    meaning: str
    """What that means."""
    remedy: str
    """What to do about it."""


CORRUPTED = "the flash differs from what was written"
SILENT = "the bootloader does not answer"
PLUG_IN = "plug in the USB connector of the board's debug probe; tritmcu rig lists what is there"
UNREACHABLE = "the probe does not reach the MCU"
WAKE_UP = "check power and jumpers; hold the reset button while it starts"
USB_FAILURES = (
    Failure(
        r"LIBUSB_ERROR_ACCESS|Access denied|insufficient permissions",
        "no permission to use the USB device",
        "sudo usermod -aG plugdev $USER, install the tool's udev rules, log in again and plug the board in again",
    ),
    Failure(
        r"LIBUSB_ERROR_BUSY|Resource busy|already in use",
        "the USB device is held by another program",
        "close debuggers and serial monitors that use the probe",
    ),
)
PORT_FAILURES = (
    Failure(
        r"Permission denied", "no permission to open the port", "sudo usermod -aG dialout $USER, then log in again"
    ),
    Failure(
        r"Device or resource busy|is already open|Could not exclusively lock",
        "the port is held by another program",
        "close serial monitors, then run again",
    ),
    Failure(
        r"No such file or directory|Failed to open port|could not open port",
        "no such port",
        "tritmcu rig lists the ports; check the cable",
    ),
)


def judge(result: Result, proof: str, failures: Sequence[Failure], *, exit_code_counts: bool = True) -> None:
    """Returns when the output holds `proof`, a regular expression, and the exit code is 0 (or does not count).

    Otherwise DeviceError: what the first of `failures` found in the output means, with the tool's own line.
    """
    program = Path(result.command[0]).name
    if re.search(proof, result.output) and (result.returncode == 0 or not exit_code_counts):
        return
    for failure in failures:
        if found := re.search(rf"^.*(?:{failure.text}).*$", result.output, re.MULTILINE):
            raise DeviceError(f"{program}: {failure.meaning} ({found[0].strip()})", failure.remedy)
    tail = " | ".join(line.strip() for line in result.output.strip().splitlines()[-4:])
    raise DeviceError(
        f"{program} did not confirm that the image was written (exit code {result.returncode}): {tail}",
        f"repeat by hand: {shlex.join(result.command)}",
    )
