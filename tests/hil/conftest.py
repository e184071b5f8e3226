"""Which boards the hardware tests run on: every unit of rig.toml, or the one that `make hil` is given.

    make hil BOARD=nucleo-f446re [PORT=/dev/ttyACM0] [UNIT=left]

An emulated board may be named as well: the tests are the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.config import board as boards
from pipeline.config.board import Board
from pipeline.core import paths
from pipeline.core.errors import FitError
from pipeline.core.nouns import DeviceInfo, Image, QModel
from pipeline.device import rig, session
from pipeline.device.rig import Location
from pipeline.device.session import Session
from pipeline.stages import build, flash, render
from tests.support import tiny

RIG = paths.RESOURCES / rig.FILE


@dataclass(frozen=True)
class Bench:
    """A flashed board. info: its first HELLO, as `flash` returned it."""

    board: Board
    location: Location
    model: QModel
    image: Image
    folder: Path
    info: DeviceInfo


Say = Callable[[str], None]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One run per unit; a single skipped one, with the reason, when there is none."""
    if "bench" in metafunc.fixturenames:
        units = _units()
        nothing = pytest.param(
            None, marks=pytest.mark.skip(reason="no board: make hil BOARD=..., or tritmcu rig --add")
        )
        names = [" ".join(filter(None, unit)) for unit in units]
        metafunc.parametrize("bench", units or [nothing], ids=names or ["none"], indirect=True, scope="session")


def _units() -> list[tuple[str, str, str]]:
    """(board, port, unit) of everything to be tested."""
    if name := os.environ.get("TRITMCU_HIL_BOARD"):
        return [(name, os.environ.get("TRITMCU_HIL_PORT", ""), os.environ.get("TRITMCU_HIL_UNIT", ""))]
    return [(unit.board, unit.port, unit.name or unit.serial_number) for unit in rig.load(RIG).unit]


@pytest.fixture(scope="session")
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The board, built for, flashed and confirmed once."""
    name, port, unit = request.param
    board = boards.load(name)
    folder = tmp_path_factory.mktemp(board.name)
    location = rig.find(board, port=port, unit="" if port else unit, path=RIG)
    model = tiny.qmodel()
    try:
        image = build.build(render.render(model, board), board, folder)
    except FitError as error:
        pytest.skip(str(error))
    info = flash.flash(image, folder, board, place=location.port, serial_number=location.serial_number)
    return Bench(board, location, model, image, folder, info)


@pytest.fixture
def device(bench: Bench) -> Iterator[Session]:
    """A conversation with the board, introduced."""
    with session.connect(bench.board, bench.folder, bench.location.port_now()) as found:
        found.hello()
        yield found


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], bench: Bench) -> Say:
    """Shows one measured number beside the test's name."""

    def show(line: str) -> None:
        with capsys.disabled():
            print(f"\n    {bench.board.name}: {line}", end=" ")

    return show
