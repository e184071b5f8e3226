"""--kernels cmsis-nn on the cores that CMSIS_NN_ROOT holds a library for: every output is the specification's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.analysis import latency
from pipeline.codegen import cmsis_nn, select
from pipeline.core import store
from pipeline.core.errors import ToolError
from pipeline.core.nouns import QLayer, Trace
from pipeline.workflow.display import QUIET
from pipeline.workflow.plan import MEASURED, plan_model
from pipeline.workflow.workflow import QUICK, Workflow
from tests.emulated.test_kernels import CORES, assert_same_bits, wide_layers
from tests.support import networks, single

pytestmark = [pytest.mark.toolchain, pytest.mark.emulator]
SEEDS = {"conv2d": 2, "depthwise_conv2d": 8, "dense": 2}
"""Of the shapes, by kind."""


@pytest.fixture(params=CORES)
def core(request: pytest.FixtureRequest) -> str:
    """The name of a core that a library can be linked for."""
    name, root = str(request.param), cmsis_nn.root()
    if root is None:
        pytest.skip(f"{cmsis_nn.ENVIRONMENT} is not set: an already built CMSIS-NN is needed")
    try:
        cmsis_nn.library(CORES[name])
    except ToolError as error:
        pytest.skip(str(error))
    return name


@pytest.mark.parametrize("kind", SEEDS)
def test_same_bits_by_cmsis_nn(core: str, kind: str, tmp_path: Path) -> None:
    """Weights of 8 and 4 bits by CMSIS-NN, of 3 by ours, in one image."""
    model = wide_layers(SEEDS[kind], kind)
    layers = tuple(alike(layer) if number % 2 else layer for number, layer in enumerate(model.layers))
    model = replace(model, layers=layers)
    served = [call for call in select.calls(model, CORES[core], "cmsis-nn") if call and "_cmsis" in call.function]
    assert len(served) >= 8
    assert_same_bits(model, CORES[core], single.inputs(model, np.random.default_rng(0), 1), tmp_path, "cmsis-nn")


def test_same_bits_of_every_kind_of_layer(core: str, tmp_path: Path) -> None:
    model = networks.every_kind(1)
    x = np.random.default_rng(0).integers(-128, 128, (2, *model.input.shape)).astype(np.int8)
    assert_same_bits(model, CORES[core], x, tmp_path, "cmsis-nn")


def test_the_best_of_both_takes_no_more_than_the_smaller(core: str, tmp_path: Path) -> None:
    model = replace(networks.every_kind(1), name="every_kind")
    store.save(tmp_path / "q", model, "key")
    plan = plan_model(tmp_path / "q", "random", CORES[core].name, tmp_path, kernels="best", limit=2)
    trace = Workflow(plan, QUIET, (*QUICK, "flash", "stream")).stream()
    measured = [store.load(plan.device_folder / MEASURED / kind / "trace", Trace) for kind in select.COMPARED]
    best, *both = (latency.medians(found, model) for found in (trace, *measured))
    assert best[0] <= min(ticks for ticks, _ in both)
    for name, ticks in best[1].items():
        assert ticks == min(layers[name] for _, layers in both), name


def alike(layer: QLayer) -> QLayer:
    """The layer with its first output's scale for all."""
    assert layer.multiplier is not None and layer.shift is not None
    first = {"multiplier": layer.multiplier[:1], "shift": layer.shift[:1]}
    return replace(layer, **{name: np.repeat(values, len(layer.shift)) for name, values in first.items()})
