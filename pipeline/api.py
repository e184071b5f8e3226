"""The pipeline from Python: networks, and what can be done with them. `import pipeline` offers these names.

Everything runs through `workflow`, so programs and the command line share stored runs: what one has made, the other
finds up to date. Every expected failure is a class of `pipeline.core.errors`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis import budget, size
from pipeline.analysis.compare import Contender
from pipeline.analysis.size import Sizes
from pipeline.codegen.select import Kernels
from pipeline.config import board as boards_
from pipeline.config.budget import NO_BUDGET
from pipeline.config.job import AttackConfig
from pipeline.core import schema
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import AttackResult, AuditResult, Dataset, Image, Int8Array, QModel, Trace, TrainedModel
from pipeline.network import twin
from pipeline.stages.report import Numbers
from pipeline.workflow import binding, comparison, exports, imports, subjects
from pipeline.workflow.display import Display
from pipeline.workflow.imports import Imported
from pipeline.workflow.plan import RunPlan, for_audit
from pipeline.workflow.workflow import QUICK, Workflow

RUNS = "runs"
"""Folder of the runs, in the current one, as on the command line."""


@dataclass(frozen=True, repr=False)
class Network:
    """A network, the board it runs on and the samples it is tested with: what `load` returns.

    Each method returns the result of a stage and first runs the stages that it needs; results that are stored and up to
    date are not made again. Only `train` trains: the other methods raise a ConfigError if the job has not been
    trained.
    """

    plan: RunPlan
    """What to run, and where to keep it."""
    runs: Path
    """Folder of all runs."""
    display: Display | None = None
    """Where progress is shown; None: on standard error, as bars if that is a terminal, else as lines."""

    def __repr__(self) -> str:
        return f"<Network {self.plan.name!r} on {self.plan.board.name!r}>"

    @property
    def model(self) -> QModel:
        """The integer network."""
        if self.plan.model is not None:
            return self.plan.model
        with self._allowed(*QUICK) as work:
            return work.lower()

    @property
    def data(self) -> Dataset:
        """The whole data set on the network's input lattice. ConfigError: it is unknown or cannot be read."""
        with self._allowed() as work:
            return work.load_data()

    def predict(self, x: NDArray[Any]) -> Int8Array:
        """(n, classes) int8 logits, bit for bit those of the device; the class is the argmax.

        x: (n, *input shape), int8 on the input lattice, or floating-point values in the units of the data set, which
        are rounded to the lattice and saturate. ConfigError: another shape or type, or NaN.
        """
        model = self.model
        return twin.run(model, _on_lattice(model, np.asarray(x))).reshape(len(x), -1)

    def train(self) -> TrainedModel:
        """The trained network of a job. ConfigError: this is a stored network."""
        with self._allowed("train") as work:
            return work.train()

    def attack(self) -> AttackResult:
        """The clean test samples, an attacked copy for each attack and eps, and what every attack did."""
        with self._allowed(*QUICK, "attack") as work:
            return work.attack()

    def audit(
        self,
        eps: str | None = None,
        *,
        norm: str | None = None,
        unit: str | None = None,
        source: str | None = None,
        on_board: bool = False,
    ) -> AuditResult:
        """Whether the robust accuracy can be believed. eps: budget, such as "8/255"; None: the largest of the network's
        job. norm: see AttackConfig; None: "l2" for unit "snr", else "linf". unit: of eps, see AttackConfig; None:
        "real", without eps that of the job. source: network to transfer from; None: the first other one in the zoo for
        the same samples. on_board: audit the board, too."""
        audited = replace(self, plan=for_audit(self.plan, eps, source, norm, unit))
        with audited._allowed(*QUICK, "audit", *(("flash", "stream") if on_board else ())) as work:
            return work.audit()

    def build(self) -> Image:
        """The firmware of the board. FitError: it does not fit; BudgetError: it costs more than the job allows."""
        with self._allowed(*QUICK) as work:
            return work.build()

    def size(self) -> Sizes:
        """What every byte of the firmware is, even if it exceeds its budget."""
        unlimited = replace(self, plan=replace(self.plan, budget=NO_BUDGET))
        memory = self.plan.board.memory
        return size.of_image(unlimited.build(), self.plan.name, memory.flash.length, memory.ram.length)

    def export(self, folder: str | Path, form: str = "cmake") -> str:
        """The shell command that builds what the new `folder` holds afterwards, run in it. form: of the firmware
        "cmake", "arduino" or "platformio"; "library": only the network, for a program of your own. ConfigError: the
        folder is not empty, or the form is unknown or has no place for the board; FitError: the board cannot hold
        it."""
        with self._allowed(*QUICK) as work:
            return exports.write(work, Path(folder), form)

    def stream(self) -> Trace:
        """The board's answers to all test samples, clean and attacked. DeviceError: no board answers; MismatchError:
        its answers differ from the twin's; BudgetError, once they are stored: an inference takes more than the job
        allows."""
        with self._allowed(*QUICK, "attack", "flash", "stream") as work:
            trace = work.stream()
            budget.check_trace(self.plan.budget, trace, work.lower())
            return trace

    def report(self) -> Numbers:
        """The content of report.json (docs/REPORT.md); report.md and report.html are written to `plan.device_folder` as
        well. BudgetError, once they are written: an inference takes more than the job allows."""
        with self._allowed(*QUICK, "attack", "flash", "stream", "report") as work:
            numbers = work.report()
            budget.check_report(self.plan.budget, numbers)
            return numbers

    @contextmanager
    def _allowed(self, *stages: str) -> Iterator[Workflow]:
        """The workflow, in which only these stages may run."""
        with _watched(self.display) as display:
            yield Workflow(self.plan, display, stages)


