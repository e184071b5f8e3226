"""Several networks, boards or kernels measured alike: the same samples through each network, and one firmware of each
network, board and kernels counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.analysis import latency, outcomes
from pipeline.analysis.compare import Contender, Share
from pipeline.analysis.statistics import wilson
from pipeline.codegen import planner
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Image, QModel, Sources, Split, TensorSpec
from pipeline.network import twin
from pipeline.workflow import zoo
from pipeline.workflow.display import Display
from pipeline.workflow.plan import RunPlan
from pipeline.workflow.workflow import QUICK, Workflow

FOLDER = "compare"
"""Of the runs, so that a comparison changes nobody's run."""
TIMED_SAMPLES = 8
"""Test samples whose inference is counted."""


def compare(plans: Sequence[RunPlan], runs: Path, display: Display) -> list[Contender]:
    """What each network answers and costs. ConfigError: they do not take the same samples."""
    models = [Workflow(_apart(plan, runs), display, QUICK).lower() for plan in plans]
    for plan, model in zip(plans[1:], models[1:], strict=True):
        _check_alike(plans[0], models[0], plan, model)
    clean: dict[str, Share] = {}
    found = []
    for plan, model in zip(plans, models, strict=True):
        of_first = replace(plan, dataset=plans[0].dataset)
        if model.digest not in clean:
            samples = Workflow(replace(of_first, model=model), display, QUICK).load_data().splits["test"]
            clean[model.digest] = _accuracy(model, samples.subset(plan.limit, plans[0].seed))
        found.append(_contender(of_first, model, clean[model.digest], runs, display))
    return found


def _apart(plan: RunPlan, runs: Path) -> RunPlan:
    """The plan of a stored network in a folder of its own; a job's where its training is."""
    folder = runs / FOLDER / f"{plan.name}-{plan.board.name}-{plan.kernels}"
    return replace(plan, device_folder=folder, folder=plan.folder if plan.model is None else folder)


def _check_alike(first: RunPlan, first_model: QModel, other: RunPlan, model: QModel) -> None:
    if _samples(first) != _samples(other) or (first_model.input.shape, len(first_model.classes)) != (
        model.input.shape,
        len(model.classes),
    ):
        raise ConfigError(
            f"networks of different inputs: {first.name!r} takes {_about(first, first_model.input)}, "
            f"{other.name!r} takes {_about(other, model.input)}",
            "compare networks of one data set; --dataset NAME for those that name none",
        )


def _samples(plan: RunPlan) -> Mapping[str, Any]:
    """Which samples the test split is drawn from."""
    return plan.dataset.model_dump(exclude={"limit_train", "limit_test"}) if plan.dataset else {}


def _about(plan: RunPlan, spec: TensorSpec) -> str:
    source = plan.dataset.name if plan.dataset else "no data set"
    return f"{'x'.join(map(str, spec.shape))} samples of {source}"


def _contender(plan: RunPlan, model: QModel, clean: Share, runs: Path, display: Display) -> Contender:
    runs_here = plan.board.emulator is not None or plan.board.is_host or plan.port is not None
    counted = replace(_apart(plan, runs), model=model, attacks=(), limit=TIMED_SAMPLES)
    work = Workflow(counted, display, (*QUICK, "attack", "flash", "stream"))
    image, sources = work.build(), work.render()
    program = work.program()
    unit, ticks, layers = _ticks(work, model) if runs_here else (plan.board.tick, None, {})
    return Contender(
        name=plan.name,
        called=plan.called,
        board=plan.board.name,
        kernels=plan.kernels,
        clean=clean,
        robust=_of_card(plan.name, model) | _stored(plan, display),
        unit=unit,
        ticks=ticks,
        layers=layers,
        flash=_flash(image, sources),
        ram=_ram(image, planner.activation_bytes(model, program.memory, program.calls)),
        unserved=image.unserved,
        layer_kernels=image.kernels,
        cascades=image.cascades,
    )


def _ticks(work: Workflow, model: QModel) -> tuple[str, int, dict[str, int]]:
    """What the device counts; medians of one inference and of each layer."""
    trace = work.stream()
    return trace.device.tick_unit, *latency.medians(trace, model)


def _accuracy(model: QModel, samples: Split) -> Share:
    hits = int(np.sum(np.argmax(twin.run(model, samples.x).reshape(len(samples), -1), axis=1) == samples.y))
    return Share(hits / len(samples), wilson(hits, len(samples)), len(samples))


def _of_card(name: str, model: QModel) -> dict[str, Share]:
    """What the card of this very network states, by attack, budget and where the gradients came from."""
    if name not in zoo.names() or (card := zoo.card(name)).digest != model.digest:
        return {}
    by = "integers" if card.worst else "Keras"
    found = {f"PGD-20 by the gradients of {by}, eps {point.eps}": point for point in card.robust}
    found |= {f"suite {point.suite}, eps {point.eps}": point for point in card.worst}
    return {attack: Share(point.accuracy, point.interval, point.n) for attack, point in found.items()}


def _stored(plan: RunPlan, display: Display) -> dict[str, Share]:
    """What the attacks of the run left, where it stores them and these would do the same now: the same network,
    samples, settings and code of attacks."""
    if not plan.attacks or not (plan.folder / "data").is_dir():
        return {}
    try:
        tested = Workflow(plan, display, QUICK).attack()
    except ConfigError:
        return {}
    found = {campaign["data"]: campaign["robust"] for campaign in outcomes.summarize(tested.outcomes)}
    return {
        f"{data}, stored by the run": Share(robust["accuracy"], tuple(robust["interval"]), robust["n"])
        for data, robust in found.items()
    }


def _flash(image: Image, sources: Sources) -> dict[str, int]:
    weights = sum(layer.weights_bytes for layer in sources.layers)
    kernels = sum(image.footprint.get(group, 0) for group in ("kernels", "CMSIS-NN"))
    runtime = image.flash_bytes - image.weights_bytes - kernels
    return {
        "weights": weights,
        "other tables": image.weights_bytes - weights,
        "kernels": kernels,
        "runtime": runtime,
    }


def _ram(image: Image, activations: int) -> Mapping[str, int]:
    return {
        "activations": activations,
        "scratch": image.arena_bytes - activations,
        "stack": image.stack_bytes,
        "runtime": image.ram_bytes - image.arena_bytes,
    }
