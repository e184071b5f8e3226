"""What to run, and where to keep it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pipeline.codegen import select
from pipeline.config import board as boards
from pipeline.config import dataset as datasets
from pipeline.config.board import Board
from pipeline.config.budget import NO_BUDGET, CostBudget
from pipeline.config.dataset import DatasetConfig
from pipeline.config.job import NORM_OF_UNIT, AttackConfig, FirmwareConfig, Job, eps_value
from pipeline.core import schema, store
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import QModel, TrainedModel
from pipeline.device import runners
from pipeline.stages import lower
from pipeline.workflow import binding, checks, zoo

DEFAULT_SEED = 1
"""Of a stored network that does not know its job."""

MEASURED = "measured"
"""Folder, in that of the run or of the device, for firmware that is run to learn what its layers take."""


@dataclass(frozen=True)
class RunPlan:
    """What to run, and where to keep it. ConfigError: a runner that the board does not have."""

    name: str
    """Name of the job or the stored model."""
    dataset: DatasetConfig | None
    """Which samples are attacked and streamed; None: the stored network does not name its data set, and only stages
    that need none can run."""
    board: Board
    """Where the image runs."""
    folder: Path
    """Folder of training, data and network."""
    device_folder: Path
    """Folder of what depends on the board."""
    job: Job | None = None
    """The job; None for a stored model that does not name its job."""
    job_file: Path | None = None
    """The job file; None: there is none."""
    model: QModel | None = None
    """The stored network to run; None: train that of the job."""
    limit: int | None = None
    """Attack and stream only so many test samples, drawn evenly from all classes; None: all."""
    resume: bool = False
    """Continue an earlier training of the same recipe."""
    fresh: bool = False
    """Redo stages that are up to date."""
    kernels: select.Kernels = "auto"
    """Which kernels: "auto", "reference", "cmsis-nn" or "best" (select.program)."""
    firmware: FirmwareConfig = select.DEFAULT
    """How the network is packed."""
    port: str | None = None
    """Serial port of a real board; None: the rig's, or the emulator."""
    unit: str = ""
    """Which unit of the rig, by name or serial number; "" when there is only one."""
    runner: str | None = None
    """The flashing tool; None: the first of the board's that is installed."""
    named: tuple[str, ...] = ()
    """The words that name its network on the command line of a stage, for hints; (): those of the command at work."""
    attacks: tuple[AttackConfig, ...] = ()
    """What the network is attacked with."""
    random_inputs: bool = False
    """Attack and stream random inputs instead of a data set."""
    oracle: Literal["twin", "device"] = "twin"
    """Who answers the attacks: the integer network on this machine, or boards."""
    devices: int = 1
    """Number of boards that answer the attacks, at least 1."""
    cluster: str | None = None
    """Address of the Ray cluster with these boards, or "local"; None: boards of this machine, without Ray."""
    budget: CostBudget = NO_BUDGET
    """What its firmware may cost."""
    called: str = ""
    """What a person called the network, in one word; "": what its job does."""
    draws: int | None = None
    """Seed of the samples and attacks of a stored network; None: that of its job."""

    @property
    def seed(self) -> int:
        """Seed of every random draw: the job's, unless `draws` overrides it."""
        if self.draws is not None:
            return self.draws
        return self.job.seed if self.job else DEFAULT_SEED

    @property
    def named_place(self) -> str:
        """The port or unit that is named; "" for none."""
        return self.port or self.unit

    @staticmethod
    def load_network(name: str) -> QModel:
        """Another stored network, by its name in the zoo or its folder."""
        return load_network(zoo.find(Path(name)))

    def __post_init__(self) -> None:
        runners.check(self.board, self.runner)

    def command(self, stage: str) -> str:
        """The command of a stage of this run, for hints."""
        return f"`{shlex.join(['tritmcu', stage, *self.named])}`"

    def moved_to(self, folder: Path) -> RunPlan:
        """The same plan, with everything kept in `folder`."""
        return replace(self, folder=folder, device_folder=folder)


def plan_job(job: Job, board: Board, runs: Path, **options: Any) -> RunPlan:
    """The job on a board, in runs/<name>; on a board other than the job's own, what depends on it in
    runs/<name>-<board>."""
    folder = runs / job.name
    device_folder = folder if board.name == job.board else runs / f"{job.name}-{board.name}"
    given = {
        "firmware": job.firmware,
        "kernels": job.firmware.kernels,
        "attacks": job.attacks,
        "budget": job.budget,
        **options,
    }
    return RunPlan(job.name, job.dataset, board, folder, device_folder, job, **given)