def load(
    network: str | Path,
    *,
    board: str | None = None,
    dataset: str | None = None,
    attacks: Sequence[Mapping[str, Any]] | None = None,
    limit: int | None = None,
    kernels: Kernels | None = None,
    port: str | None = None,
    unit: str = "",
    runs: str | Path = RUNS,
    display: Display | None = None,
) -> Network:
    """The network of that name: a stored one (of the zoo or imported), the folder of one or of a run, a job by its name
    or file, or a run by its name in `runs`.

    board, dataset: instead of those of its job; dataset "random": random inputs. attacks: entries as in [[attacks]] of
    a job, None: the job's. limit: attack and stream only so many test samples, 1 or more, drawn evenly from all
    classes. kernels: "auto", "reference", "cmsis-nn" or "best", instead of the job's. port, unit: of a real board.
    display: who watches, None: progress on standard error; QUIET: nobody. ConfigError: a name or value that is not
    known.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit {limit}: not a positive integer", "leave it out for all test samples")
    options: dict[str, Any] = {"limit": limit, "port": port, "unit": unit}
    options |= {"kernels": kernels} if kernels is not None else {}
    if attacks is not None:
        named = enumerate(attacks)
        options["attacks"] = tuple(schema.validate(AttackConfig, dict(a), f"attacks.{i}") for i, a in named)
    plan = subjects.plan(str(network), board, Path(runs), dataset, **options)
    if dataset is not None and plan.model is None:
        raise ConfigError(f"dataset {dataset!r}: a job names its own data set", "leave it out, or change the job")
    return Network(plan, Path(runs), display)


def import_network(
    path: str | Path,
    *,
    name: str = "",
    dataset: str = "",
    input_range: tuple[float, float] | None = None,
    display: Display | None = None,
) -> Imported:
    """The network in a file of Keras or QKeras (.keras, .h5) or TensorFlow Lite (int8 .tflite), stored in zoo/ of the
    current folder; `load` finds it by `.model.name`.

    name: "": the file's. dataset: what it was trained on, which a Keras file needs, by name or a TOML file with
    [dataset]. input_range: lowest and highest real input, where they differ from the data set's. ConfigError: a missing
    or damaged file, a name that is taken, a data set that does not fit. UnsupportedError: a layer, operation or setting
    that no layer kind computes.
    """
    request = imports.Request(Path(path), name, dataset, input_range)
    with _watched(display) as watching:
        return imports.network(request, progress=watching.progress)


def compare(networks: Sequence[Network]) -> list[Contender]:
    """Accuracy and cost of each network on its board with its kernels, on the same samples. Progress is shown on the
    first one's display. ConfigError: no networks, or networks with different inputs."""
    if not networks:
        raise ConfigError("compare: nothing", "load some networks of one data set")
    with _watched(networks[0].display) as display:
        return comparison.compare([network.plan for network in networks], networks[0].runs, display)


def networks(runs: str | Path = RUNS) -> tuple[str, ...]:
    """Sorted names that `load` accepts: stored networks, jobs and runs."""
    return tuple(sorted(subjects.known(Path(runs))))


def boards() -> tuple[str, ...]:
    """Sorted names of the boards, shipped and your own."""
    return tuple(boards_.names())


def _on_lattice(model: QModel, x: NDArray[Any]) -> Int8Array:
    """The samples as the network takes them."""
    if x.shape[1:] != model.input.shape or x.ndim == 0 or len(x) == 0 or (x.dtype != np.int8 and x.dtype.kind != "f"):
        shape = ", ".join(map(str, model.input.shape))
        raise ConfigError(f"{model.name}: x {x.dtype} {x.shape}", f"samples (n, {shape}), int8 or real values")
    if x.dtype == np.int8:
        return x
    if not np.isfinite(x).all():
        raise ConfigError(f"{model.name}: x holds NaN or infinity", "leave out such samples")
    return model.input.quantization.quantize(x + model.metrics.get(binding.SHIFT, 0.0))


@contextmanager
def _watched(display: Display | None) -> Iterator[Display]:
    """The display, or the default one, which is closed afterwards."""
    if display is not None:
        yield display
        return
    from pipeline.cli import console

    with closing(console.display()) as default:
        yield default
