"""workflow: chains the stages over a run folder. A stage whose stored outcome carries the key it would write is
skipped.

A key is the digest of what a noun is made from. Training and attacks take long: they depend on their slice of the job
and on the code of the plug-ins it names. `lower` and `render` take milliseconds: they depend on all code. What follows
depends on the content of what it is given.
"""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from pipeline.analysis import agreement, budget, latency, size
from pipeline.codegen import cmsis_nn, select
from pipeline.config import board as boards
from pipeline.config.budget import NO_BUDGET
from pipeline.config.job import AttackConfig, Job, LayerwiseConfig, earlier
from pipeline.core import interrupt, lock, registry, store
from pipeline.core.digest import digest_of
from pipeline.core.errors import ConfigError, DeviceError, MismatchError
from pipeline.core.nouns import (
    AttackResult,
    AuditResult,
    Dataset,
    DeviceInfo,
    FloatArray,
    Image,
    QModel,
    Sources,
    Trace,
    TrainedModel,
    with_metrics,
)
from pipeline.device import rig, runners
from pipeline.quantization import layerwise
from pipeline.robustness.waveform import Sound
from pipeline.stages import STAGES, build, flash, lower, render, report, stream
from pipeline.stages.report import Numbers
from pipeline.workflow import binding, campaigns, checks, claim, effects, keys, limits, notes, widths
from pipeline.workflow.display import QUIET, Display, Labelled
from pipeline.workflow.plan import MEASURED, RunPlan, another

QUICK = ("lower", "render", "build")
"""Stages of seconds, which a later one does itself where their outcome is missing or old. Training, attacks and what
concerns the board are done only when asked for."""
MISMATCHES = "oracle/mismatches"
"""Folder of the device's for inputs of attacks that boards answered unlike the twin."""
MEASURED_SAMPLES = 2
"""Inputs that a firmware gets which is run to learn what its layers take."""
CAMPAIGNS = "attacked"
"""Folder of the campaigns that an unfinished attack has done."""
AUDITED = "audit-attacks"
"""Folder of the attacks that an unfinished audit has done."""
UNFINISHED = "unfinished"
"""File in the training folder while training runs; it holds the key."""
AGREEMENT_SAMPLES = 64
"""Clean samples whose every layer is compared between Keras and twin."""
T = TypeVar("T")


def _once(method: Callable[[Workflow], T]) -> Callable[[Workflow], T]:
    """The method, which works on its first call and returns the same value from then on."""

    @functools.wraps(method)
    def made(self: Workflow) -> T:
        if method.__name__ not in self._made:
            self._made[method.__name__] = method(self)
        value: T = self._made[method.__name__]
        return value

    return made


