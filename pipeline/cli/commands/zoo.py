"""`tritmcu zoo`."""

from __future__ import annotations

import argparse
import json
import textwrap
from typing import TYPE_CHECKING

from pipeline.cli import options
from pipeline.cli.command import Command

if TYPE_CHECKING:
    from pipeline.workflow.zoo import Cost

COLUMNS = ("name", "clean", "95 % interval", "PGD-20", "worst case", "bytes", "instructions", "time (model)",
           "data set", "method")  # fmt: skip
NOTE = (
    "instructions: of one inference, executed in the emulator of {board}; "
    "time: at its {mhz:g} MHz by a model of the Cortex-M4, not silicon"
)


class Zoo(Command):
    """What its cards say."""

    NAME = "zoo"
    HELP = "list the networks that ship with tritmcu, and your own"
    OPTIONS = (options.JSON,)

    def invoke(self, arguments: argparse.Namespace) -> int:
        from pipeline.cli import console
        from pipeline.core import text
        from pipeline.workflow import zoo

        if arguments.json:
            console.stdout(json.dumps(zoo.listing(), indent=1))
            return 0
        cards = [zoo.card(name) for name in zoo.names()]
        rows = []
        for card in cards:
            low, high = (text.percent(share) for share in card.clean.interval)
            clean, size = text.percent(card.clean.accuracy), text.count(card.tables_bytes)
            robust, worst = (
                ", ".join(f"{text.percent(point.accuracy)} at {point.eps}" for point in points[-1:])
                for points in (card.robust, card.worst)
            )
            row = (card.name, clean, f"{low} to {high}", robust or "–", worst or "not measured", size)
            rows.append((*row, *_cost(card.cost), card.dataset, card.method))
        for known in zoo.own():
            origin = f"imported from {known[zoo.IMPORTED]}" if known[zoo.IMPORTED] else ""
            rows.append((known["name"], *["–"] * 7, known[zoo.DATASET] or "–", origin))
        console.table("", COLUMNS, rows, right=range(1, 8))
        for where in dict.fromkeys((card.cost.board, card.cost.clock_hz) for card in cards if card.cost):
            note = NOTE.format(board=where[0], mhz=where[1] / 1e6)
            console.stdout(textwrap.fill(note, console.table_width()))
        return 0


def _cost(cost: Cost | None) -> tuple[str, str]:
    """Instructions and estimated time of one inference."""
    from pipeline.core import text

    return (text.compact(cost.instructions), f"{cost.milliseconds:.1f} ms") if cost else ("not measured", "–")
