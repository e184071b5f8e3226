"""From parsed arguments to a RunPlan, and from a plan to what a stage makes: where commands meet the workflow."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.analysis.budget import TICKS
from pipeline.cli import console, options
from pipeline.config import board as boards
from pipeline.config import budget as budgets
from pipeline.config import job as jobs
from pipeline.config.budget import NO_BUDGET, CostBudget
from pipeline.config.job import AttackConfig, FirmwareConfig, Job
from pipeline.core import schema
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import AuditResult
from pipeline.stages import STAGES
from pipeline.workflow import subjects as networks
from pipeline.workflow import ternarization, workflow, zoo
from pipeline.workflow.plan import RunPlan, for_audit, plan_job, plan_model
from pipeline.workflow.workflow import Workflow

RUNS = Path("runs")
BUILDING = ("build", "size")
"""Commands that build and do not run."""
MAIN_JOB = "digits"
PLANNED = ("limit", "resume", "fresh", "port", "unit", "runner", "kernels", "oracle", "devices", "cluster")
"""Arguments that a RunPlan takes as they are."""
NAMING = (options.SUITE, options.ATTACK)
"""Options that say which attack is meant."""
JOBS_ONLY = (options.EPOCHS, options.RESUME)
"""Options of a training, which a stored network no longer needs."""


def plan(arguments: argparse.Namespace) -> RunPlan:
    """What the arguments mean. An option the command does not have is at its default. ConfigError: options that
    contradict each other, an unknown job, board, network or data set."""
    given = _given(arguments)
    model, board = getattr(arguments, "model", None), getattr(arguments, "board", None)
    _check_oracle(arguments)
    if model is None:
        if options.DATASET.given(arguments):
            raise ConfigError(f"--dataset {arguments.dataset}: only for --model; a job names its own data set")
        file = jobs.find(arguments.job or MAIN_JOB)
        job = _with_training(jobs.load(file), arguments)
        planned = plan_job(job, boards.load(board or job.board), RUNS, job_file=file, **given)
    else:
        _check_stored(arguments)
        planned = plan_model(
            networks.network_of(zoo.find(model)), arguments.dataset, board, RUNS, draws=arguments.seed, **given
        )
    planned = _with_options(planned, arguments)
    if (attacks := _attacks(arguments)) is not None:
        planned = replace(planned, attacks=attacks)
    return planned if arguments.run_dir is None else planned.moved_to(arguments.run_dir)


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """What a RunPlan takes as it is, as far as the command line says it."""
    given = {name: getattr(arguments, name) for name in PLANNED if hasattr(arguments, name)}
    return {name: value for name, value in given.items() if value is not None}


def subject(word: str, arguments: argparse.Namespace) -> RunPlan:
    """How to build and run what one word names (workflow/subjects.py), with the options that the command has."""
    planned = networks.plan(word, arguments.board, RUNS, getattr(arguments, "dataset", None), **_given(arguments))
    return replace(_with_options(planned, arguments), called=networks.called(word))


def subjects(arguments: argparse.Namespace) -> list[RunPlan]:
    """The plans of several networks, each on every --board, or else on the board of the first one, with each of the
    --kernels."""

    def planned(word: str, board: str | None, kernels: str | None) -> RunPlan:
        return subject(word, argparse.Namespace(**{**vars(arguments), "board": board, "kernels": kernels}))

    words, kernels = arguments.networks, dict.fromkeys(arguments.kernels or (None,))
    boards = dict.fromkeys(arguments.board or (planned(words[0], None, next(iter(kernels))).board.name,))
    return [planned(word, board, choice) for word in words for board in boards for choice in kernels]


def _with_options(planned: RunPlan, arguments: argparse.Namespace) -> RunPlan:
    """The plan with --trits-per-byte and --budget, where they are given."""
    if (trits := getattr(arguments, "trits_per_byte", None)) is not None:
        planned = replace(planned, firmware=FirmwareConfig(trits_per_byte=trits))
    return replace(planned, budget=planned.budget.with_parts(given_budget(arguments)))


def given_budget(arguments: argparse.Namespace) -> CostBudget:
    """What --budget says. ConfigError: a part that the command cannot check, for it runs nothing."""
    words = getattr(arguments, "budget", None)
    found = budgets.parse(words) if words else NO_BUDGET
    if arguments.command in BUILDING and (ticks := [name for name in TICKS if getattr(found, name) is not None]):
        raise ConfigError(f"--budget {words}: {ticks[0]}: tritmcu {arguments.command} runs nothing", "`tritmcu run`")
    return found


def audit_plan(arguments: argparse.Namespace) -> RunPlan:
    """Which network is audited, with what. ConfigError as `plan`; an eps is needed that neither the arguments nor the
    network's job name."""
    network = subject(arguments.network, arguments)
    planned = for_audit(network, arguments.eps, arguments.source, arguments.norm, arguments.eps_unit)
    return planned if arguments.run_dir is None else planned.moved_to(arguments.run_dir)


