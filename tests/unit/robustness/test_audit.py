"""The audit calls honest networks clean, and planted ones that hide how little robust they are masked."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest

from pipeline.analysis.statistics import fair_coin_limit
from pipeline.cli import main
from pipeline.config.job import AttackConfig
from pipeline.core import registry, store
from pipeline.core.nouns import (
    AuditCheck,
    AuditResult,
    Dataset,
    DatasetTrace,
    DeviceInfo,
    DeviceStats,
    LinkStats,
    QModel,
    Trace,
)
from pipeline.robustness import audit, campaign
from pipeline.robustness.budget import Budget
from pipeline.robustness.evidence import Duel, Evidence
from pipeline.robustness.surrogate import Surrogate
from pipeline.stages import attack
from pipeline.workflow import workflow, zoo
from tests.support import masked, networks

EPS = "24/255"


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Dataset:
    return registry.load("datasets", "digits").load(None, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def honest(digits) -> QModel:
    return masked.linear(digits)


@pytest.fixture(autouse=True)
def few_queries(monkeypatch) -> None:
    monkeypatch.setattr(audit, "QUERIES", 100)


def few(digits: Dataset, n: int) -> tuple[Dataset, Budget]:
    clean = replace(digits, splits={"test": digits.splits["test"].subset(n, 1)})
    return clean, Budget.of(AttackConfig(name="pgd", eps=(EPS,)), EPS, clean, "eps")


def audited(model: QModel, digits: Dataset, n: int = 40) -> AuditResult:
    oracles = attack.oracles(model, networks.stored)
    return audit.audit(oracles, *few(digits, n), 1, network=model.digest)


def failed(result: AuditResult) -> set[str]:
    return {check.name for check in result.checks if check.passed is False}


def test_an_honest_network_is_clean(honest, digits):
    result = audited(honest, digits, 100)
    assert (result.verdict, failed(result)) == ("clean", set())
    assert (result.network, result.dataset, result.budget, result.samples) == (honest.digest, "digits", EPS, 100)
    assert len(result.checks) >= 12
    for check in result.checks:
        assert check.passed is None or check.passed == (check.value <= check.threshold)
    untold = {check.name for check in result.checks if check.passed is None}
    assert untold == {"transfer", "device", "instructions"}


@pytest.mark.parametrize(
    ("options", "eps", "label"),
    [({"norm": "l2"}, "0.9", "0.9 (l2)"), ({"unit": "sigma"}, "0.35", "0.35 sigma")],
)
def test_other_budgets_are_audited_alike(honest, digits, options, eps, label):
    """A Euclidean one, and one in standard deviations of each element, some of which may not move at all."""
    quantization, x = digits.input.quantization, digits.splits["train"].x
    known = replace(digits, spread=(x.std(axis=0) * quantization.scale).astype(np.float32))
    clean, _ = few(known, 50)
    budget = Budget.of(AttackConfig(name="pgd", eps=(eps,), **options), eps, clean, "eps")
    oracles = attack.oracles(honest, networks.stored)
    result = audit.audit(oracles, clean, budget, 1)
    assert (result.budget, failed(result), result.verdict) == (label, set(), "clean")


def test_a_masked_network_is_found_out_by_a_euclidean_budget(honest, digits):
    clean, _ = few(digits, 20)
    budget = Budget.of(AttackConfig(name="pgd", eps=("0.9",), norm="l2"), "0.9", clean, "eps")
    planted = attack.oracles(masked.saturated(honest, 1e5), networks.stored)
    assert audit.audit(planted, clean, budget, 1).verdict == "masked"


def test_a_network_that_quantizes_its_input_hard_is_masked(honest, digits):
    planted = masked.quantized_input(honest, 8)
    result = audited(planted, digits)
    assert result.verdict == "masked"
    assert {"zero_gradients", "unbounded", "backward", "black_box"} <= failed(result)


def test_a_network_of_saturated_logits_is_masked(honest, digits):
    planted = masked.saturated(honest, 1e5)
    x = digits.splits["test"].x
    assert np.array_equal(Surrogate(planted).logits(x), Surrogate(honest).logits(x))
    result = audited(planted, digits)
    assert result.verdict == "masked"
    assert {"zero_gradients", "losses", "scaled_logits"} <= failed(result)


def test_randomized_answers_are_masked(honest, digits):
    oracle = masked.Randomized(Surrogate(honest), 2, np.random.default_rng(1))
    result = audit.audit(lambda _: oracle, *few(digits, 40), 1)
    assert result.verdict == "masked"
    assert {"repeat_inference", "surrogate"} <= failed(result)


def test_what_was_not_measured_is_not_passed(honest, digits):
    clean, budget = few(digits, 2)
    evidence = Evidence(attack.oracles(honest, networks.stored), clean, budget, 1)
    for name, why in (
        ("device", "--board"),
        ("instructions", "--board"),
        ("transfer", "--source"),
        ("noise", "too few"),
    ):
        value, threshold, told = audit.CHECKS[name](evidence)
        assert value is threshold is None
        assert why in told


def test_the_verdict_follows_from_the_checks():
    def checks(**answers: bool | None) -> list[AuditCheck]:
        return [AuditCheck(name, answers.get(name, True), 0.0, 0.0, "") for name in audit.CHECKS]

    assert audit.verdict(checks()) == "clean"
    assert audit.verdict(checks(device=None, instructions=None, transfer=None)) == "clean"
    assert audit.verdict(checks(noise=None)) == "suspicious"
    assert audit.verdict(checks(more_steps=False)) == "suspicious"
    assert audit.verdict(checks(more_steps=False, black_box=False)) == "masked"
    assert set(audit.CHECKS) > audit.MASKING


def test_chance_is_the_exact_sign_test():
    for flips in range(40):
        tails = {h: sum(math.comb(flips, k) for k in range(h, flips + 1)) / 2**flips for h in range(flips + 1)}
        assert fair_coin_limit(flips) == max(h for h, tail in tails.items() if tail > 0.05)
    one_sided = np.array([True] * 9 + [False] * 11), np.zeros(20, bool)
    ahead = Duel.of(one_sided[1], one_sided[0], 1)
    assert (ahead.lead, ahead.by_chance, ahead.beyond_chance) == (9 / 20, 5 / 20, 7 / 20)
    assert Duel.of(*one_sided, 1).lead == -9 / 20


def test_a_device_that_answers_otherwise_or_takes_longer_under_attack_fails(honest, digits):
    clean, budget = few(digits, 4)
    rows = np.arange(4)
    same = np.zeros((4, 10), np.int8)
    part = DatasetTrace("clean", "", rows, rows, same, same, np.full(4, 900, np.uint32), np.zeros((4, 2), np.uint32))
    slow = replace(part, label="pgd", ticks=np.array([900, 900, 901, 900], np.uint32))
    device = DeviceInfo("virtual", "", 1, 0, "instructions", 1, 1, 1, 2, 1, 1)
    other = replace(part, logits=same + np.eye(4, 10, dtype=np.int8))
    for data, answers, times in ((part, 0.0, 0.0), (slow, 0.0, 0.25), (other, 1.0, 0.0)):
        trace = Trace(device, (part, data), LinkStats(), DeviceStats(1, 1, True, 1))
        evidence = Evidence(attack.oracles(honest, networks.stored), clean, budget, 1, trace=trace)
        assert audit.CHECKS["device"](evidence)[:2] == (answers, 0.0)
        assert audit.CHECKS["instructions"](evidence)[:2] == (times, 0.0)
    timed = replace(trace, device=replace(device, tick_unit="us"))
    evidence = Evidence(attack.oracles(honest, networks.stored), clean, budget, 1, trace=timed)
    assert audit.CHECKS["instructions"](evidence)[0] is None


def test_the_command_prints_and_stores_the_audit(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    stored = tmp_path / "runs" / "small"
    shutil.copytree(zoo.shelf() / "digits_stq_jr", stored / "qmodel")
    command = ["audit", "runs/small", "--limit", "2", "--eps", "48/255"]
    assert main.main([*command, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["verdict"] == "suspicious"
    assert (printed["budget"], printed["samples"]) == ("48/255", 2)
    assert [check["name"] for check in printed["checks"]] == list(audit.CHECKS)
    assert all(set(check) == {"name", "passed", "value", "threshold", "why"} for check in printed["checks"])
    assert "digits_stq_jr_at" in printed["checks"][list(audit.CHECKS).index("transfer")]["why"]
    assert store.load(tmp_path / "runs" / "digits_stq_jr-netduinoplus2" / "audit", AuditResult).verdict == "suspicious"
    assert main.main(command) == 0
    told = capsys.readouterr()
    assert "verdict: suspicious" in told.out
    assert "not measured" in told.out
    assert "audit    unchanged" in told.err


def test_an_interrupted_audit_goes_on_with_the_attack_that_is_not_done(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["audit", "digits_stq_jr", "--limit", "2", "--eps", "48/255", "--json"]
    ran: list[str] = []
    run = campaign.run

    def stopped_at(most: int) -> None:
        def counted(item, *arguments):
            if len(ran) == most:
                raise KeyboardInterrupt
            ran.append(f"{item.config.model_dump_json()} {item.budget.label}")
            return run(item, *arguments)

        monkeypatch.setattr(campaign, "run", counted)

    stopped_at(5)
    assert main.main(command) == main.INTERRUPTED
    kept = tmp_path / "runs" / "digits_stq_jr-netduinoplus2" / workflow.AUDITED
    assert len(list(kept.iterdir())) == len(ran) == 5
    capsys.readouterr()
    stopped_at(-1)
    assert main.main(command) == 0
    resumed = capsys.readouterr().out
    assert len(ran) == len(set(ran)) > 10, "no attack was run twice"
    assert not kept.exists()
    assert main.main([*command, "--fresh"]) == 0
    assert capsys.readouterr().out == resumed, "as if it had not been interrupted"
    assert len(ran) == 2 * len(set(ran))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["digits_stq_jrs"], "unknown network, run or job"),
        (["digits"], "run this first: tritmcu train digits"),
        (["digits", "--run-dir", "my run"], "run this first: tritmcu train digits --run-dir 'my run'"),
        (["digits_stq_jr", "--port", "/dev/x"], "--port: goes with --board"),
        (["digits_stq_jr", "--unit", "x"], "--unit: goes with --board"),
        (["digits_stq_jr", "--runner", "openocd"], "--runner: goes with --board"),
        (["digits_stq_jr", "--eps", "1/2550"], "smaller than one step"),
        (["digits_stq_jr", "--eps", "8"], "did you mean"),
        (["digits_stq_jr", "--eps", "much"], "much"),
        (["digits_stq_jr", "--source", "cifar10_resnet8_at"], "takes other samples"),
        (["digits_stq_jr", "--limit", "0"], "not a positive integer"),
    ],
)
def test_what_cannot_be_audited_is_one_line(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main.main(["audit", *options]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert not printed.out
