"""What a network costs with all weights at one width after another, as its board counts it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pipeline.analysis import latency
from pipeline.config import board as boards
from pipeline.config.budget import INSTRUCTIONS
from pipeline.config.job import Job
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Progress, Trace, TrainedModel
from pipeline.quantization import layerwise
from pipeline.quantization.layerwise import Costs
from pipeline.stages import lower
from pipeline.workflow.plan import MEASURED, RunPlan


def check(job: Job) -> None:
    """ConfigError: instructions are to be counted on a board that is not emulated, or counts something else."""
    board = boards.load(job.board)
    if board.emulator is None or board.tick != INSTRUCTIONS:
        raise ConfigError(
            f"layerwise: instructions are counted on emulated boards, {job.board!r} is none that counts them",
            'board = "netduinoplus2" in the job, or a budget of bytes',
        )


def costs(trained: TrainedModel, job: Job, plan: RunPlan, run: Callable[[RunPlan], Trace], progress: Progress) -> Costs:
    """Instructions by layer and width: the trained network, at one width after another, is run on the job's board,
    layer by layer, in folders of the plan's. run: what the board of a plan answers to a few inputs. ConfigError: as
    `check`."""
    check(job)
    board = boards.load(job.board)
    found = {}
    for done, bits in enumerate(layerwise.BITS):
        progress("lower", done, len(layerwise.BITS), f"{bits} bits on {job.board}")
        model = lower.lower(layerwise.at_width(trained, bits))
        apart = replace(plan.moved_to(plan.folder / MEASURED / f"{bits}-bit"), board=board, model=model)
        firmware = job.firmware.model_copy(update={"cascades": False})
        answers = run(replace(apart, kernels=job.firmware.kernels, firmware=firmware))
        found[bits] = latency.medians(answers, model)[1]
    weighted = {layer.name for layer in model.layers if layer.weights is not None}
    return Costs(
        {name: {bits: ticks[name] for bits, ticks in found.items()} for name in weighted},
        sum(ticks for name, ticks in found[bits].items() if name not in weighted),
    )
