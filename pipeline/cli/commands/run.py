"""`tritmcu run`: everything, from a job or a stored network to the report."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from pipeline.cli import options
from pipeline.cli.command import Command

if TYPE_CHECKING:
    from pipeline.workflow.plan import RunPlan


class Run(Command):
    """All stages."""

    NAME = "run"
    HELP = "run all stages, from a job or a stored network to the report"
    OPTIONS = (
        *options.FIRMWARE, options.BUDGET, options.LIMIT, options.PORT, options.UNIT, options.RUNNER, options.RESUME,
        options.FRESH, options.JSON,
    )  # fmt: skip

    def invoke(self, arguments: argparse.Namespace) -> int:
        from pipeline.cli import runs

        plan = runs.plan(arguments)
        show_report(plan, runs.make(plan, "report")[0], arguments.json)
        return 0


def show_report(plan: RunPlan, report: Any, as_json: bool) -> None:
    """Prints the content of report.json, or two tables and where report.html is. BudgetError, after that, when one
    inference takes more than the plan's budget."""
    from pipeline.analysis import budget
    from pipeline.cli import console

    if as_json:
        console.stdout(json.dumps(report, indent=1))
    else:
        console.summary(report)
        console.stdout(str(plan.device_folder / "report.html"))
    budget.check_report(plan.budget, report)