class Workflow:
    """The stages of a plan: each is a method that returns what the stage makes, from what the earlier ones make. Only
    the stages in `allowed` may work: what another one should have stored, and did not, is a ConfigError that names the
    command. ConfigError at once: the run folder is another job file's."""

    def __init__(self, plan: RunPlan, display: Display, allowed: Iterable[str] = STAGES) -> None:
        self.plan = plan
        self._display = display
        self._allowed = frozenset(allowed)
        self._seconds: dict[str, float] = {}
        self._made: dict[str, Any] = {}
        self._locked: set[Path] = set()
        if plan.job_file is not None:
            claim.check(plan.folder, claim.of_job(plan.job_file))

    def make(self, stage: str) -> Any:
        """What the stage of this name makes, or has stored: the noun that the method of the same name returns."""
        assert stage in STAGES, stage
        return getattr(self, stage)()

    @_once
    def load_data(self) -> Dataset:
        """The whole clean data set, its test split limited as the job says."""
        if self.plan.model is not None and self.plan.random_inputs:
            return binding.random_inputs(self.plan.model, self.plan.seed)
        if self.plan.dataset is None:
            what = f"network {self.plan.name!r} does not say which data set it was made for"
            raise ConfigError(what, "add --dataset NAME, or --dataset random for random inputs")
        limit = self.plan.dataset.limit_test
        loaded = checks.load_data(self.plan.dataset, self._progress)
        if self.plan.job is not None and self.plan.model is None:
            checks.check_job(self.plan.job, loaded)
        if self.plan.model is not None:
            loaded = binding.bind(self.plan.model, loaded)
        return replace(loaded, splits={**loaded.splits, "test": loaded.splits["test"].subset(limit, self.plan.seed)})

    @_once
    def train(self) -> TrainedModel:
        """The trained network. Its Keras model and checkpoints are in `train`."""
        job, folder, key = self._job("train"), self.plan.folder / "train", self._train_key

        def make(_: Path) -> TrainedModel:
            from pipeline.stages import train

            dataset = self.load_data()  # first of all: without it there is nothing unfinished
            resume = self.plan.resume or _unfinished(folder) == key
            store.write_text(folder / UNFINISHED, key)
            trained = train.train(
                *(job, dataset, folder), resume=resume, check=self._deployable, progress=self._progress
            )
            (folder / UNFINISHED).unlink()
            return trained

        return self._stage("train", self.plan.folder / "trained", TrainedModel, key, make, notes.training)

    def _deployable(self, untrained: TrainedModel) -> None:
        """ConfigError or UnsupportedError: what `lower` would refuse once the network is trained, as far as its shapes
        and the job tell."""
        config = self._job("train").layerwise
        if config is not None:
            layerwise.check_budget(untrained, config)
            if config.is_measured:
                widths.check(self._job("train"))
            untrained = layerwise.at_width(untrained, layerwise.BITS[0])
        model = lower.lower(untrained)
        if "stream" in self._allowed:
            limits.require_possible(model, self.plan)

    @_once
    def lower(self) -> QModel:
        """The integer network."""
        if self.plan.model is not None:
            return self.plan.model
        job, trained = self._job("lower"), self.train()

        def make(_: Path) -> QModel:
            description = {"job": job.model_dump(mode="json")}
            if job.layerwise is None:
                return with_metrics(lower.lower(trained), **description)
            choice = self._choice(job.layerwise)
            chosen = layerwise.apply(trained, choice)
            return with_metrics(lower.lower(chosen), **description, layerwise=layerwise.summary(choice))

        settings = [job.layerwise.model_dump()] if job.layerwise else []
        if job.layerwise is not None and job.layerwise.is_measured:
            settings += [boards.load(job.board).model_dump(), job.firmware.model_dump()]
        key = digest_of(self._train_key, keys.code(), *settings)
        return self._stage("lower", self.plan.folder / "qmodel", QModel, key, make, notes.network)

    def _choice(self, config: LayerwiseConfig) -> layerwise.Choice:
        """The settings of the trained network's layers that the job's [layerwise] asks for."""
        progress, seed = self._progress, self.plan.seed
        trained, data = self.train(), self.load_data()
        sensitivity: Mapping[str, float] = {}
        if config.method == "quanos":
            from pipeline.stages import attack

            sensitivity = attack.noise_sensitivity(lower.lower(trained), config.eps, data, seed, progress=progress)
        costs = None
        if config.is_measured:
            run = functools.partial(self._run_apart, may_run=True, display=QUIET)
            costs = widths.costs(trained, self._job("lower"), self.plan, run, progress)
        measured = effects.measure(trained, config.eps, data, seed, progress)
        return layerwise.choose(trained, config, measured, sensitivity, progress, costs)

    def _run_apart(self, plan: RunPlan, may_run: bool, display: Display) -> Trace:
        """What the plan's board answers to a few random inputs, to learn what its layers take. may_run: it may be put
        on the board, not only be found stored; display: told of the stages."""
        measured = replace(plan, attacks=(), budget=NO_BUDGET, random_inputs=True, limit=MEASURED_SAMPLES)
        return Workflow(measured, display, (*QUICK, "flash", "stream") if may_run else QUICK).stream()

    def _clean(self) -> Dataset:
        """The clean test samples that are streamed; no other split."""
        dataset = self.load_data()
        checks.check_limit(self.plan.limit, dataset)
        return replace(dataset, splits={"test": dataset.splits["test"].subset(self.plan.limit, self.plan.seed)})

    @_once
    def attack(self) -> AttackResult:
        """What is streamed, the clean test samples and then every attacked copy, and what the attacks did."""
        from pipeline.stages import attack

        attacks = self.plan.attacks
        if not attacks and "attack" in self._allowed and "stream" not in self._allowed:
            raise ConfigError(f"{self.plan.name}: names no attacks", "name some: --suite strict --eps 8/255")
        if self.plan.oracle == "device":
            return self._attack_on_devices()
        qmodel, clean, sound = self.lower(), self._clean(), self._sound()
        if not attacks and self.plan.model is not None:
            return AttackResult((clean,), (), {}, {})
        attack.check(clean, attacks, sound)

        done = self.plan.folder / CAMPAIGNS

        def make(_: Path) -> AttackResult:
            if self.plan.fresh:
                shutil.rmtree(done, ignore_errors=True)
            keep = campaigns.kept(done, lambda one: self._attack_key(clean, (one,)))
            setting = (attack.oracles(qmodel, self.plan.load_network), clean, attacks, self.plan.seed)
            made, outcomes = attack.attack(*setting, progress=self._progress, sound=sound, keep=keep)
            agreeing, answers = self._keras(qmodel, made)
            return AttackResult(made, outcomes, agreeing, answers)

        key = self._attack_key(clean, attacks)
        result = self._stage("attack", self.plan.folder / "data", AttackResult, key, make, notes.attacks)
        shutil.rmtree(done, ignore_errors=True)
        return result

    def _attack_on_devices(self) -> AttackResult:
        """The same by the answers of boards, black-box attacks alone. It is kept in a folder of its own, with the
        answers, from which an interrupted attack goes on."""
        from pipeline.stages import attack

        plan, folder = self.plan, self.plan.device_folder / "oracle"
        attack.check_black_box(plan.attacks)
        found = self._locations()
        qmodel, clean, sound = self.lower(), self._clean(), self._sound()
        attack.check(clean, plan.attacks, sound)
        image = self.build()
        places = [location.port_now() for location in found]
        mismatches = plan.device_folder / MISMATCHES

        def make(_: Path) -> AttackResult:
            setting = (qmodel, image, self._image_folder, plan.board, places, folder / "answers")
            with attack.devices(*setting, address=plan.cluster, fresh=plan.fresh) as oracle:
                oracles = attack.oracles(qmodel, plan.load_network, oracle)
                result = attack.attack(oracles, clean, plan.attacks, plan.seed, progress=self._progress, sound=sound)
            attack.keep_mismatches(oracle, image, self._image_folder, plan.board, places[0], mismatches)
            return AttackResult(*result, {}, {}, oracle.summary(plan.board.name, image.digest))

        key = digest_of(self._attack_key(clean, plan.attacks), image.digest, attack.is_emulated(plan.board, places))
        return self._stage("attack", folder / "data", AttackResult, key, make, notes.attacks)

    def _locations(self) -> tuple[rig.Location, ...]:
        """Where the boards are that answer the attacks; in a cluster, its own machines know."""
        plan = self.plan
        if plan.cluster is None:
            return rig.find_several(plan.board, plan.devices, port=plan.port or "", unit=plan.unit)
        if plan.port or plan.unit:
            raise ConfigError("--cluster: its machines find their boards themselves", "leave out --port and --unit")
        return (rig.Location(None),) * plan.devices

    def _sound(self) -> Sound | None:
        """The recordings that an attack of the plan asks for; None where none does, or there are none."""
        wanted = any(config.on_waveform for config in self.plan.attacks)
        return binding.sound(self.plan.dataset, self.lower()) if wanted and self.plan.dataset else None

    def _attack_key(self, clean: Dataset, attacks: Sequence[AttackConfig]) -> str:
        """Digest of what the outcome of these attacks depends on, whoever answers them."""
        sources = [self.plan.load_network(config.source).digest for config in attacks if config.source]
        return digest_of(
            *(self.lower().digest, clean.digest, self.plan.seed, sources, keys.integers()),
            [config.model_dump() for config in attacks],
            *(keys.plug_in("attacks", a.name) for a in attacks if registry.is_own("attacks", a.name)),
            *([self._train_key] if self.plan.model is None else []),
            *self._recordings(clean),
        )

    def _recordings(self, clean: Dataset) -> list[object]:
        """Their content, and that of the code that makes samples of them, for a key; nothing where none is attacked."""
        sound = self._sound()
        return [] if sound is None else [sound.read(clean.splits["test"].index), keys.packages("datasets")]

    def _keras(
        self, qmodel: QModel, datasets: Sequence[Dataset]
    ) -> tuple[dict[str, dict[str, float]], dict[str, FloatArray]]:
        """(agreement of the layers, Keras's own answers by the label of the data) where the network's weights are
        those of a Keras model; else nothing."""
        job = self.plan.job
        if self.plan.model is not None or job is None or job.layerwise is not None:
            return {}, {}
        from pipeline.training import keras_model

        model, quantization = keras_model.load(self.plan.folder / "train"), qmodel.input.quantization
        x, names = datasets[0].splits["test"].x[:AGREEMENT_SAMPLES], [layer.keras_name for layer in qmodel.layers]
        outputs = keras_model.layer_outputs(model, x, quantization, filter(None, names))
        run, progress = keras_model.inference(model), self._progress
        answers = {
            data.label: keras_model.predict(run, data.splits["test"].x, quantization, progress=progress)
            for data in datasets
        }
        return agreement.agreement(qmodel, x, outputs), answers

    @_once
    def audit(self) -> AuditResult:
        """Whether the network's robust accuracy at the budget of the plan's first attack can be believed; the second
        one names a network to transfer from. Asks the board where `stream` may work."""
        from pipeline.robustness import audit
        from pipeline.robustness.budget import Budget
        from pipeline.stages import attack

        qmodel, clean, (entry, *transfers) = self.lower(), self._clean(), self.plan.attacks
        sound = self._sound()
        budget = Budget.of(entry, entry.eps[0], clean, "--eps", sound)
        named = [config.source for config in transfers] or [another(qmodel, clean.name)]
        sources = tuple(source for source in named if source)
        trace = self._audited_trace() if "stream" in self._allowed else None
        done = self.plan.folder / AUDITED

        def make(_: Path) -> AuditResult:
            if self.plan.fresh:
                shutil.rmtree(done, ignore_errors=True)
            return audit.audit(
                *(attack.oracles(qmodel, self.plan.load_network), clean, budget, self.plan.seed),
                network=qmodel.digest,
                sources=sources,
                trace=trace,
                sound=sound,
                progress=self._progress,
                keep=campaigns.kept_outcomes(done, key),
            )

        key = digest_of(
            *(qmodel.digest, clean.digest, self.plan.seed, keys.integers(), entry.model_dump()),
            [self.plan.load_network(source).digest for source in sources],
            [data.dataset for data in trace.datasets] if trace else [],
            *self._recordings(clean),
        )
        result = self._stage("audit", self.plan.folder / "audit", AuditResult, key, make, notes.audit)
        shutil.rmtree(done, ignore_errors=True)
        return result

    def _stored_audit(self) -> AuditResult | None:
        """The audit stored in the run, if it is one of exactly this network."""
        folder = self.plan.folder / "audit"
        if not store.key_of(folder):
            return None
        found = store.load(folder, AuditResult)
        return found if found.network == self.lower().digest else None

    def _audited_trace(self) -> Trace:
        """The board's answers to the clean samples and those of the plan's first attack, in a folder of their own: what
        the run has stored stays. Answers unlike the twin's are for the audit to judge."""
        plan = self.plan.moved_to(self.plan.folder / "audited")
        plan = replace(plan, model=self.lower(), attacks=plan.attacks[:1])
        work = Workflow(plan, self._display, (*QUICK, "attack", "flash", "stream"))
        try:
            return work.stream()
        except MismatchError:
            return store.load(plan.device_folder / "trace", Trace)

    @_once
    def render(self) -> Sources:
        """The firmware project."""
        qmodel, plan = self.lower(), self.plan
        library = [cmsis_nn.library(plan.board).digest] if select.links(plan.kernels) else []
        linked = self._linked()

        def make(_: Path) -> Sources:
            return render.render(qmodel, plan.board, plan.kernels, plan.firmware, linked=linked)

        packed = plan.firmware.model_dump()
        key = digest_of(qmodel.digest, plan.board.model_dump(), plan.kernels, packed, keys.code(), *library, *linked)
        return self._stage("render", self.plan.device_folder / "sources", Sources, key, make, notes.sources)

    @_once
    def program(self) -> select.Program:
        """What the network becomes on the board: the kernel of every layer, and the memory plan."""
        return select.program(self.lower(), self.plan.board, self.plan.kernels, self.plan.firmware, self._linked())

    @_once
    def _linked(self) -> tuple[str, ...]:
        """Names of the layers that CMSIS-NN computes for less, where the plan asks for the best kernels. What they take
        with either is measured on the board, in folders of its own."""
        plan, model = self.plan, self.lower()
        if plan.kernels != "best":
            return ()
        ours = select.program(model, plan.board, select.COMPARED[0], plan.firmware)
        return select.cheaper(model, ours, {kind: self._layer_ticks(kind) for kind in select.COMPARED})

    def _layer_ticks(self, kernels: select.Kernels) -> Mapping[str, int]:
        """Median ticks by layer with these kernels, of random inputs. ConfigError: a real board, when it may not be
        flashed."""
        plan, may_run = self.plan, self.plan.board.emulator is not None or {"flash", "stream"} <= self._allowed
        apart = plan.moved_to(plan.device_folder / MEASURED / kernels)
        if not may_run and not (apart.device_folder / "trace").is_dir():
            what = f"--kernels {plan.kernels}: {plan.board.name} has not been asked what the layers take"
            raise ConfigError(what, f"run this first: {plan.command('run')}")
        apart = replace(apart, model=self.lower(), kernels=kernels)
        display = Labelled(self._display, "ours" if kernels == select.COMPARED[0] else kernels)
        return latency.medians(self._run_apart(apart, may_run, display), self.lower())[1]

    @_once
    def build(self) -> Image:
        """The built firmware. BudgetError, once it is stored, when it breaks the plan's budget."""
        sources, board = self.render(), self.plan.board

        def make(folder: Path) -> Image:
            limits.require_affordable(self.lower(), sources, self.plan)
            return build.build(sources, board, folder, progress=self._progress)

        # An image that says less of itself, as earlier versions stored it, is built again.
        # A board file that asks for a UF2 file is not part of the sources.
        family = [board.flashing.uf2.family] if board.flashing.uf2 else []
        key = digest_of(sources.digest, [field.name for field in fields(Image)], *family)
        image = self._stage("build", self._image_folder, Image, key, make, notes.image)
        flash, ram = board.memory.flash.length, board.memory.ram.length
        budget.check_sizes(self.plan.budget, size.of_image(image, self.plan.name, flash, ram))
        return image

    @_once
    def flash(self) -> DeviceInfo:
        """What the board says of itself, running the image that was just put on it."""
        plan, image = self.plan, self.build()

        def make() -> DeviceInfo:
            location = self._location()
            return flash.flash(
                *(image, self._image_folder, plan.board),
                place=location.port,
                serial_number=location.serial_number,
                only=plan.runner,
                progress=self._progress,
            )

        with self._working_in(plan.device_folder):
            return self._timed("flash", make, notes.device)

    @_once
    def stream(self) -> Trace:
        """The board's answers to all data sets. MismatchError, once they are stored, when they are not the twin's."""
        plan = self.plan
        budget.check_units(plan.budget, plan.board.tick)
        limits.require_affordable(self.lower(), self.render(), plan)  # before time is spent on attacks
        qmodel, tested, image = self.lower(), self.attack().datasets, self.build()
        work = plan.device_folder / "stream"

        def make(_: Path) -> Trace:
            return stream.stream(
                *(qmodel, tested, image, self._image_folder, plan.board, work),
                place=self._location().port_now(),
                named=plan.named_place,
                progress=self._progress,
            )

        folder = plan.device_folder / "trace"
        # With the device's answers those of its twin are stored, which this code computed.
        key = digest_of(image.digest, [dataset.digest for dataset in tested], keys.packages("network"))
        with ExitStack() as stack:
            again = plan.fresh or self._is_of_another_place(folder, key)
            if "flash" in self._allowed and (again or store.key_of(folder) != key):
                stack.enter_context(self._working_in(plan.device_folder))
                self.flash()  # an image that is not on the board cannot answer
            trace = self._stage("stream", folder, Trace, key, make, notes.trace, again=again)
        try:
            stream.check(trace, work)
        except MismatchError as error:
            if not select.links(plan.kernels):
                raise
            raise MismatchError(f"{error}; {cmsis_nn.OTHERWISE}", error.hint, error.reproducer) from error
        return trace

    def _is_of_another_place(self, folder: Path, key: str) -> bool:
        """Whether the stored answers are those of an emulator, and a real board is meant, or of another one. Where no
        port or unit is named, any real board's will do."""
        named = self.plan.named_place
        if store.key_of(folder) != key or not (named or runners.is_emulated(self.plan.board)):
            return False
        return store.load(folder, Trace).place != named

    @_once
    def report(self) -> Numbers:
        """The content of report.json, written with its two companions into the device folder."""
        plan, trace, job = self.plan, self.stream(), self.plan.job
        inputs = report.ReportInputs(
            job=job.model_dump(mode="json") if job else _unknown_job(plan),
            board=plan.board,
            qmodel=self.lower(),
            sources=self.render(),
            image=self.build(),
            trace=trace,
            datasets=self.attack().datasets,
            agreement=self.attack().agreement,
            outcomes=self.attack().outcomes,
            keras=self.attack().keras,
            audit=self._stored_audit(),
            history=() if plan.model is not None else self.train().history,
            seconds=self._seconds,
            seed=plan.seed,
        )

        def make() -> Numbers:
            return report.report(inputs, plan.device_folder)

        with self._working_in(plan.device_folder):
            return self._timed("report", make, lambda _: str(plan.device_folder / "report.html"))

    def flash_commands(self) -> list[list[str]]:
        """What `flash` would run. A board that cannot be found, and needs no port, is assumed to be the only one."""
        plan, _ = self.plan, self.build()
        try:
            location = self._location()
        except DeviceError:
            location = rig.Location(None)
        return flash.commands(
            *(self._image_folder, plan.board),
            place=location.port,
            serial_number=location.serial_number,
            only=plan.runner,
        )

    @_once
    def _location(self) -> rig.Location:
        return rig.find(self.plan.board, port=self.plan.port or "", unit=self.plan.unit)

    @property
    def _image_folder(self) -> Path:
        return self.plan.device_folder / "image"

    def _job(self, stage: str) -> Job:
        if self.plan.job is None:
            raise ConfigError(f"{stage}: needs a job, not a stored model", "name a job instead")
        return self.plan.job

    @property
    def _training_data(self) -> str:
        """Digest of what a training sees: content, not the name of the data set or the code that read it."""
        data = self.load_data()
        return digest_of(
            data.input, data.classes, data.augment, *(data.splits[name] for name in ("train", "validation"))
        )

    @property
    def _train_key(self) -> str:
        """Of a training that an earlier version has stored or begun the key that it wrote, as long as that holds."""
        job = self._job("train")
        facts = (
            *(job.seed, job.calibration, job.dataset.model_dump(include={"name", "limit_train"})),
            *(job.model.identity(), job.train.identity()),
            *(digest_of(path.read_bytes()) for path in earlier(job)),
            self._training_data,
        )
        digests = keys.plug_in, keys.plug_in_with_docstrings
        key, former = (digest_of(*facts, digest("models", job.model.name)) for digest in digests)
        known = _unfinished(self.plan.folder / "train"), store.key_of(self.plan.folder / "trained")
        return former if former in known else key

    def _stage(
        self,
        stage: str,
        folder: Path,
        noun: type[T],
        key: str,
        make: Callable[[Path], T],
        about: Callable[[T], str],
        *,
        again: bool = False,
    ) -> T:
        """The noun in `folder` when it carries `key`; else make's, stored there, if the stage may work. again: make's,
        whatever is there, if it may."""
        repeat = (self.plan.fresh or again) and stage in self._allowed
        if store.key_of(folder) != key or repeat:
            self._check_allowed(stage, folder)
            with self._working_in(folder.parent):
                if store.key_of(folder) != key or repeat:  # another process may have been faster
                    return self._timed(stage, lambda: store.create(folder, key, make), about)
        value = store.load(folder, noun)
        self._display.skip(stage, about(value))
        return value

    def _check_allowed(self, stage: str, folder: Path) -> None:
        """ConfigError unless the stage may work; it names the command that does."""
        if stage not in self._allowed:
            state = "is of another job, data set or version" if folder.exists() else "does not exist"
            raise ConfigError(f"{folder}: {state}", f"run this first: {self.plan.command(stage)}")

    @contextmanager
    def _working_in(self, folder: Path) -> Iterator[None]:
        """Keeps other processes out of the folder as long as the block, which may lie in another one of the same
        folder. ConfigError names the process that works there."""
        if folder in self._locked:
            yield
            return
        with lock.working_in(folder):
            self._locked.add(folder)
            try:
                if folder == self.plan.folder and self.plan.job_file is not None:
                    claim.take(folder, claim.of_job(self.plan.job_file))
                yield
            finally:
                self._locked.remove(folder)

    def _progress(self, what: str, done: int, total: int, info: str = "") -> None:
        """Every stage calls it all the time: here a request to end is noticed, wherever it came."""
        interrupt.check()
        self._display.progress(what, done, total, info)

    def _timed(self, stage: str, work: Callable[[], T], about: Callable[[T], str]) -> T:
        interrupt.check()
        self._display.start(stage)
        started = time.monotonic()
        value = work()
        self._seconds[stage] = time.monotonic() - started
        self._display.finish(stage, self._seconds[stage], about(value))
        return value


def _unknown_job(plan: RunPlan) -> dict[str, Any]:
    """What can be said of the job of a stored model that does not know it."""
    data = plan.dataset.model_dump() if plan.dataset else {"name": binding.RANDOM}
    return {"name": plan.name, "description": "", "dataset": data}


def _unfinished(folder: Path) -> str:
    """The key of the unfinished training in the folder, "" where there is none."""
    mark = folder / UNFINISHED
    return mark.read_text(encoding="utf-8") if mark.exists() else ""
