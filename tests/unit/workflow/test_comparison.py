"""comparison: one firmware of each network is built and run; networks of different samples are refused."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from pipeline.cli import console, main, runs
from pipeline.config.job import AttackConfig
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import AttackOutcome
from pipeline.stages import attack
from pipeline.workflow import comparison, subjects
from pipeline.workflow.workflow import Workflow


def compared(words: list[str], folder, **options):
    plans = [subjects.plan(word, "host", folder, **options) for word in words]
    with closing(console.PlainDisplay()) as display:
        return comparison.compare(plans, folder, display)


def test_networks_of_different_samples_are_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match="networks of different inputs: 'digits") as caught:
        compared(["digits_stq_jr", "kws_dscnn_stq"], tmp_path)
    assert "takes 8x8x1 samples of digits" in str(caught.value) or "samples of digits, 'kws" in str(caught.value)
    assert "samples of speech_commands" in str(caught.value)
    assert not list(tmp_path.iterdir()), "nothing was built"


def test_every_network_goes_with_every_board_and_kernels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = main.parse(
        ["compare", "digits_stq_jr", "digits_stq_jr_at", "--board", "host", "--board", "mps2-an385", "--board", "host",
         "--kernels", "auto", "--kernels", "reference"]
    )  # fmt: skip
    found = [(plan.name, plan.board.name, plan.kernels) for plan in runs.subjects(arguments)]
    boards = [("host", "auto"), ("host", "reference"), ("mps2-an385", "auto"), ("mps2-an385", "reference")]
    assert found == [(name, *rest) for name in ("digits_stq_jr", "digits_stq_jr_at") for rest in boards]
    alone = runs.subjects(main.parse(["compare", "digits_stq_jr", "digits_stq_jr_at"]))
    assert {(plan.board.name, plan.kernels) for plan in alone} == {("netduinoplus2", "auto")}, "that of the first"


def test_what_a_run_stores_of_its_attacks_counts_while_it_is_current(tmp_path, monkeypatch):
    right, fooled, numbers = np.array([True] * 15 + [False] * 5), np.arange(20) < 6, np.zeros(20, np.int64)
    outcome = AttackOutcome(
        "fgsm linf 8/255", "fgsm", {}, attacked=right, fooled=fooled, queries=numbers, gradients=numbers,
        zero_gradients=numbers, smallest=np.ones(20), seconds=0.0,
    )  # fmt: skip
    monkeypatch.setattr(attack, "oracles", lambda *_: None)
    monkeypatch.setattr(attack, "attack", lambda oracles, clean, *_, **__: ((clean,), (outcome,)))
    attacks = (AttackConfig(name="fgsm", eps=("8/255",)),)
    plan = subjects.plan("digits_stq_jr", "host", tmp_path, attacks=attacks, limit=20)
    display = console.PlainDisplay()
    assert comparison._stored(plan, display) == {}
    Workflow(plan, display, ("lower", "attack")).attack()
    ((row, share),) = comparison._stored(plan, display).items()
    assert (row, share.n, share.accuracy) == ("fgsm linf 8/255, stored by the run", 20, 9 / 20)
    assert comparison._stored(replace(plan, limit=10), display) == {}, "of other samples"


def test_a_network_is_built_run_and_its_card_believed(tmp_path):
    (one,) = compared(["digits_stq_jr"], tmp_path, limit=20)
    assert (one.clean.n, one.board, one.kernels) == (20, "host", "auto")
    assert one.ticks is not None and set(one.layers) >= {"conv1", "logits"}
    assert one.flash["weights"] > 0 and one.ram["activations"] > 0
    assert "PGD-20 by the gradients of Keras, eps 8/255" in one.robust or "suite" in " ".join(one.robust)
    assert not any("stored" in attack for attack in one.robust)
    assert not (tmp_path / "digits_stq_jr-host").exists(), "nobody's run is touched"
