"""`tritmcu reproduce`."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.cli import options
from pipeline.cli.command import Command, Option

FOLDER = Option(
    "folder",
    "a folder in runs/NAME/stream/mismatches or runs/NAME/oracle/mismatches",
    {"type": Path, "metavar": "FOLDER"},
)


class Reproduce(Command):
    """MismatchError when device and twin still differ."""

    NAME = "reproduce"
    HELP = "run a recorded device/twin mismatch again"
    OPTIONS = (FOLDER, options.PORT, options.UNIT)

    def invoke(self, arguments: argparse.Namespace) -> int:
        from pipeline.cli import console
        from pipeline.core.errors import MismatchError
        from pipeline.device import mismatch

        folder = arguments.folder
        recorded, found = mismatch.reproduce(folder, arguments.port or "", arguments.unit or "")
        console.stdout(f"recorded: {recorded.description}")
        if found is not None:
            raise MismatchError(found.description, f"compare device.npy and twin.npy in {folder}", folder)
        console.stdout("now: device and twin agree")
        return 0
