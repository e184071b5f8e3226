"""`tritmcu compare`: networks side by side."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from pipeline.cli import options
from pipeline.cli.command import Command, Option

NETWORKS = Option(
    "networks",
    "networks of the zoo, trained jobs, folders of runs or of stored networks; ratios are to the first",
    {"metavar": "NETWORK", "nargs": "+"},
    options.WHAT,
)
HTML = Option(
    "--html",
    "HTML page; by default runs/compare/compare.html",
    {"type": Path, "metavar": "FILE"},
    selects=False,
)


BOARDS = replace(
    options.BOARD,
    help="board instead of that of the first; given several times, every network on each",
    settings={"action": "append", "metavar": "NAME"},
)
KERNELS = replace(
    options.KERNELS,
    help="as for run; given several times, every network with each",
    settings={**options.KERNELS.settings, "action": "append"},
)


class Compare(Command):
    """Each is built, and run where its board is emulated."""

    NAME = "compare"
    HELP = "show networks side by side: accuracy, robustness, instructions, flash, RAM"
    OPTIONS = (NETWORKS, options.DATASET, options.LIMIT, BOARDS, KERNELS, options.JSON, HTML)

    def invoke(self, arguments: argparse.Namespace) -> int:
        from contextlib import closing

        from pipeline.analysis import compare
        from pipeline.cli import console, runs
        from pipeline.core import store
        from pipeline.workflow import comparison

        plans = runs.subjects(arguments)
        with closing(console.display()) as display:
            found = comparison.compare(plans, runs.RUNS, display)
        page = arguments.html or runs.RUNS / comparison.FOLDER / "compare.html"
        store.write_text(page, compare.page(found))
        if arguments.json:
            console.stdout(json.dumps(compare.numbers(found), indent=1))
        else:
            lines = (compare.rows(found), compare.layer_rows(found), compare.kernel_rows(found))
            console.comparison(compare.columns(found), *map(list, lines))
            console.unserved(compare.unserved(found))
        console.stderr(str(page))
        return 0
