"""What each command of cli.py does: plan, run the workflow, show."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pipeline.cli import console, doctor
from pipeline.config import board as boards
from pipeline.config import job as jobs
from pipeline.config import platformio
from pipeline.config.job import FirmwareConfig, Job
from pipeline.core import text
from pipeline.core.errors import ConfigError, MismatchError
from pipeline.device import mismatch, rig
from pipeline.device.rig import Port, Probe, Unit
from pipeline.stages import STAGES, export
from pipeline.workflow import workflow, zoo
from pipeline.workflow.plan import RunPlan, plan_job, plan_model
from pipeline.workflow.workflow import Workflow

RUNS = Path("runs")
MAIN_JOB = "digits"


def act(arguments: argparse.Namespace) -> int:
    """Does what the command line asks for; the exit code."""
    acts: dict[str, Callable[[argparse.Namespace], int]] = {
        "export": _export,
        "boards": _boards,
        "zoo": _zoo,
        "doctor": _doctor,
        "rig": _rig,
        "board": _board,
        "reproduce": _reproduce,
    }
    return acts.get(arguments.verb, _run)(arguments)


def _run(arguments: argparse.Namespace) -> int:
    """`run`, or one stage."""
    plan = _plan(arguments)
    if arguments.verb == "flash" and arguments.dry_run:
        return _dry_run(plan)
    whole = arguments.verb == "run"
    with closing(console.display()) as display:
        made = Workflow(plan, display, STAGES if whole else (*workflow.QUICK, arguments.verb))
        result = made.make("report" if whole else arguments.verb)
    if arguments.verb in ("run", "report"):
        _show(plan, result, arguments.json)
    elif arguments.verb == "lower" and "layerwise" in result.metrics:
        console.layerwise(result.metrics["layerwise"])
    return 0


def _dry_run(plan: RunPlan) -> int:
    with closing(console.display()) as display:
        lines = Workflow(plan, display, (*workflow.QUICK, "flash")).flash_commands()
    console.stdout("\n".join(map(shlex.join, lines)))
    return 0


def _show(plan: RunPlan, report: Any, as_json: bool) -> None:
    if as_json:
        console.stdout(json.dumps(report, indent=1))
    else:
        console.summary(report)
        console.stdout(str(plan.device_folder / "report.html"))


def _plan(arguments: argparse.Namespace) -> RunPlan:
    options = {
        "limit": arguments.limit,
        "resume": arguments.resume,
        "fresh": arguments.fresh,
        "port": arguments.port,
        "unit": arguments.unit,
        "runner": arguments.runner,
        "kernels": arguments.kernels,
        "words": shlex.join(word for word in arguments.words if word != "--dry-run"),
    }
    if arguments.model is None:
        job = _job(arguments)
        plan = plan_job(job, boards.load(arguments.board or job.board), RUNS, **options)
    elif arguments.job:
        raise ConfigError(f"{arguments.job} and --model {arguments.model}: only one of them can be run")
    else:
        stored = zoo.find(arguments.model)
        plan = plan_model(stored, arguments.dataset, arguments.board, RUNS, **options)
    if arguments.trits_per_byte is not None:
        plan = replace(plan, firmware=FirmwareConfig(trits_per_byte=arguments.trits_per_byte))
    return plan if arguments.run_dir is None else plan.moved_to(arguments.run_dir)


def _job(arguments: argparse.Namespace) -> Job:
    job = jobs.load(jobs.find(arguments.job or MAIN_JOB))
    if arguments.epochs is not None:
        job = job.model_copy(update={"train": job.train.model_copy(update={"epochs": arguments.epochs})})
    return job if arguments.seed is None else job.model_copy(update={"seed": arguments.seed})


def _export(arguments: argparse.Namespace) -> int:
    plan = _plan(arguments)
    with closing(console.display()) as display:
        made = Workflow(plan, display)
        sources, model = made.render(), made.lower().name
    command = export.export(sources, plan.board, model, arguments.output, arguments.format)
    console.stdout(f"cd {shlex.quote(str(arguments.output))} && {command}")
    return 0


def _boards(arguments: argparse.Namespace) -> int:
    known = [boards.load(name) for name in boards.names()]
    if arguments.json:
        console.stdout(json.dumps([board.model_dump(mode="json") for board in known], indent=1))
        return 0
    columns = ("board", "MCU", "core", "flash", "RAM", "link", "runner", "silicon")
    rows = [
        (b.name, b.mcu, b.core, *(text.size(m.length) for m in (b.memory.flash, b.memory.ram)), b.link.kind, b.runner,
         "tried" if b.silicon_tested else "not tried")
        for b in known
    ]  # fmt: skip
    console.table("", columns, rows, right=(3, 4))
    return 0


def _zoo(arguments: argparse.Namespace) -> int:
    if arguments.json:
        console.stdout(json.dumps(zoo.listing(), indent=1))
        return 0
    columns = ("name", "data set", "method", "clean", "95 % interval", "robust", "bytes")
    rows = []
    for card in map(zoo.card, zoo.names()):
        low, high = (text.percent(share) for share in card.clean.interval)
        clean, size = text.percent(card.clean.accuracy), text.count(card.tables_bytes)
        robust = ", ".join(f"{text.percent(point.accuracy)} at {point.eps}" for point in card.robust[-1:])
        rows.append((card.name, card.dataset, card.method, clean, f"{low} to {high}", robust or "–", size))
    console.table("", columns, rows, right=(3, 6))
    return 0


def _rig(arguments: argparse.Namespace) -> int:
    """What is plugged in, or one unit more in rig.toml."""
    if arguments.add:
        board = boards.load(arguments.add)
        port = rig.pick(board, rig.ports(), arguments.port)
        rig.save(rig.add(rig.load(), board, port, name=arguments.name, probe=arguments.probe))
        console.stderr(f"{board.name} is at {port.device}: {rig.FILE}")
        return 0
    ports, probes, units = rig.ports(), rig.probes(), rig.load().unit
    if arguments.json:
        found = {"ports": [p._asdict() for p in ports], "probes": [p._asdict() for p in probes]}
        console.stdout(json.dumps({**found, "units": [u.model_dump() for u in units]}, indent=1))
        return 0
    may_be = [", ".join(rig.candidates(port)) for port in ports]
    console.table("ports", (*Port._fields, "may be"), [(*p, m) for p, m in zip(ports, may_be, strict=True)])
    console.table("debug probes and bootloaders", Probe._fields, probes)
    console.table(str(rig.FILE), tuple(Unit.model_fields), [tuple(u.model_dump().values()) for u in units])
    return 0


def _board(arguments: argparse.Namespace) -> int:
    path = platformio.import_board(arguments.file, name=arguments.name)
    console.stderr(f"{path}: read it, then tritmcu export --format arduino --board {path.stem} --output DIR")
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    """1 when something is missing."""
    findings = doctor.examine()
    lacking = doctor.missing(findings)
    if arguments.json:
        console.stdout(json.dumps({name: [asdict(f) for f in group] for name, group in findings.items()}, indent=1))
    else:
        rows = [(f.name, f.version or "MISSING", f.needed_by) for group in findings.values() for f in group]
        console.table("", ("", "found", "needed by"), rows)
        for finding in lacking:
            console.stdout(f"{finding.name} is missing: {finding.hint}")
    return 1 if lacking else 0


def _reproduce(arguments: argparse.Namespace) -> int:
    """0 when device and twin agree now; MismatchError when they still differ."""
    recorded, found = mismatch.reproduce(arguments.folder, arguments.port)
    console.stdout(f"recorded: {recorded.description}")
    if found is not None:
        raise MismatchError(
            found.description, f"compare device.npy and twin.npy in {arguments.folder}", arguments.folder
        )
    console.stdout("now: device and twin agree")
    return 0
