"""QEMU's system emulator for Arm, and for AVR; its emulated UART is a TCP port of this machine."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.config.board import Board
from pipeline.core.errors import ConfigError, DeviceError, ToolError
from pipeline.core.shell import Process
from pipeline.device.runners import firmware

PROGRAM = "qemu-system-arm"
AVR_PROGRAM = "qemu-system-avr"
"""Knows no Timer 0, so that micros() stands still there: answers are right, cycles are simavr's business."""
EMULATOR = True
START_TIMEOUT_S = 15.0
ANY_PORT = "127.0.0.1:0"
_LISTENING = re.compile(r"waiting for connection on: disconnected:tcp:(\S+?),")


def command(board: Board, folder: Path, place: str | None = None) -> list[str]:
    """The command line that loads firmware.elf and listens at `place`, "HOST:PORT"; None: at a port QEMU chooses.

    The CPU starts when the link is opened (wait=on), so that no byte the firmware sends can be missed.
    """
    if board.emulator is None:
        raise ConfigError(f"board {board.name!r}: runner 'qemu' needs the table [emulator] (machine, arguments)")
    program, load = (AVR_PROGRAM, "-bios") if board.is_avr else (PROGRAM, "-kernel")
    unused = ["-serial", "null"] * board.emulator.serial_index
    return [
        *(program, "-M", board.emulator.machine, "-nographic", "-monitor", "none"),
        *(load, str(firmware(board, folder)), *board.emulator.arguments),
        *(*unused, "-serial", f"tcp:{place or ANY_PORT},server=on,wait=on,nodelay=on"),
    ]


@contextmanager
def attach(board: Board, folder: Path, place: str | None = None) -> Iterator[str]:
    """Yields the "HOST:PORT" of the emulated UART; QEMU ends with the block.

    ToolError when QEMU is missing or does not start. A DeviceError of the block is given QEMU's last words when QEMU
    is what ended.
    """
    with (
        tempfile.TemporaryDirectory(prefix="tritmcu-qemu-") as scratch,
        Process(command(board, folder, place), log=Path(scratch) / "log") as process,
    ):
        _keep_on_one_cpu(process)
        listening_at = _wait_until_listening(process)
        try:
            yield listening_at
        except DeviceError as error:
            code = process.wait(timeout_s=0.5)
            if code is None:
                raise
            message = f"{error}; QEMU ended with exit code {code}: {process.log_tail()}"
            raise DeviceError(message, error.hint) from error


def _keep_on_one_cpu(process: Process) -> None:
    """QEMU's main loop and its virtual CPU take turns for every byte received; on one CPU that takes half the time and
    a third of the computing (measured with 3 KB samples). Several emulators spread over the CPUs. Linux only."""
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        with suppress(ProcessLookupError):  # it has ended already: the log tells why
            os.sched_setaffinity(process.pid, {allowed[process.pid % len(allowed)]})


def _wait_until_listening(process: Process) -> str:
    """The "HOST:PORT" QEMU reports on its log."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not (found := _LISTENING.search(process.log.read_text(encoding="utf-8", errors="replace"))):
        if process.wait(timeout_s=0.01) is not None:
            raise ToolError(
                f"{PROGRAM} ended with exit code {process.returncode()}: {process.log_tail()}",
                "tritmcu doctor shows the installed version",
            )
        if time.monotonic() > deadline:
            raise ToolError(f"{PROGRAM} did not open its serial port within {START_TIMEOUT_S:g} s", "run again")
    return found[1]
