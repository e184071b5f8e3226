"""workflow: chains the stages over a run folder. A stage whose stored outcome carries the key it would write is
skipped.

A key is the digest of what a noun is made from. Training and attacks take long: they depend on their slice of the job
and on the code of the plug-ins it names. `lower` and `render` take milliseconds: they depend on all code. What follows
depends on the content of what it is given.
"""

from __future__ import annotations

import ast
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from pipeline import board as boards
from pipeline import (
    build,
    config,
    flash,
    footprint,
    layerwise,
    lower,
    registry,
    render,
    report,
    rig,
    runners,
    select,
    shell,
    store,
    stream,
    text,
    twin,
)
from pipeline.board import Board
from pipeline.errors import ConfigError, DeviceError
from pipeline.job import AttackConfig, DatasetConfig, FirmwareConfig, Job, LayerwiseConfig, earlier
from pipeline.report import Numbers
from pipeline.types import (
    Dataset,
    DeviceInfo,
    Image,
    QLayer,
    QModel,
    Sources,
    TensorSpec,
    Trace,
    TrainedModel,
    digest_of,
    with_metrics,
)

STAGES = ("train", "lower", "attack", "render", "build", "flash", "stream", "report")
QUICK = ("lower", "render", "build")
"""Stages of seconds, which a later one does itself where their outcome is missing or old. Training, attacks and what
concerns the board are done only when asked for."""
UNFINISHED = "unfinished"
"""File in the training folder while training runs; it holds the key."""
CHOSEN = "chosen"
"""Folder of the trained network with the weights that [layerwise] chose."""
NORM_SAMPLES = 128
"""Training samples whose mean layer norms the choice of [layerwise] reckons with."""
AGREEMENT_SAMPLES = 64
"""Clean samples whose every layer is compared between Keras and twin."""
T = TypeVar("T")


class Display(Protocol):
    """Who watches; only the command line draws. A stage starts and finishes, or is skipped."""

    def start(self, stage: str) -> None: ...

    def progress(self, what: str, done: int, total: int, info: str = "") -> None: ...

    def finish(self, stage: str, seconds: float, note: str) -> None: ...

    def skip(self, stage: str, note: str) -> None: ...


@dataclass(frozen=True)
class Plan:
    """What is to be run, and where it is kept.

    job: None for a stored model that does not know its job; model: run this one instead of training; folder: training,
    data and network; device_folder: what depends on the board; limit: attack and stream only the first so many test
    samples; resume: continue an earlier training of the same recipe; fresh: repeat stages that are up to date;
    kernels, firmware: see select.calls; port, unit: of a real board (rig.find); runner: this one of the board's; words:
    the command line after the verb, for hints. ConfigError: a runner the board does not have.
    """

    name: str
    dataset: DatasetConfig
    board: Board
    folder: Path
    device_folder: Path
    job: Job | None = None
    model: QModel | None = None
    limit: int | None = None
    resume: bool = False
    fresh: bool = False
    kernels: select.Kernels = "auto"
    firmware: FirmwareConfig = select.DEFAULT
    port: str | None = None
    unit: str = ""
    runner: str | None = None
    words: str = ""

    def __post_init__(self) -> None:
        runners.check(self.board, self.runner)

    def moved_to(self, folder: Path) -> Plan:
        """The same, everything kept in `folder`."""
        return replace(self, folder=folder, device_folder=folder)


def plan_job(job: Job, board: Board, runs: Path, **options: Any) -> Plan:
    """The job on a board, in runs/<name>; on a board other than the job's own, what depends on it in
    runs/<name>-<board>."""
    folder = runs / job.name
    device_folder = folder if board.name == job.board else runs / f"{job.name}-{board.name}"
    return Plan(job.name, job.dataset, board, folder, device_folder, job, firmware=job.firmware, **options)


def plan_model(stored: Path, dataset: str | None, board_name: str | None, runs: Path, **options: Any) -> Plan:
    """A stored TrainedModel or QModel in runs/<name>-<board>. dataset, board_name: instead of what its job says."""
    model = _load_model(stored)
    description = model.metrics.get("job")
    job = config.validate(Job, dict(description), f"{stored}: job") if description else None
    if dataset is not None:
        data = config.validate(DatasetConfig, {"name": dataset}, "--dataset")
    elif job is not None:
        data = job.dataset
    else:
        raise ConfigError(f"{stored}: the model does not say which data set it was made for", "add --dataset NAME")
    board = boards.load(board_name or (job.board if job else Job.model_fields["board"].default))
    folder = runs / f"{model.name}-{board.name}"
    packed = job.firmware if job else select.DEFAULT
    return Plan(model.name, data, board, folder, folder, job, model, firmware=packed, **options)


