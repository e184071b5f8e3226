"""avrdude itself and real Arduino bootloaders on simulated AVRs: flash, restart, HELLO with the image's digest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.config import board
from pipeline.config.board import Board
from pipeline.core import registry, shell
from pipeline.core.errors import DeviceError
from pipeline.core.nouns import DeviceInfo, Image
from pipeline.device import runners
from pipeline.stages import build, flash, render
from tests.support import tiny

BOOTLOADERS = Path("/usr/share/arduino/hardware/arduino/avr/bootloaders")
BOARDS = {
    "uno": (BOOTLOADERS / "atmega" / "ATmegaBOOT_168_atmega328.hex", 57600),
    "mega2560": (BOOTLOADERS / "stk500v2" / "stk500boot_v2_mega2560.hex", 115200),
}
"""Bootloader and its baud rate. On the ATmega328P it is Optiboot's predecessor, with the same protocol: Debian's build
of Optiboot is 532 bytes long and does not fit its section of 512."""
FLASH_BYTES = {"uno": 0x8000, "mega2560": 0x4_0000}
MCUSR_IO, EXTRF = 0x34, 1 << 1
TRIES = 3
"""The bootloaders give up after a second of simulated time without a byte, which a busy machine may miss."""
pytestmark = [
    pytest.mark.toolchain,
    pytest.mark.emulator,
    pytest.mark.skipif(not BOOTLOADERS.exists(), reason=shell.install_hint("arduino-core-avr")),
    pytest.mark.skipif(shell.find("avrdude") is None, reason=shell.install_hint("avrdude")),
    pytest.mark.skipif(shell.find("simavr") is None, reason=shell.install_hint("simavr")),
]


def with_bootloader(name: str) -> bytes:
    """A flash that holds the bootloader and, at address 0, what the reset of a chip with the BOOTRST fuse does: it
    starts the bootloader, with the flag of an external reset."""
    content = bytearray(b"\xff" * FLASH_BYTES[name])
    places = []
    base = 0
    for line in BOARDS[name][0].read_text().split():
        record = bytes.fromhex(line[1:])
        count, address, kind, data = record[0], int.from_bytes(record[1:3], "big"), record[3], record[4:-1]
        if kind == 2:
            base = int.from_bytes(data, "big") << 4
        elif kind == 0:
            content[base + address : base + address + count] = data
            places.append(base + address)
    assert len(content) == FLASH_BYTES[name], "the bootloader fits"
    content[:8] = start_at(min(places))
    return bytes(content)


def start_at(address: int) -> bytes:
    """AVR machine code: ldi r24, EXTRF; out MCUSR, r24; jmp address."""
    words = address // 2
    out = 0xB800 | (MCUSR_IO & 0x30) << 5 | 24 << 4 | MCUSR_IO & 0x0F
    jmp = 0x940C | (words >> 17 & 0x1F) << 4 | words >> 16 & 1
    code = (0xE080 | EXTRF, out, jmp, words & 0xFFFF)
    return b"".join(word.to_bytes(2, "little") for word in code)


@contextmanager
def simulated(target: Board, memory: bytes, folder: Path) -> Iterator[str]:
    """The port of a board with this flash."""
    folder.mkdir()
    (folder / "firmware.bin").write_bytes(memory)
    with registry.load("runners", "simavr").attach(target, folder) as place:
        yield place


def flashed(image: Image, folder: Path, target: Board, place: str) -> DeviceInfo:
    for _ in range(TRIES - 1):
        try:
            return flash.flash(image, folder, target, place=place, only="avrdude")
        except DeviceError as error:
            assert "the bootloader does not answer" in str(error)
    return flash.flash(image, folder, target, place=place, only="avrdude")


def at_bootloader(name: str, **avrdude: object) -> Board:
    """The board as its bootloader here is spoken to; avrdude: changes of [flashing.avrdude]."""
    real, baud = board.load(name), BOARDS[name][1]
    assert real.flashing.avrdude is not None
    arguments = real.flashing.avrdude.model_copy(update={"baud": baud, **avrdude})
    flashing = real.flashing.model_copy(update={"avrdude": arguments})
    return real.model_copy(update={"flashing": flashing, "link": real.link.model_copy(update={"baud": baud})})


@pytest.mark.parametrize("name", BOARDS)
def test_what_avrdude_wrote_answers(name: str, tmp_path: Path) -> None:
    target = at_bootloader(name)
    image = build.build(render.render(tiny.qmodel(), target), target, tmp_path)
    with simulated(target, with_bootloader(name), tmp_path / "chip") as place:
        info = flashed(image, tmp_path, target, place)
    assert (info.board, info.digest) == (name, image.digest)


def test_another_mcu_is_refused(tmp_path: Path) -> None:
    """avrdude reads the signature before it writes: an image for a Mega does not get into an Uno."""
    target = at_bootloader("uno", part="m2560")
    (tmp_path / "firmware.hex").write_text(":0400000001020304F2\n:00000001FF\n")
    with (
        simulated(target, with_bootloader("uno"), tmp_path / "chip") as place,
        pytest.raises(DeviceError, match="the MCU that answers is not this board's"),
    ):
        runners.flash(target, tmp_path, place, only="avrdude")
