"""`tritmcu audit`: can the robust accuracy of a network be believed?"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace

from pipeline.cli import options
from pipeline.cli.command import Command, Option

NETWORK = Option(
    "network",
    "network of the zoo, trained job, or folder of a run or of a stored network",
    {"metavar": "NETWORK"},
    options.WHAT,
)
EPS = Option(
    "--eps",
    "budget, such as 8/255, in the unit that --eps-unit names; by default the largest of its job",
    {"metavar": "EPS"},
    options.WHAT,
)
EPS_UNIT = replace(
    options.EPS_UNIT,
    help="unit of the budget, as for attack; by default real, without --eps that of its job",
    settings={**options.EPS_UNIT.settings, "default": None},
)
LIMIT = Option(
    "--limit",
    "use only N test samples, drawn evenly from all classes; by default 200",
    {"type": options.positive, "metavar": "N", "default": 200},
    options.WHAT,
)
SOURCE = Option(
    "--source",
    "network to transfer from; by default the first other one in the zoo that takes the same samples",
    {"metavar": "NETWORK"},
    options.WHAT,
)
BOARD = Option(
    "--board", "also audit the answers and instruction counts of this board", {"metavar": "NAME"}, options.WHERE
)


class Audit(Command):
    """Exit code 0 whatever the verdict is."""

    NAME = "audit"
    HELP = "tell a robust network from one that masks its gradients"
    OPTIONS = (
        NETWORK, EPS, EPS_UNIT, options.NORM, LIMIT, SOURCE, options.DATASET, BOARD, options.PORT, options.UNIT,
        options.RUNNER, options.RUN_DIR, options.FRESH, options.JSON,
    )  # fmt: skip

    def invoke(self, arguments: argparse.Namespace) -> int:
        from pipeline.cli import console, runs
        from pipeline.core.errors import ConfigError

        for option in (options.PORT, options.UNIT, options.RUNNER):
            if option.given(arguments) and not BOARD.given(arguments):
                raise ConfigError(f"{option.flag}: goes with --board", f"add it, or leave out {option.flag}")
        found = runs.make_audit(runs.audit_plan(arguments), BOARD.given(arguments))
        if arguments.json:
            console.stdout(json.dumps(asdict(found), indent=1))
        else:
            console.audit(found)
        return 0