def _load_model(folder: Path) -> QModel:
    noun = store.read_meta(folder)["noun"]
    if noun == "QModel":
        model = store.load(folder, QModel)
        _check_layers(model, folder)
        return model
    if noun == "TrainedModel":
        return lower.lower(store.load(folder, TrainedModel))
    raise ConfigError(f"{folder}: holds a {noun}", "name the folder of a TrainedModel or a QModel")


@dataclass(frozen=True)
class Tested:
    """What the attack stage stores. datasets: the clean test samples, then every attacked copy, each with the logits of
    the Keras model; agreement: of Keras and twin, per layer (lower.agreement)."""

    datasets: tuple[Dataset, ...]
    agreement: Mapping[str, Mapping[str, float]]


class Workflow:
    """The nouns of a plan, each made from the one before it when it is asked for. Only the stages in `allowed` may
    work: what another one should have stored, and did not, is a ConfigError that names the command."""

    def __init__(self, plan: Plan, display: Display, allowed: Sequence[str] = STAGES) -> None:
        self.plan = plan
        self._display = display
        self._allowed = frozenset(allowed)
        self._seconds: dict[str, float] = {}

    @cached_property
    def dataset(self) -> Dataset:
        """The whole clean data set, its test split limited as the job says."""
        root, limit = os.environ.get("TRITMCU_DATA"), self.plan.dataset.limit_test
        module = registry.load("datasets", self.plan.dataset.name)
        cache = shell.cache_folder() / "data"
        loaded: Dataset = module.load(Path(root) if root else None, cache=cache, progress=self._display.progress)
        _check_samples(loaded)
        if self.plan.model is not None:
            _check_match(self.plan.model, loaded)
        return replace(loaded, splits={**loaded.splits, "test": loaded.splits["test"].take(limit)})

    @cached_property
    def trained(self) -> TrainedModel:
        """The trained network. Its Keras model and checkpoints are in `train`."""
        job, folder, key = self._job("train"), self.plan.folder / "train", self._train_key

        def make(_: Path) -> TrainedModel:
            from pipeline import train

            dataset = self.dataset  # first of all: without it there is nothing unfinished
            resume = self.plan.resume or _was_broken_off(folder, key)
            store.write_text(folder / UNFINISHED, key)
            trained = train.train(job, dataset, folder, resume=resume, progress=self._display.progress)
            (folder / UNFINISHED).unlink()
            return trained

        return self._stage("train", self.plan.folder / "trained", TrainedModel, key, make, _about_training)

    @cached_property
    def qmodel(self) -> QModel:
        """The integer network."""
        if self.plan.model is not None:
            return self.plan.model
        job, trained = self._job("lower"), self.trained

        def make(_: Path) -> QModel:
            description = {"job": job.model_dump(mode="json")}
            if job.layerwise is None:
                return with_metrics(lower.lower(trained), **description)
            choice = self._choice(job.layerwise)
            chosen = layerwise.apply(trained, choice)
            store.save(self.plan.folder / CHOSEN, chosen, key)
            return with_metrics(lower.lower(chosen), **description, layerwise=layerwise.summary(trained, choice))

        settings = [job.layerwise.model_dump()] if job.layerwise else []
        key = digest_of(self._train_key, _code(), *settings)
        return self._stage("lower", self.plan.folder / "qmodel", QModel, key, make, _about_network)

    @property
    def keras_folder(self) -> Path:
        """Where the Keras model lies whose weights the integer network has: in `train`, or with [layerwise] its copy in
        `chosen`, made here if need be."""
        folder = self.plan.folder / ("train" if self._job("attack").layerwise is None else CHOSEN)
        if folder.name == CHOSEN:
            from pipeline.models import _keras

            if not (folder / _keras.FILE).exists():
                model = _keras.load(self.plan.folder / "train")
                _keras.save(_keras.with_weights(model, store.load(folder, TrainedModel)), folder)
        return folder

    def _choice(self, config: LayerwiseConfig) -> layerwise.Choice:
        """The settings of the trained network's layers that the job's [layerwise] asks for."""
        job, progress = self._job("lower"), self._display.progress
        norms = lower.input_norms(self.trained, self.dataset.splits["train"].take(NORM_SAMPLES).x)
        sensitivity: Mapping[str, float] = {}
        if config.method == "quanos":
            from pipeline import attack

            folder = self.plan.folder / "train"
            sensitivity = attack.noise_sensitivity(job, config.eps, folder, self.dataset, progress=progress)
        return layerwise.choose(self.trained, config, norms, sensitivity, progress)

    @cached_property
    def clean(self) -> Dataset:
        """The clean test samples that are streamed; no other split."""
        test = self.dataset.splits["test"].take(self.plan.limit)
        return replace(self.dataset, splits={"test": test})

    @cached_property
    def datasets(self) -> tuple[Dataset, ...]:
        """What is streamed: the clean test samples, then every attacked copy."""
        return (self.clean,) if self.plan.model is not None else self._tested.datasets

    @cached_property
    def _tested(self) -> Tested:
        job, qmodel = self._job("attack"), self.qmodel
        attacks = tuple(config.model_copy(update={"samples": self._samples(config)}) for config in job.attacks)

        def make(_: Path) -> Tested:
            from pipeline import attack
            from pipeline.models import _keras

            limited, folder = job.model_copy(update={"attacks": attacks}), self.keras_folder
            datasets = attack.attack(limited, folder, self.clean, progress=self._display.progress)
            x, names = self.clean.splits["test"].x[:AGREEMENT_SAMPLES], [layer.keras_name for layer in qmodel.layers]
            outputs = _keras.layer_outputs(_keras.load(folder), x, qmodel.input.quantization, filter(None, names))
            return Tested(datasets, lower.agreement(qmodel, x, outputs))

        key = digest_of(
            *(self._train_key, qmodel.digest, job.dataset.limit_test, self.plan.limit),
            [[config.model_dump(), _plug_in("attacks", config.name)] for config in attacks],
        )
        return self._stage("attack", self.plan.folder / "data", Tested, key, make, _about_attacks)

    def _samples(self, config: AttackConfig) -> int | None:
        limits = [limit for limit in (config.samples, self.plan.limit) if limit is not None]
        return min(limits, default=None)

    @cached_property
    def sources(self) -> Sources:
        """The firmware project."""
        qmodel, plan = self.qmodel, self.plan

        def make(_: Path) -> Sources:
            return render.render(qmodel, plan.board, plan.kernels, plan.firmware)

        key = digest_of(qmodel.digest, plan.board.model_dump(), plan.kernels, plan.firmware.model_dump(), _code())
        return self._stage("render", self.plan.device_folder / "sources", Sources, key, make, _about_sources)

    @cached_property
    def image(self) -> Image:
        """The built firmware."""
        sources, board = self.sources, self.plan.board

        def make(folder: Path) -> Image:
            return build.build(sources, board, folder, progress=self._display.progress)

        return self._stage("build", self._image_folder, Image, sources.digest, make, _about_image)

    @cached_property
    def device(self) -> DeviceInfo:
        """What the board says of itself, running the image."""
        plan, image = self.plan, self.image

        def make() -> DeviceInfo:
            location = self._location
            return flash.flash(
                *(image, self._image_folder, plan.board),
                place=location.port,
                serial_number=location.serial_number,
                only=plan.runner,
                progress=self._display.progress,
            )

        return self._timed("flash", make, _about_device)

    @cached_property
    def trace(self) -> Trace:
        """The board's answers to all data sets. MismatchError, once they are stored, when they are not the twin's."""
        plan, qmodel, datasets, image = self.plan, self.qmodel, self.datasets, self.image
        work = plan.device_folder / "stream"

        def make(_: Path) -> Trace:
            return stream.stream(
                *(qmodel, datasets, image, self._image_folder, plan.board, work),
                place=self._location.port,
                progress=self._display.progress,
            )

        folder, key = plan.device_folder / "trace", digest_of(image.digest, [dataset.digest for dataset in datasets])
        if "flash" in self._allowed and (self.plan.fresh or store.key_of(folder) != key):
            self.device  # noqa: B018  an image that is not on the board cannot answer
        trace = self._stage("stream", folder, Trace, key, make, _about_trace)
        stream.check(trace, work)
        return trace

    @cached_property
    def report(self) -> Numbers:
        """The content of report.json, written with its two companions into the device folder."""
        plan, trace, job = self.plan, self.trace, self.plan.job
        layers = [layer.name for layer in self.qmodel.layers]
        evidence = report.Evidence(
            job=job.model_dump(mode="json") if job else _unknown_job(plan),
            board=plan.board,
            qmodel=self.qmodel,
            sources=self.sources,
            image=self.image,
            trace=trace,
            datasets=self.datasets,
            footprint=footprint.attribute(self._image_folder / self.image.elf, layers),
            agreement={} if plan.model is not None else self._tested.agreement,
            history=() if plan.model is not None else self.trained.history,
            seconds=self._seconds,
            calls=select.calls(self.qmodel, plan.board, plan.kernels, plan.firmware),
        )

        def make() -> Numbers:
            return report.report(evidence, plan.device_folder)

        return self._timed("report", make, lambda _: str(plan.device_folder / "report.html"))

    @property
    def flash_commands(self) -> list[list[str]]:
        """What `device` would run. A board that cannot be found, and needs no port, is assumed to be the only one."""
        plan, _ = self.plan, self.image
        try:
            place, serial_number = self._location
        except DeviceError:
            place, serial_number = None, ""
        return flash.commands(
            self._image_folder, plan.board, place=place, serial_number=serial_number, only=plan.runner
        )

    @cached_property
    def _location(self) -> rig.Location:
        return rig.find(self.plan.board, port=self.plan.port or "", unit=self.plan.unit)

    @property
    def _image_folder(self) -> Path:
        return self.plan.device_folder / "image"

    def _job(self, stage: str) -> Job:
        if self.plan.job is None:
            raise ConfigError(f"{stage}: needs a job, not a stored model", "tritmcu run JOB")
        return self.plan.job

    @cached_property
    def _train_key(self) -> str:
        job = self._job("train")
        return digest_of(
            *(job.seed, job.calibration, job.dataset.model_dump(exclude={"limit_test"})),
            *(job.model.identity(), job.train.identity()),
            *(digest_of(path.read_bytes()) for path in earlier(job.train)),
            *(_plug_in("datasets", job.dataset.name), _plug_in("models", job.model.name)),
        )

    def _stage(
        self, stage: str, folder: Path, noun: type[T], key: str, make: Callable[[Path], T], about: Callable[[T], str]
    ) -> T:
        """The noun in `folder` when it carries `key`; else make's, stored there, if the stage may work."""
        current = store.key_of(folder) == key
        repeat = self.plan.fresh and stage in self._allowed
        if current and not repeat:
            value = store.load(folder, noun)
            self._display.skip(stage, about(value))
            return value
        if stage not in self._allowed:
            state = "is of another job, data set or version" if folder.exists() else "does not exist"
            raise ConfigError(f"{folder}: {state}", f"run this first: tritmcu {stage} {self.plan.words}".rstrip())
        return self._timed(stage, lambda: store.create(folder, key, make), about)

    def _timed(self, stage: str, work: Callable[[], T], about: Callable[[T], str]) -> T:
        self._display.start(stage)
        started = time.monotonic()
        value = work()
        self._seconds[stage] = time.monotonic() - started
        self._display.finish(stage, self._seconds[stage], about(value))
        return value


