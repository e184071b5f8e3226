"""Bits chosen by a job: what the choice rests on, what it says, and that it reaches the integer network."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import board
from pipeline.config.budget import layer_amount
from pipeline.config.dataset import DatasetConfig
from pipeline.config.job import Job, LayerwiseConfig, ModelConfig, TrainConfig
from pipeline.core import schema, store
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Dataset, Split
from pipeline.network import twin
from pipeline.quantization import layerwise
from pipeline.quantization.layerwise import Effects
from pipeline.stages import attack, lower
from pipeline.workflow import effects
from pipeline.workflow.plan import plan_job
from pipeline.workflow.workflow import Workflow
from tests.support import tiny
from tests.unit.workflow.test_workflow import Recorder

EPS = "1/255"


@pytest.fixture(scope="module")
def data() -> Dataset:
    """Samples for the tiny network, labelled with its own answers."""
    model = tiny.qmodel()
    x = tiny.samples(model, 40)
    split = Split(x, np.argmax(twin.run(model, x), axis=1).astype(np.int64), np.arange(40))
    return Dataset("toy", model.input, model.classes, {"train": split, "test": split})


@pytest.fixture(scope="module")
def measured(data) -> Effects:
    return effects.measure(tiny.trained(), EPS, data, 1, lambda *_: None)


def test_effects_are_those_of_the_integer_network(measured, data):
    trained, x = tiny.trained(), data.splits["train"].x
    whole = lower.lower(trained)
    assert measured.distance(trained) == 0
    narrow = layerwise.at_width(trained, 2)
    model = lower.lower(narrow)
    moved = np.stack([m.layers[-1].output.quantization.dequantize(twin.run(m, x)) for m in (model, whole)])
    apart = np.sqrt(np.mean(np.sum((moved[0] - moved[1]) ** 2, axis=1)))
    assert apart > 0
    assert measured.distance(narrow) == pytest.approx(apart)
    assert 0 < measured.attacked < attack.moved(whole, "8/255", data, 1)


@pytest.mark.parametrize("method", ["laq", "quanos"])
def test_a_choice_keeps_its_budget_and_spends_it(measured, method):
    trained = tiny.trained()
    names = [layer.name for layer in trained.layers if "codes" in layer.arrays]
    sensitivity = {name: float(i) for i, name in enumerate(names)}
    losses = []
    for budget in (1.0, 1.2, 4.0):
        wanted = LayerwiseConfig(method=method, eps="1/255", budget=budget)
        choice = layerwise.choose(trained, wanted, measured, sensitivity)
        assert choice.size_bytes <= budget * layerwise.ternary_bytes(trained)
        losses.append(choice.loss)
    assert max(losses[1:]) < losses[0]
    assert method == "quanos" or losses[2] <= losses[1]


def test_eps_per_element_becomes_a_euclidean_one(measured):
    wanted = LayerwiseConfig(method="uniform", eps="2/255", bits=8)
    choice = layerwise.choose(tiny.trained(), wanted, measured, {})
    assert choice.criterion.eps == pytest.approx(2 / 255 * math.sqrt(64))


def test_more_bits_bring_the_network_back(measured):
    """The tiny network's codes have 2 and 8 bits: at 8 nothing is lost, at 2 its first layer is."""
    trained, x = tiny.trained(), tiny.samples(tiny.qmodel(), 30)
    exact = twin.run(tiny.qmodel(), x).astype(int)
    away = {}
    for bits in (2, 8):
        choice = layerwise.choose(trained, LayerwiseConfig(method="uniform", bits=bits), measured, {})
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
