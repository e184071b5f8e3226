from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.codegen import cascade, cascading, planner, select
from pipeline.codegen.cascade import Cascade, Place
from pipeline.config import board
from pipeline.config.job import FirmwareConfig
from pipeline.core.nouns import KernelCall, QModel
from pipeline.device import mismatch, session
from pipeline.network import twin
from pipeline.stages import build, render
from tests.support import networks, tiny
from tests.support.arena import Arena

M4, M3, UNO = board.load("netduinoplus2"), board.load("mps2-an385"), board.load("uno")
NETWORKS: dict[str, Callable[[int], QModel]] = {
    "early": networks.early,
    "every kind": networks.every_kind,
    "tiny": tiny.qmodel,
}


def cut(
    model: QModel, calls: list[KernelCall | None], target: board.Board, random: np.random.Generator
) -> list[Cascade]:
    """Cascades of random layers and heights, one after another, as many as there are."""
    windows, found, first = cascade.row_windows(model), [], 0
    while first < len(model.layers):
        c = None
        for last in sorted(random.permutation(range(first, min(first + 8, len(model.layers))))[:3], reverse=True):
            if all(window is not None for window in windows[first : last + 1]):
                height = int(random.integers(1, max(2, model.tensor(last + 1).shape[0])))
                c = c or cascade.cascade(model, windows, first, int(last), height)
        if c is not None:
            found.append(cascade.with_calls(model, c, calls, select.again(target)))
        first = c.last + 1 if c else first + 1
    return found


def in_cascades(model: QModel, target: board.Board, seed: int) -> select.Program:
    """The network with random cascades."""
    calls = [select.kernel(layer, model.input_specs(layer), target) for layer in model.layers]
    cascades = cut(model, calls, target, np.random.default_rng(seed))
    return select.Program(tuple(calls), planner.plan(model, calls, cascades))


@pytest.mark.parametrize("target", [M4, M3, UNO], ids=lambda target: target.name)
@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_plan_computes_is_the_specification(name: str, target: board.Board) -> None:
    """Random cascades of every kind of layer, of the kernels of three families: whatever a kernel does to its scratch
    and its output before it reads, each output that the plan leaves in the arena is the whole layer's."""
    counted = 0
    for seed in range(6):
        model = NETWORKS[name](seed)
        program = in_cascades(model, target, seed)
        counted += sum(len(c.stripes) > 1 for c in program.memory.cascades)
        sample = tiny.samples(model, 1, seed)
        expected = twin.specification(model, sample)
        for layer, output in Arena(model, program, seed).run(sample[0]):
            assert np.array_equal(output, expected[layer][0]), f"seed {seed}, {model.layers[layer].name}"
    assert counted >= 3


def overlapping(model: QModel) -> select.Program:
    """The network with its third layer in stripes of two rows, whose output lies over its input."""
    calls = [select.kernel(layer, model.input_specs(layer), M4) for layer in model.layers]
    c = cascade.cascade(model, cascade.row_windows(model), 2, 2, 2)
    assert c is not None
    memory = planner.plan(model, calls, [cascade.with_calls(model, c, calls, select.again(M4))])
    return select.Program(tuple(calls), memory)


def test_an_output_that_begins_too_little_before_its_input_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The distance is the least: a row less, and a row is overwritten that is read later."""
    whole = networks.early(0)
    model = replace(whole, layers=whole.layers[:3])  # no later layer needs the room that keeps both apart
    sample, row = tiny.samples(model, 1), cascade.row_bytes(model, 2)
    right, real = overlapping(model), cascade.lead
    assert row % planner.ALIGNMENT == 0
    assert right.memory.tensor_offsets[3] + real(model, right.memory.cascades[0], 2) == right.memory.tensor_offsets[2]
    monkeypatch.setattr(cascade, "lead", lambda *arguments: real(*arguments) - row)
    wrong = overlapping(model)
    expected = twin.specification(model, sample)[2][0]
    assert np.array_equal(dict(Arena(model, right).run(sample[0]))[2], expected)
    assert not np.array_equal(dict(Arena(model, wrong).run(sample[0]))[2], expected)


def test_loops_are_all_stripes_in_order() -> None:
    for seed in range(6):
        model = networks.early(seed)
        for c in in_cascades(model, M4, seed).memory.cascades:
            done = []
            for loop in cascade.loops(model, c):
                for stripe, operation in itertools.product(range(loop.count), loop.operations):
                    done.append([moved(p, stripe, loop.steps) for p in cascade.places(operation)])
            wanted = [cascade.places(operation) for stripe in cascade.operations(model, c) for operation in stripe]
            assert done == [list(places) for places in wanted]


def moved(place: Place, stripe: int, steps: dict[int, int]) -> Place:
    return Place(place.tensor, place.row + stripe * steps.get(place.tensor, 0))


@pytest.mark.parametrize(("name", "most"), [("cifar10_resnet8_stq", 29 * 1024), ("digits_stq_jr", 5 * 1024)])
def test_cascades_make_the_arena_smaller_at_a_small_cost(name: str, most: int) -> None:
    model = networks.stored(name)
    chosen, whole = select.program(model, M4), select.program(model, M4, firmware=FirmwareConfig(cascades=False))
    assert chosen.memory.arena_bytes <= most < whole.memory.arena_bytes
    assert not whole.memory.cascades
    spent = sum(cascade.cost(model, c, chosen.calls) for c in chosen.memory.cascades)
    macs = sum(
        layer.weights.size * np.prod(layer.output.shape[:-1]) for layer in model.layers if layer.weights is not None
    )
    assert 0 < spent <= cascading.LARGEST_SHARE * cascading.FAST_MAC * macs


def test_what_lies_in_the_arena_when_it_is_fullest() -> None:
    model = networks.stored("cifar10_resnet8_stq")
    for firmware in (FirmwareConfig(), FirmwareConfig(cascades=False)):
        program = select.program(model, M4, firmware=firmware)
        found = planner.contents(model, program.calls, program.memory)
        assert sum(found.values()) == program.memory.arena_bytes
    assert found == {
        "output of stem": 16384,
        "output of stack1_conv1": 16384,
        "scratch of stack1_conv1": 3816,
    }


def test_a_network_in_which_they_would_cost_too_much_has_none() -> None:
    assert select.program(tiny.qmodel(), M4).memory.cascades == ()


@pytest.mark.toolchain
def test_a_firmware_computes_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Generated C under the sanitizers; inside a cascade no layer has an output, so none is compared there."""
    monkeypatch.setattr(cascading, "LARGEST_SHARE", 100.0)
    monkeypatch.setattr(cascading, "LEAST_BYTES", 1)
    model, target = networks.early(3), board.load("host")
    sources = render.render(model, target)
    build.build(sources, target, tmp_path, sanitize=True)
    inner = [layer.cascade not in {"", layer.name} for layer in sources.layers]
    assert any(layer.stripes > 2 for layer in sources.layers)
    x = tiny.samples(model, 5)
    with session.connect(target, tmp_path) as device:
        device.hello()
        results = [result.output for result in device.run(sample.tobytes() for sample in x)]
        assert [not device.has_output(i) for i in range(len(model.layers))] == inner
        assert mismatch.locate(device, model, x[0]) is None
    assert np.array_equal(results, twin.run(model, x).reshape(len(x), -1))