def plan_model(stored: Path, dataset: str | None, board_name: str | None, runs: Path, **options: Any) -> RunPlan:
    """A stored TrainedModel or QModel in runs/<name>-<board>. dataset, board_name: instead of what its job says."""
    model = load_network(stored)
    job = stored_job(model, stored)
    random_inputs = dataset == binding.RANDOM
    data = None if random_inputs else _dataset(dataset, job, model, stored)
    board = boards.load(board_name or (job.board if job else Job.model_fields["board"].default))
    folder = runs / f"{model.name}-{board.name}"
    packed = job.firmware if job else select.DEFAULT
    attacks, budget = (job.attacks, job.budget) if job else ((), NO_BUDGET)
    given = {
        "firmware": packed,
        "kernels": packed.kernels,
        "attacks": attacks,
        "budget": budget,
        "random_inputs": random_inputs,
        **options,
    }
    return RunPlan(model.name, data, board, folder, folder, job, model=model, **given)


def stored_job(model: QModel, place: Path) -> Job | None:
    """The job that a stored network was trained by; None if it does not name one."""
    description = model.metrics.get("job")
    return schema.validate(Job, dict(description), f"{place}: job") if description else None


def _dataset(named: str | None, job: Job | None, model: QModel, stored: Path) -> DatasetConfig | None:
    """The data set that --dataset names, else that of the network's job, else that of its import, else None."""
    if named is not None:
        return datasets.named(named)
    if job is not None:
        return job.dataset
    known = model.metrics.get(zoo.DATASET)
    return schema.validate(DatasetConfig, dict(known), f"{stored}: dataset") if known else None


def for_audit(
    planned: RunPlan, eps: str | None, source: str | None, norm: str | None = None, unit: str | None = None
) -> RunPlan:
    """The plan of an audit. Its attacks: PGD at the eps, by default the largest of the job in this norm (and unit, if
    one is named), and a transfer attack from the source, if any. ConfigError: no eps."""
    budget = _audited_budget(planned, eps, norm, unit)
    transfers = [] if source is None else [{"name": "transfer", "source": source, **budget}]
    entries = ({"name": "pgd", **budget}, *transfers)
    return replace(planned, attacks=tuple(schema.validate(AttackConfig, entry, "audit") for entry in entries))


def _audited_budget(planned: RunPlan, eps: str | None, norm: str | None, unit: str | None) -> dict[str, Any]:
    """eps, norm and unit of an AttackConfig."""
    if eps is not None:
        return {"eps": (eps,), "unit": unit or "real", **({} if norm is None else {"norm": norm})}
    norm = norm or NORM_OF_UNIT.get(unit or "real", "linf")
    known = [a for a in planned.attacks if a.norm == norm and (a.unit == unit if unit else not a.on_waveform)]
    if not known:
        what = f"{norm} eps" if unit is None else f"{norm} eps in {unit}"
        raise ConfigError(
            f"{planned.name}: its job names no {what} to audit", "add --eps, for images in [0, 1] --eps 8/255"
        )
    labels = (label for attack in known if attack.unit == known[0].unit for label in attack.eps)
    largest = min if known[0].unit == "snr" else max
    return {"eps": (largest(labels, key=eps_value),), "norm": norm, "unit": known[0].unit}


def another(model: QModel, dataset: str) -> str | None:
    """Name of the first other network in the zoo for the same samples; None if there is none."""
    for card in map(zoo.card, zoo.names()):
        if card.dataset == dataset and card.digest != model.digest:
            other = load_network(zoo.find(Path(card.name)))
            if other.input == model.input and len(other.classes) == len(model.classes):
                return card.name
    return None


FOREIGN_NETWORKS: Mapping[str, str] = {
    ".h5": "a Keras file",
    ".hdf5": "a Keras file",
    ".keras": "a Keras file",
    ".tflite": "a TensorFlow Lite file",
}
"""What files of other tools are, by suffix."""


def load_network(folder: Path) -> QModel:
    """The integer network that a folder holds, as it is or lowered. ConfigError: something else."""
    if folder.is_file():
        what = FOREIGN_NETWORKS.get(folder.suffix.lower())
        instead = f"`tritmcu import {shlex.quote(str(folder))}`" if what else "name the folder of a stored network"
        raise ConfigError(f"--model {folder}: is {what or 'a file'}, not the folder of a stored network", instead)
    noun = store.read_meta(folder)["noun"]
    if noun == "QModel":
        model = store.load(folder, QModel)
        checks.check_layers(model, folder)
        return model
    if noun == "TrainedModel":
        return _lowered(store.load(folder, TrainedModel), folder)
    raise ConfigError(f"{folder}: holds a {noun}", "name the folder of a TrainedModel or a QModel")


def _lowered(trained: TrainedModel, folder: Path) -> QModel:
    try:
        return lower.lower(trained)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        why = f"{type(error).__name__}: {error}"
        raise ConfigError(f"{folder}: damaged TrainedModel, it cannot be lowered ({why})", store.REPAIR) from error
