"""Networks of a sweep that is kept: measured where they lie, once."""

from __future__ import annotations

import dataclasses
import json

import pytest

from bench import comparison, trial_networks
from bench.comparison import SWEEP
from pipeline.core import store
from pipeline.core.errors import FitError
from tests.support import tiny


def test_networks_in_runs_are_measured_once_and_what_is_known_of_others_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.sweeps.RUNS", tmp_path / "runs")
    monkeypatch.setattr(trial_networks, "STORED", tmp_path / "networks.json")
    trials = [trial for trial in SWEEP.trials() if not trial.fold]
    there, known = trials[0], trials[1]
    (tmp_path / "networks.json").write_text(json.dumps({known.key: {"instructions": 7}, "of no trial": {}}))
    store.save(SWEEP.run().folder(there) / "qmodel", tiny.qmodel(), "key")
    seen = []

    def of(trial, model):
        seen.append((trial.key, model.digest))
        return {"instructions": 5}

    for _ in range(2):
        trial_networks.measure(SWEEP, of, lambda *_: None)
    assert seen == [(there.key, tiny.qmodel().digest)]
    digest = tiny.qmodel().digest
    assert trial_networks.stored() == {
        there.key: {"network": digest, "instructions": 5},
        known.key: {"instructions": 7},
    }


def test_another_network_of_the_same_trial_is_measured_again(tmp_path, monkeypatch):
    """As after a change of what lowering chooses, which a trial's key says nothing of."""
    monkeypatch.setattr("bench.sweeps.RUNS", tmp_path / "runs")
    monkeypatch.setattr(trial_networks, "STORED", tmp_path / "networks.json")
    trial = next(trial for trial in SWEEP.trials() if not trial.fold)
    folder = SWEEP.run().folder(trial) / "qmodel"
    for model in (tiny.qmodel(), dataclasses.replace(tiny.qmodel(), name="other")):
        store.save(folder, model, "key")
        trial_networks.measure(SWEEP, lambda trial, model: {"name": model.name}, lambda *_: None)
        assert trial_networks.stored()[trial.key] == {"network": model.digest, "name": model.name}


def test_a_network_that_does_not_fit_has_no_costs(monkeypatch):
    def count(_):
        raise FitError("needs 1122 KiB flash, has 1024", "")

    monkeypatch.setattr(trial_networks.Network, "count", count)
    assert trial_networks.costs(tiny.qmodel()) == {}
    assert comparison._costs({"paper_like": {}}) == ("does not fit", "–")


@pytest.mark.toolchain
@pytest.mark.emulator
def test_costs_are_counted_by_the_emulated_core():
    found = trial_networks.costs(tiny.qmodel())
    assert set(found) == set(trial_networks.COSTS) and all(number > 0 for number in found.values())
    assert found == trial_networks.costs(tiny.qmodel())
