"""Devices as the oracle of black-box attacks: any number of them gives the same result, and a loss costs no answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.job import AttackConfig
from pipeline.core.errors import ConfigError, DeviceError
from pipeline.core.nouns import Dataset, QModel, Split
from pipeline.network import twin
from pipeline.robustness import campaign
from pipeline.robustness.answers import Answers
from pipeline.robustness.device_oracle import DeviceOracle
from pipeline.robustness.oracle import Transfer, shards
from pipeline.robustness.surrogate import Surrogate
from pipeline.stages import attack
from tests.support import tiny
from tests.support.twin_device import TwinDevice

SQUARE = AttackConfig(name="square", eps=("64/255",), queries=12)
HOP_SKIP_JUMP = AttackConfig(name="hop_skip_jump", eps=("32/255",), steps=1, queries=4)


@pytest.fixture(scope="module")
def model() -> QModel:
    return tiny.qmodel()


@pytest.fixture(scope="module")
def dataset(model) -> Dataset:
    """13 samples, ten of which the network answers rightly."""
    x = tiny.samples(model, 13)
    y = twin.run(model, x).argmax(axis=1).astype(np.int64)
    y[:3] = (y[:3] + 1) % 10
    return Dataset("tiny", model.input, model.classes, {"test": Split(x, y, np.arange(13))})


def oracle_of(model: QModel, path: Path, *devices: TwinDevice) -> DeviceOracle:
    return DeviceOracle(model, devices, Answers(path, "firmware", 10))


def run(model: QModel, dataset: Dataset, config: AttackConfig, oracle: DeviceOracle | None = None):
    oracles = attack.oracles(model, lambda name: model, oracle)
    (_, attacked), (outcome,) = attack.attack(oracles, dataset, [config], 1)
    return attacked.splits["test"].x, replace(outcome, seconds=0.0)


def assert_equal(a, b) -> None:
    (x, outcome), (y, other) = a, b
    assert np.array_equal(x, y)
    for name in ("attacked", "fooled", "queries", "smallest"):
        assert np.array_equal(getattr(outcome, name), getattr(other, name)), name


@pytest.mark.parametrize("config", [SQUARE, HOP_SKIP_JUMP], ids=lambda config: config.name)
def test_any_number_of_devices_finds_what_the_twin_finds(model, dataset, tmp_path, monkeypatch, config):
    monkeypatch.setattr(campaign, "BATCH", 3)
    expected = run(model, dataset, config)
    assert 0 < expected[1].fooled.sum() < 10
    for count in (1, 3):
        devices = [TwinDevice(model) for _ in range(count)]
        oracle = oracle_of(model, tmp_path / str(count), *devices)
        assert_equal(run(model, dataset, config, oracle), expected)
        told = oracle.summary("virtual", "firmware")
        assert (told.devices, told.reused, told.differing) == (count, 0, 0)
        assert told.answers <= expected[1].queries.sum() + 13
        assert sum(device.answers for device in devices) >= told.answers
        assert min(device.answers for device in devices) > 0


def test_what_a_device_answered_once_is_not_asked_again(model, tmp_path):
    x, device = tiny.samples(model, 5), TwinDevice(model)
    oracle = oracle_of(model, tmp_path / "answers", device)
    assert np.array_equal(oracle.logits(np.concatenate([x, x])), twin.run(model, np.concatenate([x, x])))
    assert device.answers == 5
    oracle.close()
    assert not device.is_open
    other = TwinDevice(model)
    again = oracle_of(model, tmp_path / "answers", other)
    assert np.array_equal(again.logits(x[::-1]), twin.run(model, x[::-1]))
    assert other.answers == 0
    told = again.summary("virtual", "firmware")
    assert (told.answers, told.reused, told.differing) == (5, 5, 0)


def test_an_attack_on_a_device_that_is_lost_goes_on_where_it_stopped(model, dataset, tmp_path):
    path = tmp_path / "answers"
    lost = [TwinDevice(model), TwinDevice(model, lasts=21)]
    oracle = oracle_of(model, path, *lost)
    with pytest.raises(DeviceError, match=rf"virtual: gone \(\d+ answers are kept in {path}\)") as caught:
        run(model, dataset, SQUARE, oracle)
    assert caught.value.hint == "plug it in; the same command continues from there"
    oracle.close()
    spent = sum(device.answers for device in lost)
    device = TwinDevice(model)
    resumed = oracle_of(model, path, device)
    assert_equal(run(model, dataset, SQUARE, resumed), run(model, dataset, SQUARE))
    told = resumed.summary("virtual", "firmware")
    assert told.reused == spent >= 21
    assert device.answers == told.answers - spent


def test_a_device_that_never_answered_has_nothing_kept_to_tell_of(model, tmp_path):
    oracle = oracle_of(model, tmp_path / "answers", TwinDevice(model, lasts=0))
    with pytest.raises(DeviceError) as caught:
        oracle.logits(tiny.samples(model, 2))
    assert (str(caught.value), caught.value.hint) == ("virtual: gone", "plug it in")


def test_answers_that_are_not_the_twins_are_counted_also_after_a_break(model, tmp_path):
    x, path = tiny.samples(model, 6), tmp_path / "answers"
    oracle = oracle_of(model, path, TwinDevice(model, wrong=2))
    assert (oracle.logits(x) != twin.run(model, x)).any(axis=1).sum() == 2
    assert oracle.summary("virtual", "firmware").differing == 2
    oracle.close()
    again = oracle_of(model, path, TwinDevice(model))
    again.logits(x)
    assert again.summary("virtual", "firmware").differing == 2
    asked = {sample.tobytes(): logits for sample, logits in zip(x, oracle.logits(x), strict=True)}
    assert len(again.differing) == 2
    assert all(np.array_equal(asked[sample.tobytes()], logits) for sample, logits in again.differing)


def test_a_transfer_attack_has_the_shards_of_its_target(model, tmp_path):
    oracle = oracle_of(model, tmp_path / "answers", TwinDevice(model), TwinDevice(model))
    parts = shards(Transfer(Surrogate(model), oracle))
    assert [part.target for part in parts] == list(oracle.shards)
    assert shards(Surrogate(model)) == ()


def test_attacks_that_need_gradients_are_refused_and_the_others_named():
    attack.check_black_box([SQUARE, HOP_SKIP_JUMP])
    for name, told in (("pgd", "attack pgd needs"), ("strict", "attack apgd of suite strict needs")):
        with pytest.raises(ConfigError, match=told) as caught:
            attack.check_black_box([SQUARE, AttackConfig(name=name, eps=("8/255",))])
        assert "boundary, hop_skip_jump, noise, simba, square, transfer" in caught.value.hint
