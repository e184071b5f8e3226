"""Bits chosen by a job: what the choice rests on, what it says, and that it reaches the integer network."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from pipeline.analysis import agreement
from pipeline.config import board
from pipeline.config.budget import layer_amount
from pipeline.config.dataset import DatasetConfig
from pipeline.config.job import Job, LayerwiseConfig, ModelConfig, TrainConfig
from pipeline.core import schema, store
from pipeline.core.errors import ConfigError
from pipeline.network import twin
from pipeline.quantization import layerwise
from pipeline.stages import lower
from pipeline.workflow.plan import plan_job
from pipeline.workflow.workflow import Workflow
from tests.support import tiny
from tests.unit.workflow.test_workflow import Recorder


@pytest.fixture(scope="module")
def norms():
    return agreement.input_norms(lower.lower(tiny.trained()), tiny.samples(tiny.qmodel(), 8))


def test_norms_are_those_of_what_each_layer_reads(norms):
    model, x = tiny.qmodel(), tiny.samples(tiny.qmodel(), 8)
    outputs = {layer.name: (layer, q) for layer, q in zip(model.layers, twin.trace(model, x), strict=True)}
    assert set(norms) == {"stem", "main", "dw", "pw", "logits"}
    assert norms["stem"] == pytest.approx(np.linalg.norm((x.reshape(8, -1) + 128.0) / 255, axis=1).mean())
    layer, q = outputs["pooled"]
    real = layer.output.quantization.dequantize(q).reshape(8, -1)
    assert norms["pw"] == pytest.approx(np.linalg.norm(real, axis=1).mean())
    assert norms["main"] == norms["dw"]


@pytest.mark.parametrize("method", ["laq", "quanos"])
def test_a_choice_keeps_its_budget_and_spends_it(norms, method):
    trained = tiny.trained()
    sensitivity = {name: float(i) for i, name in enumerate(norms)}
    bounds = []
    for budget in (1.0, 1.2, 4.0):
        wanted = LayerwiseConfig(method=method, eps="1/255", budget=budget)
        choice = layerwise.choose(trained, wanted, norms, sensitivity)
        assert choice.size_bytes <= budget * layerwise.ternary_bytes(trained)
        bounds.append(choice.bound)
    assert bounds[2] <= bounds[1] < bounds[0]


def test_eps_per_element_becomes_a_euclidean_one(norms):
    wanted = LayerwiseConfig(method="uniform", eps="2/255", bits=8)
    choice = layerwise.choose(tiny.trained(), wanted, norms, {})
    assert choice.eps == pytest.approx(2 / 255 * math.sqrt(64))


def test_more_bits_bring_the_network_back(norms):
    """The tiny network's codes have 2 and 8 bits: at 8 nothing is lost, at 2 its first layer is."""
    trained, x = tiny.trained(), tiny.samples(tiny.qmodel(), 30)
    exact = twin.run(tiny.qmodel(), x).astype(int)
    away = {}
    for bits in (2, 8):
        choice = layerwise.choose(trained, LayerwiseConfig(method="uniform", bits=bits), norms, {})
        chosen = lower.lower(layerwise.apply(trained, choice))
        assert {layer.weight_bits for layer in chosen.layers if layer.weights is not None} == {bits}
        away[bits] = np.abs(twin.run(chosen, x) - exact).mean()
    assert 2 * away[8] < away[2]


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"method": "laq", "bits": 3}, 'bits: is not for method "laq"'),
        ({"method": "uniform", "budget": 2.0}, 'budget: is not for method "uniform"'),
        ({"method": "laq", "budget": 0.5}, "layerwise.budget"),
        ({"method": "laq", "budget": "9 M cycles"}, "layerwise.budget"),
        ({"method": "laq", "budget": "24"}, "has no unit"),
        ({"method": "laq", "budget": "2.5 instructions"}, "must be a positive integer"),
        ({"method": "best"}, "layerwise.method"),
        ({"method": "laq", "eps": "-1"}, "layerwise.eps"),
    ],
)
def test_wrong_settings_are_refused(section, says):
    job = make_job().model_dump(mode="json") | {"layerwise": section}
    with pytest.raises(ConfigError, match=says):
        schema.validate(Job, job, "job.toml")


