"""`tritmcu export`: the firmware project, or the network as a library, for other tools."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from pipeline.cli import options
from pipeline.cli.command import Command, Option

OUTPUT = Option(
    "--output", "new or empty folder; by default NAME-BOARD-FORMAT", {"type": Path, "metavar": "DIR"}, options.WHERE
)
FORMAT = Option(
    "--format",
    "the firmware for cmake (as it is built here, the default), arduino (library and sketch) or platformio; or "
    "library: only the network, for programs of your own",
    {"metavar": "FORMAT", "default": "cmake"},
    options.HOW,
)


class Export(Command):
    """Trains and renders first what is missing."""

    NAME = "export"
    HELP = "write the firmware as a project, or the network as a library"
    OPTIONS = (*options.FIRMWARE, OUTPUT, FORMAT, options.RESUME, options.FRESH)

    def invoke(self, arguments: argparse.Namespace) -> int:
        from contextlib import closing

        from pipeline.cli import console, runs
        from pipeline.stages import STAGES
        from pipeline.workflow import exports
        from pipeline.workflow.workflow import Workflow

        plan, form = runs.plan(arguments), arguments.format
        folder = arguments.output or Path(f"{plan.name}-{plan.board.name}-{form}")
        with closing(console.display()) as display:
            command = exports.write(Workflow(plan, display, STAGES), folder, form)
        console.stdout(f"cd {shlex.quote(str(folder))} && {command}")
        return 0