def _check_samples(dataset: Dataset) -> None:
    """ConfigError that names the split whose arrays are not what a Dataset promises."""
    for name, split in dataset.splits.items():
        found = f"x {split.x.dtype} {split.x.shape}, y {split.y.dtype} {split.y.shape}"
        shaped = split.x.shape == (len(split.y), *dataset.input.shape) and split.y.ndim == 1 and len(split.y) > 0
        if not shaped or split.x.dtype != np.int8 or split.y.dtype != np.int64:
            wanted = f"x int8 (n, {', '.join(map(str, dataset.input.shape))}), y int64 (n,), n above 0"
            raise ConfigError(f"data set {dataset.name!r}, split {name!r}: {found}; it must be {wanted}")
        if split.y.min() < 0 or split.y.max() >= len(dataset.classes):
            labels = f"labels {split.y.min()} to {split.y.max()}"
            raise ConfigError(f"data set {dataset.name!r}, split {name!r}: {labels}, classes {len(dataset.classes)}")


def _check_layers(model: QModel, folder: Path) -> None:
    """ConfigError unless the layers of a stored network fit together: a kernel in C trusts its sizes."""
    shapes = [layer.output.shape for layer in model.layers]
    for layer in model.layers:
        _check_integers(layer, folder)
    try:
        computed = twin.specification(model, np.zeros((1, *model.input.shape), np.int8))
        fits = [output.shape[1:] for output in computed] == shapes
        why = "" if fits else f"outputs {[output.shape[1:] for output in computed]}, not {shapes}"
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        why = str(error) or type(error).__name__
    if why:
        raise ConfigError(f"{folder}: damaged QModel, its layers do not fit together ({why})", "store it again")


