"""The hardware tests, run as a person runs them, on a double: a board on a serial port that is flashed through its UART
bootloader and then runs in an emulator."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core import paths, shell
from tests.emulated.bootloader import Bootloader
from tests.emulated.test_bootloader import emulator

pytestmark = [pytest.mark.toolchain, pytest.mark.emulator]


def hil(**setting: str) -> subprocess.CompletedProcess[str]:
    """The finished run of tests/hil; setting: TRITMCU_HIL_<NAME>."""
    named = {f"TRITMCU_HIL_{name.upper()}": value for name, value in setting.items()}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "tests/hil", "-v", "-p", "no:cacheprovider"],
        cwd=paths.RESOURCES,
        env={**{name: value for name, value in os.environ.items() if not name.startswith("TRITMCU_HIL_")}, **named},
        capture_output=True,
        text=True,
    )


def serial_board(folder: Path) -> Path:
    """A board file: the STM32F405 of QEMU as a board on a serial port."""
    text = (paths.shipped("boards") / "netduinoplus2.toml").read_text()
    text = text.replace('runner = "qemu"', 'runner = "stm32flash"').replace('kind = "tcp"', 'kind = "serial"')
    text = re.sub(r"\[emulator\]\n(?:[a-z_]+ = .*\n)+", '[flashing]\nstm32flash = { mode = "8n1" }\n', text)
    path = folder / "netduinoplus2.toml"
    path.write_text(text)
    return path


@pytest.mark.skipif(shell.find("stm32flash") is None, reason=shell.install_hint("stm32flash"))
def test_a_board_that_keeps_the_contract_passes(tmp_path: Path) -> None:
    with Bootloader(start=emulator) as device:
        done = hil(board=str(serial_board(tmp_path)), port=device.place)
    assert done.returncode == 0, done.stdout
    assert "200 samples, 0 mismatches" in done.stdout
    assert " skipped" not in done.stdout
    assert device.started is not None


def test_a_board_that_is_not_there_fails(tmp_path: Path) -> None:
    done = hil(board="nucleo-f446re", port="/dev/tritmcu-no-such-port")
    assert done.returncode == 1
    assert "no-such-port: no such port for nucleo-f446re" in done.stdout


def test_without_a_board_nothing_is_claimed() -> None:
    if (paths.RESOURCES / "rig.toml").exists():
        pytest.skip("this machine has a rig.toml")
    done = hil()
    assert done.returncode == 0
    assert " passed" not in done.stdout
    assert "tritmcu rig --add" in done.stdout
