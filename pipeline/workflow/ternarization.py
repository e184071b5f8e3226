"""A float Keras network becomes a ternary one and is compared with the original: `tritmcu ternarize`.

A job with `[model] file` says the same; here it is written from a recipe, and the 8-bit network that the importer makes
of the file is attacked and measured alike.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.analysis.compare import Contender
from pipeline.config import dataset as datasets
from pipeline.config import job as jobs
from pipeline.config.job import ORIGINAL, Job, eps_value
from pipeline.core import schema
from pipeline.core.names import LONGEST_NAME
from pipeline.workflow import comparison, imports
from pipeline.workflow.display import Display
from pipeline.workflow.plan import RunPlan
from pipeline.workflow.workflow import QUICK, Workflow

RECIPE = {"epochs": 20, "temperature": 8.0, "temperature_schedule": "cosine", "final_temperature": 24.0}
"""[train] without a recipe: stochastic ternary weights, whose noise goes down."""
EPS = "8/255"
"""Budget of the attack where neither option nor recipe names one: of images in [0, 1]."""
KEPT = ("seed", "board", "calibration", "firmware", "budget")
"""What of a recipe's job counts besides its [train] and the bits of its [model]."""
BITS = ("weight_bits", "first_layer_bits", "last_layer_bits", "alpha")


@dataclass(frozen=True)
class Request:
    """What is to be made ternary, and how."""

    path: Path
    """The Keras file."""
    dataset: str
    """Data set, as datasets.named takes it."""
    recipe: str = ""
    """Job whose recipe is taken, by name or file; "": RECIPE."""
    name: str = ""
    """Of the new network; "": the file's, and "_ternary"."""
    first_bits: int | None = None
    """Of the first layer's weights; None: as the recipe says."""
    last_bits: int | None = None
    """Of the last layer's weights; None: as the recipe says."""
    input_range: tuple[float, float] | None = None
    """As of imports.Request."""
    eps: str = ""
    """Budget of the attack on both networks, infinity norm, real input units; "": the largest of the recipe, or EPS."""


def job(request: Request) -> Job:
    """The job that does it. ConfigError: no file, an unknown recipe or data set, bits or an eps that cannot be."""
    recipe = jobs.load(jobs.find(request.recipe)) if request.recipe else None
    given = {"first_layer_bits": request.first_bits, "last_layer_bits": request.last_bits}
    asked = {key: value for key, value in given.items() if value is not None}
    model = {"file": str(request.path), "input_range": request.input_range}
    train: dict[str, Any] = dict(RECIPE)
    settings: dict[str, Any] = {}
    if recipe is not None:
        train = recipe.train.model_dump(exclude_defaults=True)
        model |= recipe.model.model_dump(include=set(BITS), exclude_defaults=True)
        settings = recipe.model_dump(include=set(KEPT))
    described = {
        **settings,
        "name": request.name or _name(request.path),
        "dataset": datasets.named(request.dataset).model_dump(exclude_defaults=True),
        "model": {**model, **asked},
        "train": {**train, "initial": ORIGINAL, "distill": ORIGINAL},
        "attacks": [{"name": "quick", "eps": [request.eps or _budget(recipe)]}],
    }
    made = schema.validate(Job, described, "ternarize")
    jobs.model_file(made.model)
    return made


def _name(path: Path) -> str:
    """The file's name, spelt as those of jobs are."""
    stem = re.sub(r"[^a-z0-9]+", "_", path.stem.lower()).strip("_")
    return f"{stem or 'network'}_ternary"[:LONGEST_NAME]


def _budget(recipe: Job | None) -> str:
    """The largest eps that the recipe trains or attacks with."""
    if recipe is None:
        return EPS
    known = [eps for attack in recipe.attacks if (attack.norm, attack.unit) == ("linf", "real") for eps in attack.eps]
    if recipe.train.adversarial is not None:
        known.append(recipe.train.adversarial.eps)
    return max(known, key=eps_value, default=EPS)


def ternarize(plan: RunPlan, runs: Path, display: Display) -> list[Contender]:
    """The original at 8 bits and the ternary network, both attacked and measured. plan: of a job with a model file."""
    assert plan.job is not None
    work = Workflow(plan, display, (*QUICK, "train", "attack"))
    other = _original(plan, work)  # before the training: what it refuses would be trained in vain
    work.attack()
    Workflow(other, display, (*QUICK, "attack")).attack()
    return comparison.compare([other, plan], runs, display)


def _original(plan: RunPlan, work: Workflow) -> RunPlan:
    """How to run what the importer makes of the file, kept next to the ternary network."""
    job = plan.job
    assert job is not None
    name = f"{job.name}_original"
    made = imports.calibrated(jobs.model_file(job.model), name, work.load_data(), job.model.input_range)
    there = plan.moved_to(plan.folder / "original")
    return replace(there, name=name, model=made.stated, job=None, draws=job.seed)