def _check_integers(layer: QLayer, folder: Path) -> None:
    """ConfigError that names an array of another type than a QLayer promises: a table of it would be cut to size."""
    promised = {"weights": np.int8, "bias": np.int32, "multiplier": np.int32, "shift": np.int8}
    for name, dtype in promised.items():
        array = getattr(layer, name)
        if array is not None and array.dtype != dtype:
            found = f"{name} of layer {layer.name!r} are {array.dtype}, not {np.dtype(dtype)}"
            raise ConfigError(f"{folder}: damaged QModel, {found}", "store it again")


def _check_match(model: QModel, dataset: Dataset) -> None:
    """ConfigError unless the network was made for samples like these."""
    if model.input != dataset.input or len(model.classes) != len(dataset.classes):
        raise ConfigError(
            f"network {model.name!r} takes {_about_input(model.input)} and knows {len(model.classes)} classes; "
            f"data set {dataset.name!r} has {_about_input(dataset.input)} and {len(dataset.classes)}",
            "name its own with --dataset",
        )


def _about_input(spec: TensorSpec) -> str:
    q = spec.quantization
    return f"{'x'.join(map(str, spec.shape))} samples (scale {q.scale:.6g}, zero point {q.zero_point})"


def _unknown_job(plan: Plan) -> dict[str, Any]:
    """What can be said of the job of a stored model that does not know it."""
    return {"name": plan.name, "description": "", "dataset": plan.dataset.model_dump()}


