"""`tritmcu boards`."""

from __future__ import annotations

import argparse
import json

from pipeline.cli import options
from pipeline.cli.command import Command


class Boards(Command):
    """The shipped ones and the user's own."""

    NAME = "boards"
    HELP = "list the boards"
    OPTIONS = (options.JSON,)

    def invoke(self, arguments: argparse.Namespace) -> int:
        from pipeline.cli import console
        from pipeline.config import board as boards
        from pipeline.core import text

        known = [boards.load(name) for name in boards.names()]
        if arguments.json:
            console.stdout(json.dumps([board.model_dump(mode="json") for board in known], indent=1))
            return 0
        columns = ("board", "MCU", "core", "flash", "RAM", "link", "runner", "silicon")
        rows = [
            (b.name, b.mcu, b.core, *(text.size(m.length) for m in (b.memory.flash, b.memory.ram)), b.link.kind,
             b.runner, "tried" if b.silicon_tested else "not tried")
            for b in known
        ]  # fmt: skip
        console.table("", columns, rows, right=(3, 4))
        return 0
