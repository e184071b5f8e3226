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
from pipeline.core import lock, shell, text
from pipeline.core.errors import DeviceError, ToolError
from pipeline.core.shell import Process
from pipeline.device.runners import firmware

PROGRAM = "qemu-system-arm"
AVR_PROGRAM = "qemu-system-avr"
"""QEMU has no Timer 0, so that micros() does not advance: answers are right, but cycles need simavr."""
EMULATOR = True
START_TIMEOUT_S = 15.0
MOST_ON_A_CPU = 8
"""Emulators that are kept apart from each other on each CPU."""
ANY_PORT = "127.0.0.1:0"
NO_ESCAPE = "0x100"
"""The character that commands the multiplexer."""
_LISTENING = re.compile(r"waiting for connection on: disconnected:tcp:(\S+?),")


def command(board: Board, folder: Path, place: str | None = None) -> list[str]:
    """The command line that loads firmware.elf and listens at `place`, "HOST:PORT"; None: at a port QEMU chooses.

    The CPU starts when the link is opened (wait=on), so that no byte the firmware sends can be missed. Between the
    socket and the UART lies a multiplexer with one user, which holds bytes ready: the UART takes the next one as the
    firmware reads the last, not when QEMU's main loop gets round to it (docs/ATTACKS.md). NO_ESCAPE is no byte, so all
    of them pass.
    """
    assert board.emulator is not None, "checked with the board's file"
    program, load = (AVR_PROGRAM, "-bios") if board.is_avr else (PROGRAM, "-kernel")
    host, _, port = (place or ANY_PORT).rpartition(":")
    unused = ["-serial", "null"] * board.emulator.serial_index
    return [
        *(program, "-M", board.emulator.machine, "-nographic", "-monitor", "none"),
        *(load, str(firmware(board, folder)), *board.emulator.arguments),
        *(
            "-chardev",
            f"socket,id=link,host={host},port={port},server=on,wait=on,nodelay=on,mux=on",
            "-echr",
            NO_ESCAPE,
        ),
        *(*unused, "-serial", "chardev:link"),
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
        _on_one_cpu(process),
    ):
        listening_at = _wait_until_listening(process, board)
        try:
            yield listening_at
        except DeviceError as error:
            code = process.wait(timeout_s=0.5)
            if code is None:
                raise
            message = f"{error}; QEMU ended with exit code {code}: {_last_words(process)}"
            raise DeviceError(message, error.hint) from error


@contextmanager
def _on_one_cpu(process: Process) -> Iterator[None]:
    """Keeps QEMU on one CPU as long as the block: its main loop and its virtual CPU take turns for every byte received,
    and on one CPU that takes half the time and a third of the computing (measured with 3 KB samples). Linux only."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    with _least_used_cpu() as cpu:
        with suppress(ProcessLookupError):  # it has ended already: the log tells why
            os.sched_setaffinity(process.pid, {cpu})
        yield


@contextmanager
def _least_used_cpu() -> Iterator[int]:
    """A CPU that none of this user's emulators has to itself, or else one that no other one shares, and so on; noted as
    long as the block by a lock that ends with this process."""
    allowed = sorted(os.sched_getaffinity(0))
    for number in range(MOST_ON_A_CPU):
        for cpu in allowed:
            folder = shell.cache_folder() / "cpus" / f"{cpu}-{number}"
            folder.mkdir(parents=True, exist_ok=True)
            with lock.holding(folder) as is_free:
                if is_free:
                    yield cpu
                    return
    yield allowed[os.getpid() % len(allowed)]


def _last_words(process: Process) -> str:
    """What QEMU itself says at the end of its log, without the registers that follow it; else the log's last lines."""
    lines = process.log.read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line for line in lines if line.startswith("qemu") and "warning:" not in line]
    return text.printable(said[-1]) if said else process.log_tail()


def _wait_until_listening(process: Process, board: Board) -> str:
    """The "HOST:PORT" QEMU reports on its log."""
    program = process.command[0]
    deadline = time.monotonic() + START_TIMEOUT_S
    while not (found := _LISTENING.search(process.log.read_text(encoding="utf-8", errors="replace"))):
        if process.wait(timeout_s=0.01) is not None:
            assert board.emulator is not None
            what = f"board {board.name!r}, emulator.machine = {board.emulator.machine!r}"
            raise ToolError(
                f"{what}: {program} ended with exit code {process.returncode()}: {_last_words(process)}",
                f"correct [emulator] in the board's file; {program} -M help lists its machines",
            )
        if time.monotonic() > deadline:
            raise ToolError(f"{program} did not open its serial port within {START_TIMEOUT_S:g} s", "run again")
    return found[1]
