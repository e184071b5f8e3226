"""What several tests share: the tiny network built for a board, once."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

from pipeline.config import board
from pipeline.config.board import Board
from pipeline.core.nouns import Image, QModel
from pipeline.stages import build, render
from tests.support import tiny

# A program started in the background of a script ignores Ctrl-C, and so would every child that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes depends on what else the computer does.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


@dataclass(frozen=True)
class Firmware:
    """An image in its folder, and what it was made from."""

    qmodel: QModel
    board: Board
    image: Image
    folder: Path

    @property
    def program(self) -> str:
        return str(self.folder / "firmware.elf")


@pytest.fixture(scope="session")
def firmware(tmp_path_factory) -> Callable[..., Firmware]:
    """firmware(board name, **changes of its link): the tiny network, built for that board."""
    built: dict[object, Firmware] = {}

    def get(name: str, **link: int | str) -> Firmware:
        key = (name, *sorted(link.items()))
        if key not in built:
            plain = board.load(name)
            target = plain.model_copy(update={"link": plain.link.model_copy(update=link)})
            model, folder = tiny.qmodel(), tmp_path_factory.mktemp(name)
            built[key] = Firmware(model, target, build.build(render.render(model, target), target, folder), folder)
        return built[key]

    return get
