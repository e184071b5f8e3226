from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.codegen import planner
from pipeline.core import registry
from pipeline.core.nouns import KernelCall, QLayer, QModel, Quantization, TensorSpec
from tests.support import tiny

Q = Quantization(1.0, 0)


def calls_of(model: QModel) -> list[KernelCall | None]:
    return [registry.load("layers", layer.kind).kernel(layer, model.input_specs(layer)) for layer in model.layers]


def live_ranges(
    model: QModel, calls: list[KernelCall | None], plan: planner.MemoryPlan
) -> list[tuple[int, int, int, int]]:
    """(first step, last step, start byte, end byte) of every tensor and scratch buffer, worked out independently."""
    ranges = []
    for t, offset in enumerate(plan.tensor_offsets):
        readers = [i for i, layer in enumerate(model.layers) if t in layer.inputs]
        last = len(model.layers) if t == len(model.layers) else max(readers, default=t - 1)
        ranges.append((t - 1, last, offset, offset + model.tensor(t).size_bytes))
    for i, (offset, call) in enumerate(zip(plan.scratch_offsets, calls, strict=True)):
        if call is not None and offset is not None:
            ranges.append((i, i, offset, offset + call.scratch_bytes))
    return ranges


def shares(model: QModel, calls: list[KernelCall | None], t: int, u: int) -> bool:
    """Whether tensor u (made later) may lie on tensor t: it renames or overwrites it."""
    call = calls[u - 1]
    inputs = model.layers[u - 1].inputs
    return (call is None and t in inputs) or (
        call is not None and call.in_place is not None and inputs[call.in_place] == t
    )


def check(model: QModel, calls: list[KernelCall | None]) -> planner.MemoryPlan:
    plan = planner.plan(model, calls)
    ranges = live_ranges(model, calls, plan)
    tensors = len(plan.tensor_offsets)
    for i, (first, last, start, end) in enumerate(ranges):
        assert start % planner.ALIGNMENT == 0
        assert end <= plan.arena_bytes
        for j, (first2, last2, start2, end2) in enumerate(ranges[:i]):
            if i < tensors and j < tensors and shares(model, calls, j, i):
                continue
            in_time = first <= last2 and first2 <= last
            assert not (in_time and start < end2 and start2 < end), f"buffers {j} and {i} overlap"
    return plan


def test_tiny_network() -> None:
    model = tiny.qmodel()
    check(model, calls_of(model))


def chain(sizes: list[int], in_place: list[bool]) -> tuple[QModel, list[KernelCall | None]]:
    layers = tuple(QLayer(f"l{i}", "x", (i,), TensorSpec((s,), Q)) for i, s in enumerate(sizes[1:]))
    model = QModel("chain", TensorSpec((sizes[0],), Q), ("a",), layers)
    calls = [KernelCall("f", (), {}, 0, 0 if flag else None) for flag in in_place]
    return model, list(calls)


def test_a_chain_of_in_place_layers_needs_one_buffer() -> None:
    model, calls = chain([64, 64, 64, 64], [True, True, True])
    assert check(model, calls).arena_bytes == 64


def test_a_chain_without_in_place_needs_the_largest_pair() -> None:
    model, calls = chain([64, 256, 128, 64], [False, False, False])
    assert check(model, calls).arena_bytes == 256 + 128


def test_an_input_that_is_read_later_is_not_overwritten() -> None:
    spec = TensorSpec((32,), Q)
    layers = (QLayer("a", "x", (0,), spec), QLayer("b", "x", (0, 1), spec))
    calls = [KernelCall("f", (), {}, 0, 0), KernelCall("f", (), {}, 0, None)]
    assert check(QModel("m", spec, ("c",), layers), calls).arena_bytes == 96


@given(st.lists(st.tuples(st.integers(1, 500), st.booleans(), st.integers(0, 90)), min_size=1, max_size=12), st.data())
@settings(max_examples=200)
def test_random_graphs_never_overlap(nodes: list[tuple[int, bool, int]], data: st.DataObject) -> None:
    layers, calls = [], []
    for i, (size, in_place, scratch) in enumerate(nodes):
        inputs = tuple(data.draw(st.lists(st.integers(0, i), min_size=1, max_size=2, unique=True)))
        layers.append(QLayer(f"l{i}", "x", inputs, TensorSpec((size,), Q)))
        calls.append(KernelCall("f", (), {}, scratch, 0 if in_place else None))
    check(QModel("random", TensorSpec((100,), Q), ("a",), tuple(layers)), calls)


@pytest.mark.parametrize("n", [1, 7])
def test_offsets_are_plain_ints(n: int) -> None:
    plan = planner.plan(*chain([n] * 3, [False, False]))
    assert all(isinstance(o, int) and not isinstance(o, np.integer) for o in plan.tensor_offsets)
