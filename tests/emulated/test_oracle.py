"""Emulated boards as the oracle of an attack: several at once, each on a CPU of its own where there are enough."""

from __future__ import annotations

import os

import numpy as np
import pytest

from bench import oracle as bench
from pipeline.config.job import AttackConfig
from pipeline.core.nouns import Dataset, Split
from pipeline.network import twin
from pipeline.stages import attack
from tests.emulated.test_stream import emulators_of
from tests.support import tiny

pytestmark = [pytest.mark.toolchain, pytest.mark.emulator]


def test_two_emulators_answer_an_attack_as_the_twin_does(firmware, tmp_path):
    e = firmware("netduinoplus2")
    x = tiny.samples(e.qmodel, 8)
    split = Split(x, twin.run(e.qmodel, x).argmax(axis=1).astype(np.int64), np.arange(8))
    dataset, config = (
        Dataset("tiny", e.qmodel.input, e.qmodel.classes, {"test": split}),
        AttackConfig(name="square", eps=("64/255",), queries=6),
    )
    (_, expected), _ = attack.attack(attack.oracles(e.qmodel, lambda name: e.qmodel), dataset, [config], 1)
    setting = (e.qmodel, e.image, e.folder, e.board, [None, None], tmp_path / "answers")
    with attack.devices(*setting) as devices:
        oracles = attack.oracles(e.qmodel, lambda name: e.qmodel, devices)
        (_, attacked), [outcome] = attack.attack(oracles, dataset, [config], 1)
        running = emulators_of(e.folder)
        assert len(running) == 2
        # Which ones depends on what else is emulated: tests/unit/device holds the choice.
        assert all(len(os.sched_getaffinity(pid)) == 1 for pid in running)
        assert devices.summary("netduinoplus2", e.image.digest).differing == 0
    assert emulators_of(e.folder) == []
    assert np.array_equal(attacked.splits["test"].x, expected.splits["test"].x)
    assert outcome.queries.sum() > 8


def test_the_bench_counts_processor_time_per_answer(firmware):
    e = firmware("netduinoplus2")
    rate = bench.measure(e.qmodel, e.image, e.folder, e.board, 1, tiny.samples(e.qmodel, 30))
    assert rate.answers_per_s > 0
    assert rate.device_ms > 0
    assert rate.host_ms > 0
    assert bench.table([rate])[0][-1] == "1.00"
