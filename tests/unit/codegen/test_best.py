"""--kernels best: of what the board measured the cheaper, layer by layer and cascade by cascade, in an arena that fits
what was chosen. None of it needs a library."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.analysis import latency
from pipeline.codegen import planner, select
from pipeline.config import board
from pipeline.config.job import Kernels
from pipeline.core import store
from pipeline.core.errors import ConfigError
from pipeline.workflow.display import QUIET, Display
from pipeline.workflow.plan import RunPlan, plan_model
from pipeline.workflow.workflow import QUICK, Workflow
from tests.support import cmsis_nn as published
from tests.support import networks, tiny

M4 = board.load("netduinoplus2")
MODEL = networks.stored("cifar10_resnet8_laq")
NAMES = [layer.name for layer in MODEL.layers]
OURS = select.program(MODEL, M4)
THEIRS = select.program(MODEL, M4, "cmsis-nn")
CASCADE = OURS.memory.cascades[0]
TOGETHER = [NAMES[i] for i in CASCADE.layers]
ALONE = [name for name in NAMES if not any(NAMES.index(name) in c.layers for c in OURS.memory.cascades)]


def ticks(**less: int) -> dict[Kernels, Mapping[str, int]]:
    """Ticks in which our kernels take 100 a layer, those of CMSIS-NN as many more."""
    mine = dict.fromkeys(NAMES, 100)
    return {"auto": mine, "cmsis-nn": {name: 100 + less.get(name, 0) for name in NAMES}}


def test_each_layer_by_what_is_cheaper_and_ours_where_both_are_equal() -> None:
    assert select.cheaper(MODEL, OURS, ticks()) == ()
    assert select.cheaper(MODEL, OURS, ticks(**{ALONE[0]: -1, ALONE[-1]: 1})) == (ALONE[0],)


def test_a_cascade_is_taken_or_left_as_a_whole() -> None:
    """Its ticks are those of its last layer, so only the sums say what is cheaper."""
    assert len(TOGETHER) > 1
    counted = dict.fromkeys(TOGETHER, 0) | {TOGETHER[-1]: 100 * len(TOGETHER)}
    mine, theirs = ticks(**{TOGETHER[0]: -1, TOGETHER[1]: 1}).values()
    assert select.cheaper(MODEL, OURS, {"auto": {**mine, **counted}, "cmsis-nn": theirs}) == ()
    mine, theirs = ticks(**{TOGETHER[0]: -1}).values()
    assert list(select.cheaper(MODEL, OURS, {"auto": {**mine, **counted}, "cmsis-nn": theirs})) == TOGETHER


def test_the_program_has_the_chosen_calls_in_an_arena_of_its_own() -> None:
    linked = (ALONE[-1],)
    mixed = select.program(MODEL, M4, "best", linked=linked)
    for name, call, mine, its in zip(NAMES, mixed.calls, OURS.calls, THEIRS.calls, strict=True):
        wanted = its if name in linked else mine
        assert (call and call.function) == (wanted and wanted.function), name
    assert [(c.first, c.last) for c in mixed.memory.cascades] == [(c.first, c.last) for c in OURS.memory.cascades]
    assert mixed.memory.arena_bytes == planner.plan(MODEL, mixed.calls, mixed.memory.cascades).arena_bytes
    apart = select.program(MODEL, M4, "best", linked=TOGETHER)
    assert CASCADE.last not in {c.last for c in apart.memory.cascades}
    assert apart.memory.arena_bytes > OURS.memory.arena_bytes, "whole tensors again"
    assert select.program(MODEL, M4, "best").memory.arena_bytes == OURS.memory.arena_bytes


def planned(target: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> RunPlan:
    """A tiny network with the best kernels on that board, a library at hand."""
    flags = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")
    monkeypatch.setenv("CMSIS_NN_ROOT", str(published.library(folder / "built", *flags)))
    store.save(folder / "q", tiny.qmodel(), "key")
    return plan_model(folder / "q", "digits", target, folder, kernels="best")


@pytest.mark.toolchain
def test_a_run_measures_both_once_and_takes_the_cheaper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned("netduinoplus2", tmp_path, monkeypatch)
    names, asked = [layer.name for layer in tiny.qmodel().layers], []

    def measured(work: Workflow, kernels: Kernels) -> Mapping[str, int]:
        asked.append(kernels)
        return {name: 5 if kernels == "auto" or name != names[0] else 4 for name in names}

    monkeypatch.setattr(Workflow, "_layer_ticks", measured)
    sources = Workflow(plan, QUIET, QUICK).render()
    assert asked == ["auto", "cmsis-nn"]
    assert [layer.name for layer in sources.layers if (layer.kernel or "").endswith("_cmsis")] == [names[0]]


class Watch:
    """Notes the stages that it is told of."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def start(self, stage: str) -> None:
        self.seen.append(stage)

    def progress(self, what: str, done: int, total: int, info: str = "") -> None:
        self.seen.append(f"{what} {done}/{total} {info}")

    def finish(self, stage: str, seconds: float, note: str) -> None:
        self.seen.append(f"{stage}: {note}")

    def skip(self, stage: str, note: str) -> None:
        self.seen.append(f"{stage}, {note}")


@pytest.mark.toolchain
def test_the_stages_of_a_measurement_say_what_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(work: Workflow, plan: RunPlan, may_run: bool, display: Display) -> None:
        display.start("build")
        display.progress("build", 1, 3, "compile")
        display.finish("build", 0.5, "done")
        display.skip("stream", "unchanged")

    monkeypatch.setattr(Workflow, "_run_apart", measured)
    monkeypatch.setattr(latency, "medians", lambda *_: (0, {layer.name: 1 for layer in tiny.qmodel().layers}))
    watch = Watch()
    Workflow(planned("netduinoplus2", tmp_path, monkeypatch), watch, QUICK).render()
    stages = ("build ({0})", "build ({0}) 1/3 compile", "build ({0}): done", "stream ({0}), unchanged")
    assert watch.seen[:8] == [stage.format(label) for label in ("ours", "cmsis-nn") for stage in stages]


@pytest.mark.toolchain
def test_a_real_board_is_measured_by_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned("nucleo-f446re", tmp_path, monkeypatch)
    with pytest.raises(ConfigError, match="nucleo-f446re has not been asked what the layers take") as caught:
        Workflow(plan, QUIET, QUICK).render()
    assert caught.value.hint == "run this first: `tritmcu run`"
