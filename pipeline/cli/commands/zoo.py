"""`tritmcu zoo`."""

from __future__ import annotations

import argparse
import json

from pipeline.cli import options
from pipeline.cli.command import Command


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
        columns = ("name", "clean", "95 % interval", "PGD-20", "worst case", "bytes", "data set", "method")
        rows = []
        for card in map(zoo.card, zoo.names()):
            low, high = (text.percent(share) for share in card.clean.interval)
            clean, size = text.percent(card.clean.accuracy), text.count(card.tables_bytes)
            robust, worst = (
                ", ".join(f"{text.percent(point.accuracy)} at {point.eps}" for point in points[-1:])
                for points in (card.robust, card.worst)
            )
            row = (card.name, clean, f"{low} to {high}", robust or "–", worst or "not measured", size, card.dataset)
            rows.append((*row, card.method))
        for known in zoo.own():
            origin = f"imported from {known[zoo.IMPORTED]}" if known[zoo.IMPORTED] else ""
            rows.append((known["name"], "–", "–", "–", "–", "–", known[zoo.DATASET] or "–", origin))
        console.table("", columns, rows, right=range(1, 6))
        return 0
