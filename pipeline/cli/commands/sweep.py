"""`tritmcu sweep`: many trainings, as differences to a job."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli import options
from pipeline.cli.command import Command, Option

if TYPE_CHECKING:
    from pipeline.config.sweep import Sweep as SweepFile
    from pipeline.workflow.claim import Owner
    from pipeline.workflow.sweep import SweepRun

FILE = Option(
    "sweep", "TOML file of studies: a base job, rows that change it, seeds, folds", {"metavar": "SWEEP"}, options.WHAT
)
STUDY = Option("--study", "only the study of this name", {"metavar": "NAME"}, options.WHAT)
CLUSTER = Option(
    "--cluster",
    "run on a Ray cluster whose machines share the folder; local: on the cores of this one",
    {"metavar": "ADDRESS"},
    options.WHERE,
)
RUN_DIR = Option("--run-dir", "keep everything in DIR instead of runs/SWEEP", {"type": Path, "metavar": "DIR"}, "where")
SHOW = Option("--show", "only show the results so far", {"action": "store_true"}, options.HOW, selects=False)


class Sweep(Command):
    """Each trial is a run in a folder of its own; what is done is not repeated."""

    NAME = "sweep"
    HELP = "train and attack many variants of a job, here or on a cluster; continues where it stopped"
    OPTIONS = (FILE, STUDY, CLUSTER, RUN_DIR, SHOW, options.JSON)

    def invoke(self, arguments: argparse.Namespace) -> int:
        from pipeline.cli import runs
        from pipeline.config import sweep as sweeps
        from pipeline.core.errors import ConfigError
        from pipeline.core.registry import unknown
        from pipeline.workflow import claim
        from pipeline.workflow.sweep import SweepRun

        path, study = Path(arguments.sweep), arguments.study or ""
        wanted = sweeps.load(path)
        if arguments.study is not None and study not in (names := [known.name for known in wanted.study]):
            raise ConfigError(*unknown("study", study, names))
        found = sweeps.trials(wanted, str(path), path.parent)
        run = SweepRun(path.stem, found, arguments.run_dir or runs.RUNS / path.stem, study)
        owner = claim.of_sweep(path, found)
        claim.check(run.root, owner)
        if not arguments.show:
            work(run, wanted, arguments.cluster, owner)
        show(run, arguments.json)
        if not arguments.show:
            run.require_all()
        return 0


def work(run: SweepRun, wanted: SweepFile, address: str | None, owner: Owner) -> None:
    """Does what is missing of the sweep, here or on the cluster. owner: whose its folder is then."""
    from pipeline.cli import console
    from pipeline.core import cluster, lock
    from pipeline.workflow import claim
    from pipeline.workflow.sweep import Here, Pool, There

    with ExitStack() as stack:
        stack.enter_context(lock.working_in(run.root))
        claim.take(run.root, owner)
        if address is None:
            pool: Pool = Here(stack.enter_context(closing(console.display())))
        else:
            joined = stack.enter_context(cluster.joined(address, cpus=wanted.cpus))
            pool = There(joined, wanted.cpus, run.root)
        run.run(pool, console.stderr)
        run.write()


def show(run: SweepRun, as_json: bool) -> None:
    """Prints the results so far, and where their page is."""
    from pipeline.analysis import trials
    from pipeline.cli import console
    from pipeline.workflow.sweep import PAGE

    lines = run.lines()
    if as_json:
        console.stdout(json.dumps(trials.numbers(lines), indent=1))
        return
    columns = trials.columns(lines)
    console.table("", columns, list(trials.cells(lines)), right=range(3, columns.index("bytes") + 1))
    if (run.root / PAGE).exists():  # --show before the first trial
        console.stderr(str(run.root / PAGE))