def test_a_budget_is_a_ratio_bytes_or_instructions():
    assert LayerwiseConfig(method="laq").budget == 1.25
    assert layer_amount(LayerwiseConfig(method="laq", budget="24 KiB").budget) == ("bytes", 24 << 10)
    assert layer_amount("9 M instructions") == layer_amount("9e6 instructions")
    assert LayerwiseConfig(method="laq", budget="9 M instructions").is_measured
    assert not LayerwiseConfig(method="laq", budget="24 KiB").is_measured


def test_instructions_need_a_board_that_counts_them(tmp_path):
    made, _ = lowered(tmp_path, make_job(method="laq", budget="9 M instructions"))
    with pytest.raises(ConfigError, match="instructions are counted on emulated boards, 'host' is none"):
        made.lower()


@pytest.mark.parametrize(
    ("budget", "says"),
    [("100 B", "100 bytes: the cheapest choice takes"), ("9 M instructions", "'host' is none that counts them")],
)
def test_what_no_choice_can_keep_is_refused_before_training(tmp_path, budget, says):
    plan = plan_job(make_job(method="laq", budget=budget), board.load("host"), tmp_path)
    with pytest.raises(ConfigError, match=says):
        Workflow(plan, Recorder(), ("train",)).train()
    assert not list(tmp_path.rglob("last.npz"))


@pytest.mark.toolchain
@pytest.mark.emulator
def test_a_budget_of_instructions_is_kept_by_what_the_board_counts(tmp_path):
    job = make_job(method="laq", budget="1 M instructions", eps="1/255")
    made, _ = lowered(tmp_path, job.model_copy(update={"board": "netduinoplus2"}))
    found = made.lower().metrics["layerwise"]
    assert found["instructions"] <= 1_000_000
    assert set(found["uniform_instructions"]) == {"2", "3", "4", "8"}
    assert all(layer["instructions"] > 0 for layer in found["layers"])


def make_job(**layers) -> Job:
    return Job(
        name="toy",
        board="host",
        dataset=DatasetConfig(name="digits"),
        model=ModelConfig(name="digits_cnn", weight_bits=8),
        train=TrainConfig(epochs=1),
        layerwise=LayerwiseConfig(**layers) if layers else None,
    )


def lowered(folder: Path, job: Job):
    """The network that `tritmcu lower` makes of a stored training, and the stages that worked."""
    recorder = Recorder()
    plan = plan_job(job, board.load("host"), folder)
    made = Workflow(plan, recorder, ("lower",))
    if not (plan.folder / "trained").exists():
        trained = dataclasses.replace(tiny.trained(), metrics={"validation_accuracy": 0.5})
        store.save(plan.folder / "trained", trained, made._train_key)
    return made, recorder


def test_a_job_lowers_its_stored_training_anew_for_another_choice(tmp_path):
    bytes_of = {}
    for layers in ({}, {"method": "uniform", "bits": 2}, {"method": "laq", "budget": 2.0}):
        made, recorder = lowered(tmp_path, make_job(**layers))
        qmodel = made.lower()
        assert recorder.seen == ["(train)", "lower"]
        chosen = qmodel.metrics.get("layerwise")
        assert (chosen is None) == (not layers)
        if chosen:
            bits = {layer.name: layer.weight_bits for layer in qmodel.layers if layer.weights is not None}
            assert bits == {layer["name"]: layer["bits"] for layer in chosen["layers"]}
            bytes_of[chosen["method"]] = chosen["bytes"]
        again, recorder = lowered(tmp_path, make_job(**layers))
        assert again.lower().digest == qmodel.digest
        assert recorder.seen == ["(train)", "(lower)"]
    assert bytes_of["uniform 2 bit"] < bytes_of["laq"] <= 2 * bytes_of["uniform 2 bit"]
