"""One command per stage. A stage works from what the earlier ones stored, and says which is missing."""

from __future__ import annotations

import argparse
import json
import shlex
from typing import TYPE_CHECKING, Any

from pipeline.cli import options
from pipeline.cli.command import Command, Option
from pipeline.cli.commands.run import show_report
from pipeline.core.errors import MismatchError
from pipeline.stages import STAGES

if TYPE_CHECKING:
    from pipeline.workflow.plan import RunPlan


class Stage(Command):
    """The stage of the same name."""

    def invoke(self, arguments: argparse.Namespace) -> int:
        from pipeline.cli import runs

        plan = runs.plan(arguments)
        self.show(plan, runs.make_one(plan, self.NAME), arguments)
        return 0

    def show(self, plan: RunPlan, made: Any, arguments: argparse.Namespace) -> None:
        """Prints what there is to say beyond the progress lines: by default nothing."""


class Train(Stage):
    """Needs TensorFlow."""

    NAME, HELP = "train", STAGES["train"]
    OPTIONS = (*options.TRAINING, options.RESUME, options.FRESH)


class Lower(Stage):
    """Prints the choice of bits, where the job asks for one."""

    NAME, HELP = "lower", STAGES["lower"]
    OPTIONS = (*options.TRAINING, options.FRESH)

    def show(self, plan: RunPlan, made: Any, arguments: argparse.Namespace) -> None:
        from pipeline.cli import console

        if "layerwise" in made.metrics:
            console.layerwise(made.metrics["layerwise"])


class Attack(Stage):
    """Attacks the integer network of a job or a stored one: its own attacks, or those named here."""

    NAME, HELP = "attack", STAGES["attack"]
    OPTIONS = (
        *options.TRAINING, options.MODEL, options.DATASET, *options.ATTACKS, options.LIMIT, options.BOARD,
        options.ORACLE, *options.ON_DEVICE, options.FRESH, options.JSON,
    )  # fmt: skip

    def repeated(self, asker: Command) -> tuple[Option, ...]:
        """Also for other commands, whose samples the twin's answers decide: without what only a board needs."""
        unwanted = () if options.ORACLE in asker.OPTIONS else options.ON_DEVICE
        return tuple(option for option in super().repeated(asker) if option not in unwanted)

    def show(self, plan: RunPlan, made: Any, arguments: argparse.Namespace) -> None:
        from pipeline.analysis import outcomes
        from pipeline.cli import console

        summary = outcomes.summarize(made.outcomes, made.device)
        if arguments.json:
            console.stdout(json.dumps(summary, indent=1))
        else:
            console.attacks(summary)
        if made.device is not None and made.device.differing:
            from pipeline.device import mismatch
            from pipeline.workflow import workflow

            told = f"{made.device.differing} of {made.device.answers} answers of the device are not the twin's"
            for folder, first in mismatch.stored(plan.device_folder / workflow.MISMATCHES, made.device.digest)[:1]:
                raise MismatchError(f"{told}; {first.description}", mismatch.command(folder), folder)
            raise MismatchError(told, f"to find the layer: {plan.command('stream')}")


class Render(Stage):
    """Templates and the network become text."""

    NAME, HELP = "render", STAGES["render"]
    OPTIONS = (*options.FIRMWARE, options.FRESH)


class Build(Stage):
    """Needs the board's compiler."""

    NAME, HELP = "build", STAGES["build"]
    OPTIONS = (*options.FIRMWARE, options.BUDGET, options.FRESH)

    def show(self, plan: RunPlan, made: Any, arguments: argparse.Namespace) -> None:
        from pipeline.cli import console

        console.unserved(made.unserved)


class Flash(Stage):
    """Needs one of the board's flashing tools."""

    NAME, HELP = "flash", STAGES["flash"]
    DRY_RUN = Option("--dry-run", "print the command lines, run none of them", {"action": "store_true"}, selects=False)
    OPTIONS = (*options.FIRMWARE, options.PORT, options.UNIT, options.RUNNER, options.FRESH, DRY_RUN)

    def invoke(self, arguments: argparse.Namespace) -> int:
        if not arguments.dry_run:
            return super().invoke(arguments)
        from pipeline.cli import console, runs

        console.stdout("\n".join(map(shlex.join, runs.flash_commands(runs.plan(arguments)))))
        return 0


class Stream(Stage):
    """The board answers every sample."""

    NAME, HELP = "stream", STAGES["stream"]
    OPTIONS = (
        *options.FIRMWARE, options.BUDGET, options.LIMIT, options.PORT, options.UNIT, options.FRESH,
    )  # fmt: skip

    def invoke(self, arguments: argparse.Namespace) -> int:
        from pipeline.analysis import budget
        from pipeline.cli import runs
        from pipeline.workflow import workflow

        plan = runs.plan(arguments)
        trace, qmodel = runs.make(plan, self.NAME, "lower", allowed=(*workflow.QUICK, self.NAME))
        budget.check_trace(plan.budget, trace, qmodel)
        return 0


class Report(Stage):
    """Prints a summary, or with --json all of report.json."""

    NAME, HELP = "report", STAGES["report"]
    OPTIONS = (*options.FIRMWARE, options.LIMIT, options.FRESH, options.JSON)

    def show(self, plan: RunPlan, made: Any, arguments: argparse.Namespace) -> None:
        show_report(plan, made, arguments.json)
