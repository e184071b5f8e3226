"""A double of the UART bootloader in the ROM of every STM32, on a pseudo terminal: ST application note AN3155.

It is an STM32F405 with 1 MB of flash. After the Go command it becomes what Go would have started: the bytes of the
line pass between the terminal and an emulator that runs the memory as it was written.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import os
import select
import threading
import tty
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from types import TracebackType

from tests.emulated.line import connect, pump

ACK, NACK, SYNC = b"\x79", b"\x1f", 0x7F
GET, GET_VERSION, GET_ID, READ, GO, WRITE, EXTENDED_ERASE = 0x00, 0x01, 0x02, 0x11, 0x21, 0x31, 0x44
COMMANDS = bytes([GET, GET_VERSION, GET_ID, READ, GO, WRITE, EXTENDED_ERASE])
VERSION = 0x31
PRODUCT_ID = 0x413
"""STM32F405/407 (AN2606)."""
FLASH, FLASH_SIZE = 0x0800_0000, 1 << 20
SECTORS_KB = (16, 16, 16, 16, 64, 128, 128, 128, 128, 128, 128, 128)
SYSTEM, SYSTEM_SIZE = 0x1FFF_0000, 0x8000
"""System memory and one-time area: unique id and flash size, which tools read."""
Start = Callable[[bytes], AbstractContextManager[str]]


@dataclass
class Faults:
    """What goes wrong. deaf: nothing is ever answered; refused: these commands get NACK; damaged_writes: so many blocks
    are refused as if their checksum were wrong; lost_writes: so many are acknowledged and not written; silent_after:
    commands answered before it falls silent; corrupt: addresses in the flash that are read back with one bit wrong."""

    deaf: bool = False
    refused: frozenset[int] = frozenset()
    damaged_writes: int = 0
    lost_writes: int = 0
    silent_after: int | None = None
    corrupt: frozenset[int] = frozenset()


class ClosedError(Exception):
    """The test is over."""


class Bootloader:
    """The double, alive as long as the `with` block. place: its port; flash: its memory; commands: how often each came;
    started: the address of Go, or None. start(flash) runs the memory and yields "HOST:PORT" of its serial line."""

    def __init__(self, faults: Faults | None = None, start: Start | None = None) -> None:
        self.faults = replace(faults) if faults else Faults()
        self.flash = bytearray(b"\xff" * FLASH_SIZE)
        self.commands: Counter[int] = Counter()
        self.started: int | None = None
        self._start = start
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self._wake, self._waker = os.pipe()
        self._thread = threading.Thread(target=self._live)
        self.place = os.ttyname(self._slave)

    def __enter__(self) -> Bootloader:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.write(self._waker, b"x")
        self._thread.join()
        for descriptor in (self._master, self._slave, self._wake, self._waker):
            os.close(descriptor)

    def _live(self) -> None:
        with contextlib.suppress(ClosedError):
            while self.started is None or self._start is None:
                self._serve(self._read(1)[0])
            with self._start(bytes(self.flash)) as place, connect(place) as line:
                pump(self._master, line, self._wake)

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            ready, _, _ = select.select([self._master, self._wake], [], [])
            if self._wake in ready:
                raise ClosedError
            data += os.read(self._master, count - len(data))
        return data

    def _send(self, data: bytes) -> None:
        limit = self.faults.silent_after
        if not self.faults.deaf and (limit is None or self.commands.total() <= limit):
            os.write(self._master, data)

    def _serve(self, code: int) -> None:
        """One command: its code and the complement (AN3155 section 3)."""
        if code == SYNC:
            self._send(ACK)
            return
        complement = self._read(1)[0]
        self.commands[code] += 1
        if complement != code ^ 0xFF or code not in COMMANDS or code in self.faults.refused:
            self._send(NACK)
            return
        answers = {
            GET: self._get,
            GET_VERSION: lambda: self._send(ACK + bytes([VERSION, 0, 0]) + ACK),
            GET_ID: lambda: self._send(ACK + bytes([1, PRODUCT_ID >> 8, PRODUCT_ID & 0xFF]) + ACK),
            READ: self._read_memory,
            GO: self._go,
            WRITE: self._write_memory,
            EXTENDED_ERASE: self._erase,
        }
        answers[code]()

    def _get(self) -> None:
        self._send(ACK + bytes([len(COMMANDS), VERSION]) + COMMANDS + ACK)

    def _address(self) -> int | None:
        """Four bytes and their XOR; answered here. None when it is damaged or no memory of this chip."""
        self._send(ACK)
        data = self._read(5)
        address = int.from_bytes(data[:4], "big")
        valid = checksum(data) == 0 and any(
            start <= address < start + size for start, size in ((FLASH, FLASH_SIZE), (SYSTEM, SYSTEM_SIZE))
        )
        self._send(ACK if valid else NACK)
        return address if valid else None

    def _read_memory(self) -> None:
        address = self._address()
        if address is None:
            return
        count, complement = self._read(2)
        if complement != count ^ 0xFF:
            self._send(NACK)
            return
        self._send(ACK + bytes(self._byte(address + i) for i in range(count + 1)))

    def _byte(self, address: int) -> int:
        if not FLASH <= address < FLASH + FLASH_SIZE:
            return 0x04 if address % 2 else 0x00
        return self.flash[address - FLASH] ^ (0x10 if address in self.faults.corrupt else 0)

    def _write_memory(self) -> None:
        address = self._address()
        if address is None:
            return
        count = self._read(1)[0]
        data, check = self._read(count + 1), self._read(1)[0]
        if self._suffers("damaged_writes") or checksum([count, *data, check]) or address % 4 or len(data) % 4:
            self._send(NACK)
            return
        if not self._suffers("lost_writes"):
            self._program(address - FLASH, data)
        self._send(ACK)

    def _suffers(self, fault: str) -> bool:
        """Whether one more of a counted fault is to happen."""
        left: int = getattr(self.faults, fault)
        setattr(self.faults, fault, max(0, left - 1))
        return left > 0

    def _program(self, place: int, data: bytes) -> None:
        """Programming only clears bits: what was not erased cannot be written."""
        old = self.flash[place : place + len(data)]
        self.flash[place : place + len(data)] = bytes(a & b for a, b in zip(data, old, strict=True))

    def _erase(self) -> None:
        """Whole flash (0xFFFF) or the numbered sectors."""
        self._send(ACK)
        count = self._read(2)
        if count == b"\xff\xff":
            valid = self._read(1) == b"\x00"
            sectors: Iterable[int] = range(len(SECTORS_KB))
        else:
            number = int.from_bytes(count, "big") + 1
            data = self._read(2 * number + 1)
            valid = checksum(count + data) == 0
            sectors = [int.from_bytes(data[2 * i : 2 * i + 2], "big") for i in range(number)]
        if valid:
            for sector in sectors:
                start, size = sector_place(sector)
                self.flash[start : start + size] = b"\xff" * size
        self._send(ACK if valid else NACK)

    def _go(self) -> None:
        self.started = self._address()


def sector_place(number: int) -> tuple[int, int]:
    """(first byte, bytes) of a sector in the flash (RM0090 table 5)."""
    return 1024 * sum(SECTORS_KB[:number]), 1024 * SECTORS_KB[number]


def checksum(data: Iterable[int]) -> int:
    """XOR of all bytes."""
    return functools.reduce(operator.xor, data, 0)
