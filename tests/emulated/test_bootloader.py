"""stm32flash and stm32loader, the programs themselves, against a double of the STM32's UART bootloader: what they write
is what runs, and what goes wrong on the way is a DeviceError with a remedy."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import board
from pipeline.config.board import Board
from pipeline.config.flashing import Flashing, Stm32flash, Stm32loader
from pipeline.core import registry, shell
from pipeline.core.errors import DeviceError
from pipeline.core.nouns import Image
from pipeline.device import runners
from pipeline.device import session as sessions
from pipeline.device.session import IdentityError
from pipeline.network import twin
from pipeline.stages import build, flash, render
from tests.emulated.bootloader import ACK, EXTENDED_ERASE, FLASH, GO, NACK, READ, WRITE, Bootloader, Faults, checksum
from tests.support import tiny

TOOLS = [
    pytest.param(name, marks=pytest.mark.skipif(shell.find(name) is None, reason=shell.install_hint(name)))
    for name in ("stm32flash", "stm32loader")
]
IMAGE = Image("", "0" * 32, "netduinoplus2", "", (), *(0,) * 6, {}, (), {})
SIZE = 3001
"""Neither a whole number of words nor of 256-byte blocks."""
NO_MODEM_LINES = '''
"""A pseudo terminal has no RTS and DTR; pyserial would end with "Inappropriate ioctl for device"."""
import serial
serial.Serial._update_rts_state = serial.Serial._update_dtr_state = lambda self: None
'''


def stm32(tool: str) -> Board:
    """The STM32F405 of the emulated boards, on a serial line with a UART bootloader; a terminal has no parity."""
    real = board.load("netduinoplus2")
    flashing = Flashing(stm32flash=Stm32flash(mode="8n1"), stm32loader=Stm32loader(family="F4", parity="none"))
    link = real.link.model_copy(update={"kind": "serial"})
    return real.model_copy(update={"runner": tool, "flashing": flashing, "link": link, "emulator": None})


@pytest.fixture(autouse=True)
def no_modem_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "python"
    place.mkdir()
    (place / "sitecustomize.py").write_text(NO_MODEM_LINES)
    monkeypatch.setenv("PYTHONPATH", str(place))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "firmware.bin").write_bytes(random.Random(1).randbytes(SIZE))
    return tmp_path


@pytest.mark.parametrize("tool", TOOLS)
def test_the_image_is_written_read_back_and_started(tool: str, folder: Path) -> None:
    with Bootloader() as device:
        device.flash[:8] = b"\0" * 8
        runners.flash(stm32(tool), folder, device.place)
    image = (folder / "firmware.bin").read_bytes()
    assert device.flash[:SIZE] == image
    assert set(device.flash[SIZE + 4 :]) == {0xFF}
    assert device.started == FLASH
    assert device.commands[EXTENDED_ERASE] >= 1
    assert device.commands[READ] >= SIZE // 256, "read back"


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(
    ("faults", "message"),
    [
        (Faults(deaf=True), "the bootloader does not answer"),
        (Faults(refused=frozenset({WRITE})), "the bootloader refuses"),
        (Faults(damaged_writes=1), "the bootloader refuses"),
        (Faults(refused=frozenset({EXTENDED_ERASE})), "the bootloader refuses"),
        (Faults(refused=frozenset({READ})), "the bootloader refuses"),
        (Faults(silent_after=12), "the bootloader "),
        (Faults(corrupt=frozenset({FLASH + 1000})), "the flash differs from what was written"),
        (Faults(refused=frozenset({GO})), "the "),
    ],
    ids=[
        "deaf",
        "write-protected",
        "checksum",
        "erase-refused",
        "read-protected",
        "falls-silent",
        "corrupt",
        "go-refused",
    ],
)
def test_what_goes_wrong_is_explained(tool: str, faults: Faults, message: str, folder: Path) -> None:
    with Bootloader(faults) as device, pytest.raises(DeviceError) as caught:
        runners.flash(stm32(tool), folder, device.place)
    assert f"{tool}: {message}" in str(caught.value)
    assert not caught.value.hint.startswith("repeat by hand")
    assert device.started is None


@contextmanager
def emulator(memory: bytes) -> Iterator[str]:
    """An STM32F405 that starts with this flash; yields the place of its serial line. QEMU takes raw memory as well."""
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "firmware.elf").write_bytes(memory)
        with registry.load("runners", "qemu").attach(board.load("netduinoplus2"), Path(place)) as line:
            yield line


@pytest.mark.toolchain
@pytest.mark.emulator
@pytest.mark.parametrize("tool", TOOLS)
def test_what_was_flashed_over_the_line_answers_on_the_same_line(tool: str, tmp_path: Path) -> None:
    """Build, flash through the bootloader, HELLO with the digest, logits of the twin: one cable, as on a real board."""
    model, target = tiny.qmodel(), stm32(tool)
    image = build.build(render.render(model, target), target, tmp_path)
    samples = tiny.samples(model, 3)
    with Bootloader(start=emulator) as device:
        info = flash.flash(image, tmp_path, target, place=device.place)
        assert info.digest == image.digest
        with sessions.connect(target, tmp_path, device.place) as session:
            session.hello()
            outputs = [result.output for result in session.run([sample.tobytes() for sample in samples])]
            assert session.stats()["crc_errors"] == 0
    assert np.array_equal(outputs, twin.run(model, samples))


@pytest.mark.toolchain
@pytest.mark.emulator
@pytest.mark.skipif(shell.find("stm32flash") is None, reason=shell.install_hint("stm32flash"))
def test_another_firmware_on_the_board_is_told_by_its_digest(tmp_path: Path) -> None:
    """A tool that flashed something else than was built, as when two builds are mixed up."""
    target = stm32("stm32flash")
    old, new = tmp_path / "old", tmp_path / "new"
    build.build(render.render(tiny.qmodel(1), target), target, old)
    image = build.build(render.render(tiny.qmodel(2), target), target, new)
    with Bootloader(start=emulator) as device, pytest.raises(IdentityError, match=image.digest):
        flash.flash(image, old, target, place=device.place)


@pytest.mark.skipif(shell.find("stm32flash") is None, reason=shell.install_hint("stm32flash"))
def test_a_busy_port_is_refused_before_the_tool_starts(folder: Path) -> None:
    target = stm32("stm32flash")
    with Bootloader() as device:
        busy = registry.load("links", "serial").open_link(target, device.place)
        with closing(busy), pytest.raises(DeviceError, match=rf"busy, held by process {os.getpid()} "):
            flash.flash(IMAGE, folder, target, place=device.place)
        assert device.commands.total() == 0


@pytest.mark.skipif(shell.find("stm32flash") is None, reason=shell.install_hint("stm32flash"))
def test_stm32flash_writes_lost_blocks_again(folder: Path) -> None:
    with Bootloader(Faults(lost_writes=3)) as device:
        runners.flash(stm32("stm32flash"), folder, device.place)
    assert device.flash[:SIZE] == (folder / "firmware.bin").read_bytes()
    assert device.faults.lost_writes == 0


@pytest.mark.skipif(shell.find("stm32loader") is None, reason=shell.install_hint("stm32loader"))
def test_stm32loader_notices_a_lost_block(folder: Path) -> None:
    with (
        Bootloader(Faults(lost_writes=1)) as device,
        pytest.raises(DeviceError, match="differs from what was written"),
    ):
        runners.flash(stm32("stm32loader"), folder, device.place)


def test_the_double_itself_refuses_what_the_manual_says() -> None:
    """AN3155: a wrong complement, checksum, address or command is answered by NACK, and nothing is written."""
    with (
        Bootloader() as device,
        closing(registry.load("links", "serial").open_link(stm32("stm32flash"), device.place)) as line,
    ):

        def ask(data: bytes, count: int = 1) -> bytes:
            line.write(data)
            answer = b""
            while len(answer) < count:
                answer += line.read(5.0) or b"?"
            return answer

        assert ask(b"\x7f") == ACK
        assert ask(b"\x02\xfd", 5) == ACK + b"\x01\x04\x13" + ACK
        assert ask(b"\x31\xcf") == NACK, "complement"
        assert ask(b"\x92\x6d") == NACK, "no such command"
        assert ask(b"\x31\xce") == ACK
        assert ask(b"\x08\0\0\0\x09") == NACK, "checksum of the address"
        assert ask(b"\x31\xce") == ACK
        assert ask(b"\x08\0\0\0\x08") == ACK
        assert ask(b"\x03abcd\xff") == NACK, "checksum of the data"
        assert device.flash[:4] == b"\xff" * 4
        assert ask(b"\x31\xce") == ACK
        assert ask(b"\x08\0\0\0\x08") == ACK
        assert ask(b"\x03abcd" + bytes([checksum(b"\x03abcd")])) == ACK
        assert device.flash[:4] == b"abcd"


@pytest.mark.parametrize("tool", ["openocd", "st_flash", "mass_storage"])
def test_a_probe_is_left_alone_when_the_boards_port_is_missing(tool: str, folder: Path) -> None:
    """Whatever hangs on the probe, it is not the board that was meant."""
    target = board.load("nucleo-f446re")
    with pytest.raises(DeviceError, match="no such port for nucleo-f446re"):
        flash.flash(IMAGE, folder, target, place="/dev/tritmcu-no-such-port", only=tool)
    with pytest.raises(DeviceError, match="no serial port named"):
        flash.flash(IMAGE, folder, target, only=tool)
