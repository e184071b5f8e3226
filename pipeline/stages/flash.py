"""flash: an image gets into a board, and the board confirms it."""

from __future__ import annotations

import time
from pathlib import Path

from pipeline.config.board import Board
from pipeline.core.errors import DeviceError
from pipeline.core.nouns import DeviceInfo, Image, Progress, no_progress
from pipeline.device import runners, session
from pipeline.device.links import serial

RESTART_S = 10.0
"""A board with USB of its own takes a few seconds to show its port again."""
SILENT = "it was flashed: name the right port, set BOOT0 back to low, reset it; docs/BOARDS.md has more"
"""What to do when a board that was just flashed does not answer."""


def flash(
    image: Image,
    folder: Path,
    board: Board,
    *,
    place: str | None = None,
    serial_number: str = "",
    only: str | None = None,
    progress: Progress = no_progress,
) -> DeviceInfo:
    """What the board says of itself once it runs `image`, whose files are in `folder`: success is its answer to HELLO
    with the expected digest, nothing less.

    place: port of a real board, an emulated one is started and ended; serial_number: of its debug probe, where several
    are plugged in; only: this one of the board's runners. ToolError when the flashing tool is missing, DeviceError when
    it fails or the board does not answer, IdentityError when another board or other firmware does.
    """
    runner = runners.choose(board, only, place=place)
    port = serial.identify(place) if place else None
    if not runner.EMULATOR:
        if getattr(runner, "FINDS_BOARD", False):
            # The port may be that of a separate adapter, which only the confirmation needs.
            runners.commands(runner, board, folder, place, serial_number)
        _try_port(board, runners.need_port(board, place), may_be_away=not runner.NEEDS_PORT)
        runners.flash(board, folder, place, serial_number=serial_number, only=only, progress=progress)
    progress("confirm", 0, 1, "wait for HELLO")
    info = _hello(folder, board, place, port, emulated=runner.EMULATOR)
    session.check_identity(info, image.digest, board)
    progress("confirm", 1, 1, f"digest {info.digest}")
    return info


def commands(
    folder: Path, board: Board, *, place: str | None = None, serial_number: str = "", only: str | None = None
) -> list[list[str]]:
    """The exact command lines `flash` would run, in order; of an emulated board the one that starts it."""
    runner = runners.choose(board, only, place=place)
    if runner.EMULATOR:
        return [runner.command(board, folder, place)]
    return runners.commands(runner, board, folder, place, serial_number)


def _try_port(board: Board, port: str, may_be_away: bool) -> None:
    """DeviceError when the port cannot be used: unlike the tools it says who holds it, or which group may open it, and
    no other board is flashed by mistake. may_be_away: a board with USB of its own has no port in its bootloader."""
    if may_be_away and board.flashing.touch_1200_baud and not Path(port).exists():
        return
    session.open_link(board, port).close()


def _hello(folder: Path, board: Board, place: str | None, port: serial.Port | None, emulated: bool) -> DeviceInfo:
    """The device's HELLO; a real one's port may be away for RESTART_S while it restarts, and come back under another
    name."""
    deadline_s = time.monotonic() + (0.0 if emulated else RESTART_S)
    while True:
        try:
            with session.connect(board, folder, serial.follow(port) if port else place) as device:
                return device.hello() if emulated else device.hello(hint=SILENT)
        except DeviceError:
            if time.monotonic() >= deadline_s:
                raise
            time.sleep(0.2)
