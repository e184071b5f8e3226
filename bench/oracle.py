"""How fast devices answer the queries of an attack: `python -m bench.oracle --devices 2`.

For 1 to N devices: answers per second, and processor time per answer, of the emulators and of this program. If the
machine does other work at the same time, compare the processor times.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.cli import console
from pipeline.cli.options import positive
from pipeline.config import board as boards
from pipeline.config.board import Board
from pipeline.core import store
from pipeline.core.errors import MismatchError
from pipeline.core.nouns import Image, Int8Array, QModel
from pipeline.device.connection import Connection
from pipeline.robustness.answers import Answers
from pipeline.robustness.device_oracle import DeviceOracle
from pipeline.stages import build, render
from pipeline.workflow import zoo


@dataclass(frozen=True)
class Rate:
    """How fast a number of devices answered."""

    devices: int
    """How many."""
    answers_per_s: float
    """Of all together, wall clock."""
    device_ms: float
    """Processor time of the emulators per answer; 0 for real boards."""
    host_ms: float
    """Processor time of this program per answer, the twin's answer included."""


def measure(model: QModel, image: Image, folder: Path, board: Board, devices: int, x: Int8Array) -> Rate:
    """The rate of a number of emulators of the firmware in `folder` on samples x (n, *shape), all different."""
    idle_s = _ask(model, image, folder, board, devices, x[:0])[2]
    wall_s, host_s, device_s = _ask(model, image, folder, board, devices, x)
    ms = 1000 / len(x)
    return Rate(devices, len(x) / wall_s, (device_s - idle_s) * ms, host_s * ms)


def _ask(
    model: QModel, image: Image, folder: Path, board: Board, devices: int, x: Int8Array
) -> tuple[float, float, float]:
    """(wall clock of the answers, this program's processor time for them, the emulators' from their start), seconds."""
    before = _children_s()
    warm = np.zeros((devices, *model.input.shape), np.int8)
    warm.reshape(devices, -1)[:, 0] = range(devices)
    with tempfile.TemporaryDirectory() as scratch:
        connections = [Connection(model, image, folder, board) for _ in range(devices)]
        oracle = DeviceOracle(model, connections, Answers(Path(scratch) / "answers", image.digest, len(model.classes)))
        with closing(oracle):
            oracle.logits(warm)  # starts them
            wall_s, host_s = time.monotonic(), time.process_time()
            if len(x):
                oracle.logits(x)
            wall_s, host_s = time.monotonic() - wall_s, time.process_time() - host_s
            if oracle.summary(board.name, image.digest).differing:
                raise MismatchError(
                    f"board {board.name!r}: answers that are not the twin's", "tritmcu stream finds where"
                )
    return wall_s, host_s, _children_s() - before


def _children_s() -> float:
    """Processor time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def table(rates: Sequence[Rate]) -> list[tuple[str, ...]]:
    """Cells of a row for each, the speed-up over the first last."""
    return [
        (str(r.devices), f"{r.answers_per_s:.1f}", f"{r.device_ms:.1f}", f"{r.host_ms:.1f}",
         f"{r.answers_per_s / rates[0].answers_per_s:.2f}")
        for r in rates
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast emulated devices answer the queries of an attack.")
    parser.add_argument(
        "--model", type=Path, default=Path("cifar10_resnet8_at"), help="network of the zoo, or a folder"
    )
    parser.add_argument("--board", default="netduinoplus2", help="an emulated board")
    parser.add_argument("--devices", type=positive, default=2, help="measure with 1 to N of them")
    parser.add_argument("--limit", type=positive, default=100, help="number of answers in each measurement")
    arguments = parser.parse_args()
    model, board = store.load(zoo.find(arguments.model), QModel), boards.load(arguments.board)
    shape = (arguments.limit, *model.input.shape)
    x = np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        image = build.build(render.render(model, board), board, folder)
        counts = range(1, arguments.devices + 1)
        rates = [measure(model, image, folder, board, count, x) for count in counts]
    columns = ("devices", "answers/s", "emulator ms/answer", "host ms/answer", "speed-up")
    console.table(f"{model.name} on {board.name}", columns, table(rates), right=range(5))


if __name__ == "__main__":
    main()
