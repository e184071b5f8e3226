"""flash on the host board: success is HELLO with the expected digest, and everything else is an error with a remedy.
Flashing tools are tested in test_runners.py and tests/emulated/test_bootloader.py."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from types import SimpleNamespace

import pytest

from pipeline.config import board
from pipeline.core.errors import DeviceError, ToolError
from pipeline.core.nouns import DeviceInfo, Image
from pipeline.device import session
from pipeline.device.links import serial
from pipeline.device.runners import _drives, avrdude
from pipeline.device.session import IdentityError
from pipeline.stages import flash

pytestmark = pytest.mark.toolchain


@pytest.fixture
def host(firmware):
    return firmware("host")


def stand_in(folder, script: str):
    """A folder whose firmware is a shell script."""
    program = folder / "firmware.elf"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return folder


def test_the_board_confirms_its_digest(host):
    seen = []
    info = flash.flash(host.image, host.folder, host.board, progress=lambda *event: seen.append(event))
    assert (info.board, info.digest) == ("host", host.image.digest)
    assert seen[-1][1] == seen[-1][2]


def test_stale_firmware_is_refused_and_both_digests_named(host):
    newer = replace(host.image, digest="f" * 32)
    with pytest.raises(IdentityError) as caught:
        flash.flash(newer, host.folder, host.board)
    assert "f" * 32 in str(caught.value)
    assert host.image.digest in str(caught.value)
    assert "tritmcu flash" in caught.value.hint


def test_the_firmware_of_another_board_is_named(host):
    other = host.board.model_copy(update={"name": "uno"})
    with pytest.raises(IdentityError, match="'host', not 'uno'"):
        flash.flash(host.image, host.folder, other)


def test_no_firmware_names_the_command_that_builds_it(host, tmp_path):
    with pytest.raises(DeviceError, match=r"firmware\.elf") as caught:
        flash.flash(host.image, tmp_path, host.board)
    assert "tritmcu build" in caught.value.hint


def test_firmware_that_ends_shows_its_last_words(host, tmp_path):
    with pytest.raises(DeviceError, match="exit code 3: no such instruction"):
        flash.flash(host.image, stand_in(tmp_path, "echo no such instruction >&2; exit 3"), host.board)


def test_the_command_line_is_known_without_running_it(host, firmware):
    assert flash.commands(host.folder, host.board) == [[host.program]]


class Bench:
    """A board whose port is called ttyACM0 until it is flashed, and ttyACM1 from then on. opened: every try, in
    order."""

    BEFORE = serial.Port("/dev/ttyACM0", "2341:0043", "75439313", "Arduino Uno")

    def __init__(self, monkeypatch, info) -> None:
        self.now, self.opened, self._info = (self.BEFORE,), [], info
        monkeypatch.setattr(serial, "ports", lambda: self.now)
        monkeypatch.setattr(session, "connect", self.connect)
        monkeypatch.setattr(flash, "_try_port", lambda board, port, may_be_away: None)
        monkeypatch.setattr(flash.runners, "flash", self.flash)
        monkeypatch.setattr(flash.time, "sleep", self.restart)

    def flash(self, *_, **__) -> None:
        self.now = ()

    def restart(self, _: float) -> None:
        self.now = (self.BEFORE._replace(device="/dev/ttyACM1"),)

    @contextlib.contextmanager
    def connect(self, board, folder, place):
        self.opened.append(place)
        if place not in [port.device for port in self.now]:
            raise DeviceError(f"{place}: no such port")
        yield self

    def hello(self, hint):
        self.hint = hint
        return self._info


def test_the_drive_of_a_bootloader_comes_before_the_port(monkeypatch, tmp_path):
    """The port is that of a separate adapter: only the confirmation needs it."""
    pico, image = board.load("pico"), SimpleNamespace(digest="f" * 32)
    (tmp_path / "firmware.uf2").write_bytes(bytes(512))
    (tmp_path / "drive").mkdir()
    (tmp_path / "drive" / "INFO_UF2.TXT").write_text("Board-ID: RPI-RP2\n")
    monkeypatch.setattr(_drives, "MOUNTS", tmp_path / "mounts")
    (tmp_path / "mounts").write_text("")
    with pytest.raises(DeviceError, match="no drive of a bootloader RPI-RP2 is mounted"):
        flash.flash(image, tmp_path, pico, only="uf2")
    (tmp_path / "mounts").write_text(f"/dev/sda1 {tmp_path}/drive vfat rw 0 0\n")
    with pytest.raises(DeviceError, match="no serial port named"):
        flash.flash(image, tmp_path, pico, only="uf2")


def test_a_port_that_comes_back_under_another_name_is_followed(monkeypatch, tmp_path):
    uno = board.load("uno")
    info = DeviceInfo("uno", "d" * 32, 2, 16_000_000, "cycles", 100, 64, 10, 2, 76, 128)
    image = Image("", "d" * 32, "uno", "", (), *(0,) * 6, {}, (), {})
    bench = Bench(monkeypatch, info)
    monkeypatch.setattr(flash.runners, "choose", lambda board, only, place: avrdude)
    assert flash.flash(image, tmp_path, uno, place="/dev/ttyACM0") is info
    assert bench.opened == ["/dev/ttyACM0", "/dev/ttyACM1"]
    assert "reset" in bench.hint  # of a board that stays silent: flashing it once more would not help


@pytest.mark.emulator
class TestEmulated:
    @pytest.fixture
    def emulated(self, firmware):
        return firmware("netduinoplus2")

    def test_the_command_line(self, emulated):
        [line] = flash.commands(emulated.folder, emulated.board)
        assert line[:3] == ["qemu-system-arm", "-M", "netduinoplus2"]
        assert line[line.index("-kernel") + 1] == emulated.program
        assert "socket,id=link,host=127.0.0.1,port=0,server=on,wait=on,nodelay=on,mux=on" in line
        usart3 = emulated.board.emulator.model_copy(update={"serial_index": 2})
        [line] = flash.commands(emulated.folder, emulated.board.model_copy(update={"emulator": usart3}))
        assert line[-6:-1] == ["-serial", "null", "-serial", "null", "-serial"]

    def test_an_emulated_board_confirms_its_digest(self, emulated):
        assert flash.flash(emulated.image, emulated.folder, emulated.board).digest == emulated.image.digest

    def test_an_unknown_machine_is_qemus_error(self, emulated):
        machine = emulated.board.emulator.model_copy(update={"machine": "nosuch"})
        with pytest.raises(ToolError, match="unsupported machine type"):
            flash.flash(emulated.image, emulated.folder, emulated.board.model_copy(update={"emulator": machine}))

    def test_a_missing_emulator_names_its_package(self, emulated, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(ToolError, match="qemu-system-arm is not installed") as caught:
            flash.flash(emulated.image, emulated.folder, emulated.board)
        assert "apt-get install qemu-system-arm" in caught.value.hint
