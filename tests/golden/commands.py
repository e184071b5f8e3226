"""The command line of every runner of every board, as `tritmcu flash --dry-run` would print it."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path
from unittest import mock

from pipeline.config import board
from pipeline.core import registry
from pipeline.device import runners
from pipeline.device.runners import mass_storage, uf2

PORT, SERIAL_NUMBER = "/dev/ttyACM0", "0670FF48"


def lines() -> list[str]:
    """One line per board, runner and step; programs by name, the firmware without its folder, drives at /media."""
    found = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for suffix in ("elf", "bin", "hex", "uf2"):
            (folder / f"firmware.{suffix}").touch()
        with (
            mock.patch.object(mass_storage, "_drive", lambda volume, serial_number: Path("/media") / volume),
            mock.patch.object(
                uf2, "_drive", lambda target, serial_number: Path("/media") / target.flashing.uf2.board_id
            ),
        ):
            for name in board.names():
                for runner in board.load(name).runners:
                    found += [f"{name} {runner}: {line}" for line in _steps(name, runner, folder)]
    return found


def _steps(name: str, runner: str, folder: Path) -> list[str]:
    target, module = board.load(name), registry.load("runners", runner)
    if module.EMULATOR:
        program, *words = module.command(target, folder)
        steps = [[module.PROGRAM or program, *words]]
    else:
        steps = runners.commands(module, target, folder, PORT, SERIAL_NUMBER)
    return [shlex.join(step).replace(f"{folder}/", "") for step in steps]
