"""arduino-cli: every board of the Arduino ecosystem, through its own core's upload tool."""

from __future__ import annotations

from pathlib import Path

from pipeline.config.board import Board
from pipeline.core.shell import Result
from pipeline.device.runners import (
    PORT_FAILURES,
    SILENT,
    USB_FAILURES,
    Failure,
    already_running,
    firmware,
    judge,
    need_port,
)

PROGRAM = "arduino-cli"
EMULATOR = False
NEEDS_PORT = True
TOUCHES = True
attach = already_running
PROOF = ""
"""Every core has its own upload tool with its own words: the exit code has to do until HELLO."""
FAILURES = (
    Failure(
        r"[Pp]latform .* not (?:installed|found)|Unknown FQBN|Error resolving FQBN",
        "the board's Arduino core is not installed",
        "arduino-cli core install PACKAGE:ARCHITECTURE, as in fqbn of [flashing.arduino_cli]",
    ),
    Failure(r"No device found|no DFU capable|not in sync", SILENT, "press reset twice; run again"),
    *USB_FAILURES,
    *PORT_FAILURES,
)


def command(board: Board, folder: Path, place: str | None = None, serial_number: str = "") -> list[str]:
    """Uploads the firmware and has it read back where the core's tool can."""
    arguments = board.flashing.arduino_cli
    assert arguments is not None
    path = str(firmware(board, folder, arguments.suffix))
    port = need_port(board, place)
    return [PROGRAM, "upload", "--fqbn", arguments.fqbn, "--port", port, "--verify", "--input-file", path]


def verify(board: Board, result: Result) -> None:
    """DeviceError when the upload ended with an error."""
    judge(result, PROOF, FAILURES)