def ternary_plan(arguments: argparse.Namespace) -> RunPlan:
    """How a Keras network is made ternary. ConfigError: an unknown file, recipe, data set or board."""
    given = arguments.input_range
    request = ternarization.Request(
        *(arguments.file, arguments.dataset, arguments.recipe, arguments.name),
        first_bits=arguments.first_bits,
        last_bits=arguments.last_bits,
        input_range=tuple(given) if given else None,
        eps=arguments.eps,
    )
    job = _with_training(ternarization.job(request), arguments)
    plan = plan_job(job, boards.load(arguments.board or job.board), RUNS, **_given(arguments))
    return plan if arguments.run_dir is None else plan.moved_to(arguments.run_dir)


def make_audit(planned: RunPlan, asks_board: bool) -> AuditResult:
    """The audit, progress drawn."""
    with closing(console.display()) as display:
        allowed = (*workflow.QUICK, "audit", *(("flash", "stream") if asks_board else ()))
        return Workflow(planned, display, allowed).audit()


def _attacks(arguments: argparse.Namespace) -> tuple[AttackConfig, ...] | None:
    """What --suite or --attack asks for; None: the job's own. ConfigError: options that do not go together."""
    given = [option for option in options.ATTACKS if option.given(arguments)]
    named = [getattr(arguments, name, None) for name in ("suite", "attack")]
    if not given:
        return None
    if all(named):
        raise ConfigError(f"--suite {named[0]} and --attack {named[1]}: only one of them", "a suite names its attacks")
    if not any(named):
        raise ConfigError(f"{given[0].flag}: goes with --suite or --attack", "add --suite strict")
    if not arguments.eps:
        raise ConfigError(f"{given[0].flag}: needs --eps", "for images in [0, 1]: --eps 8/255")
    chosen = {option.name: getattr(arguments, option.name) for option in given if option not in NAMING}
    if options.EPS_UNIT.name in chosen:
        chosen["unit"] = chosen.pop(options.EPS_UNIT.name)
    return (schema.validate(AttackConfig, {"name": named[0] or named[1], **chosen}, "attack"),)


def _check_oracle(arguments: argparse.Namespace) -> None:
    """ConfigError for an option about the device that answers attacks where none does."""
    if getattr(arguments, "oracle", "device") != "device":
        for option in options.ON_DEVICE:
            if option.given(arguments):
                raise ConfigError(f"{option.flag}: goes with --oracle device", f"add it, or leave out {option.flag}")


def _check_stored(arguments: argparse.Namespace) -> None:
    """ConfigError unless everything given with --model has a meaning there."""
    if arguments.job:
        raise ConfigError(f"{arguments.job} and --model {arguments.model}: only one of them can be run")
    for option in JOBS_ONLY:
        if option.given(arguments):
            raise ConfigError(f"{option.flag}: a stored network is not trained", f"leave out {option.flag} or --model")


def _with_training(job: Job, arguments: argparse.Namespace) -> Job:
    """The job with --epochs and --seed, where they are given."""
    if arguments.epochs is not None:
        job = job.model_copy(update={"train": job.train.model_copy(update={"epochs": arguments.epochs})})
    return job if arguments.seed is None else job.model_copy(update={"seed": arguments.seed})


def make(planned: RunPlan, *stages: str, allowed: Iterable[str] = STAGES) -> list[Any]:
    """What each of these stages makes, progress drawn; only the stages in `allowed` may work."""
    with closing(console.display()) as display:
        work = Workflow(planned, display, allowed)
        return [work.make(stage) for stage in stages]


def make_one(planned: RunPlan, stage: str) -> Any:
    """What the stage makes; of the others only those of seconds may work."""
    return make(planned, stage, allowed=(*workflow.QUICK, stage))[0]


def flash_commands(planned: RunPlan) -> list[list[str]]:
    """The command lines that flashing would run."""
    with closing(console.display()) as display:
        return Workflow(planned, display, (*workflow.QUICK, "flash")).flash_commands()