def _was_broken_off(folder: Path, key: str) -> bool:
    """Whether the training folder holds an unfinished training of this very key."""
    mark = folder / UNFINISHED
    return mark.exists() and mark.read_text() == key


def _plug_in(package: str, name: str) -> str:
    """Digest of a plug-in's code; comments and layout do not count, hours of training should not hang on them."""
    return digest_of(ast.dump(ast.parse((registry.ROOT / package / f"{name}.py").read_text())))


def _code() -> str:
    """Digest of all code that can decide what is lowered and rendered."""
    roots = {
        "*.py": registry.ROOT,
        "*.j2": registry.REPOSITORY / "templates",
        "*.[chS]*": registry.REPOSITORY / "firmware",
    }
    files = sorted(path for pattern, root in roots.items() for path in root.rglob(pattern))
    return digest_of([[str(path.relative_to(registry.REPOSITORY)), path.read_bytes()] for path in files])


def _about_training(trained: TrainedModel) -> str:
    return f"{len(trained.history)} epochs, validation accuracy {text.percent(trained.metrics['validation_accuracy'])}"


def _about_network(model: QModel) -> str:
    weights = sum(layer.weights.size for layer in model.layers if layer.weights is not None)
    return f"{len(model.layers)} layers, {text.count(weights)} weights"


def _about_attacks(tested: Tested) -> str:
    attacked = tested.datasets[1:]
    return f"{len(attacked)} attacks on {text.count(max((len(d.splits['test']) for d in attacked), default=0))} samples"


def _about_sources(sources: Sources) -> str:
    tables = sum(sources.layer_table_bytes.values())
    return f"{len(sources.files)} files, tables {text.size(tables)}, arena {text.size(sources.arena_bytes)}"


def _about_device(device: DeviceInfo) -> str:
    return f"{device.board} runs firmware {device.digest}"


def _about_trace(trace: Trace) -> str:
    samples = sum(len(part.y) for part in trace.datasets)
    bytes_per_s = (trace.link.bytes_sent + trace.link.bytes_received) / max(trace.link.seconds, 1e-9)
    return f"{text.count(samples)} samples, {text.size(round(bytes_per_s))}/s on the wire"


def _about_image(image: Image) -> str:
    return f"flash {text.size(image.flash_bytes)}, RAM {text.size(image.ram_bytes + image.stack_bytes)}"
