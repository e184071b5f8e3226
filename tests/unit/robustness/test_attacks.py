"""Every attack on a linear network, whose worst case within an eps is known exactly."""

from __future__ import annotations

import importlib.util
import itertools
import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from pipeline.config.job import SUITES, AttackConfig
from pipeline.core import interrupt, registry
from pipeline.core.errors import ConfigError
from pipeline.robustness import campaign, suites
from pipeline.robustness.attacks import _square_l2
from pipeline.robustness.trial import Trial
from tests.support import linear_oracle

EPS = "4/255"
EXACT = ("fgsm", "pgd", "apgd", "apgd_t", "transfer")
FEW = {"hop_skip_jump": {"steps": 3, "queries": 200}, "boundary": {"steps": 20}, "carlini_wagner": {"steps": 5}}
NAMES = registry.names("attacks")
WITHOUT_ART = importlib.util.find_spec("art") is None
ART = {"deepfool", "carlini_wagner", "hop_skip_jump", "boundary"}


def config(name: str, **options) -> AttackConfig:
    if name == "transfer":
        options["source"] = "itself"
    return AttackConfig(name=name, eps=(EPS,), **{**FEW.get(name, {}), **options})


def attacked(name: str, oracle, clean, seed: int = 1, **options):
    item = campaign.campaigns([config(name, **options)], clean)[0]
    return campaign.run(item, clean, lambda _: oracle, seed)


def worst_case(oracle, clean, steps: int = 4) -> np.ndarray:
    """bool (n,): some lattice point within the eps is answered wrongly. Of a linear network the worst point against a
    class moves every element by the whole eps, as far as the input range goes; rounding of logits only makes ties."""
    split = clean.splits["test"]
    flat, w = split.x.reshape(len(split), -1).astype(float), oracle.w.reshape(oracle.classes, -1)
    fooled = np.zeros(len(split), bool)
    for target in range(oracle.classes):
        direction = w[target] - w[split.y]
        moved = np.clip(flat + steps * np.sign(direction), -128, 127).astype(np.int8).reshape(split.x.shape)
        fooled |= oracle.logits(moved).argmax(axis=1) != split.y
    return fooled


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_every_attack_stays_inside_its_budget_and_counts_what_it_asks(name, norm):
    if name in ART and WITHOUT_ART:
        pytest.skip("adversarial-robustness-toolbox is not installed")
    if norm not in registry.load("attacks", name).NORMS:
        pytest.skip(f"{name} works in linf only")
    oracle, clean = linear_oracle.problem(24)
    before = sum(map(len, oracle.asked))
    data, (outcome,) = attacked(name, oracle, clean, norm=norm)
    change = np.abs(data.splits["test"].x.astype(int) - clean.splits["test"].x).reshape(24, -1)
    reach = change.max() if norm == "linf" else np.linalg.norm(change, axis=1).max()
    assert 0 < reach <= 4 * (1 + 1e-6)
    right = oracle.logits(clean.splits["test"].x).argmax(axis=1) == clean.splits["test"].y
    assert np.array_equal(outcome.attacked, right)
    assert not outcome.fooled[~right].any() and not outcome.queries[~right].any()
    answers = oracle.logits(data.splits["test"].x).argmax(axis=1)
    assert np.array_equal(answers != data.splits["test"].y, outcome.fooled | ~right)
    asked = sum(map(len, oracle.asked)) - before - 3 * 24
    assert outcome.queries.sum() == asked
    assert np.all(outcome.smallest[outcome.fooled] <= 1 + 1e-6)


@pytest.mark.parametrize(("name", "options"), [("pgd", {"steps": 1000}), ("square", {"queries": 1000})])
def test_a_request_to_end_is_noticed_within_a_batch(name, options, monkeypatch):
    """Not at its end only: with thousands of queries a sample that is minutes away. A thread ends after an answer."""
    oracle, clean = linear_oracle.problem(24)
    answer, asked = oracle.logits, itertools.count()

    def terminated(x):
        if (number := next(asked)) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        # The main thread runs the handler when it gets to it: answers until then say nothing of the attack.
        if number >= 3:
            interrupt._requested.wait(interrupt.LOOK_EVERY_S * 100)
        return answer(x)

    monkeypatch.setattr(oracle, "logits", terminated)
    with interrupt.handled(), pytest.raises(KeyboardInterrupt):
        attacked(name, oracle, clean, **options)
    assert next(asked) <= 4 + 24


@pytest.mark.parametrize("name", EXACT)
def test_of_two_classes_gradient_attacks_find_all_there_is_to_find(name):
    oracle, clean = linear_oracle.problem(60, classes=2)
    _, (outcome,) = attacked(name, oracle, clean)
    worst = worst_case(oracle, clean) & outcome.attacked
    assert 5 < worst.sum() < 55
    assert np.array_equal(outcome.fooled, worst)


@pytest.mark.parametrize("name", ["fab_t", "square"])
def test_other_attacks_find_what_falls_well_inside_the_budget(name):
    """FAB stops just beyond the boundary, Square and SimBA move blindly: they are held against half of the budget."""
    oracle, clean = linear_oracle.problem(40)
    options = {} if name == "fab_t" else {"queries": 1500}
    _, (outcome,) = attacked(name, oracle, clean, **options)
    half = worst_case(oracle, clean, steps=2) & outcome.attacked
    assert half.sum() >= 5
    assert not np.any(half & ~outcome.fooled)
    assert not np.any(outcome.fooled & ~worst_case(oracle, clean))
    if name != "fab_t":
        assert outcome.queries.max() <= 1500
        assert not outcome.gradients.any()


@pytest.mark.parametrize("name", ["pgd", "square", "apgd_t"])
def test_what_else_is_attacked_beside_a_sample_changes_nothing(name):
    oracle, clean = linear_oracle.problem(60)
    few = {"queries": 60} if name == "square" else {}
    whole, _ = attacked(name, oracle, clean, **few)
    part, _ = attacked(name, oracle, clean, samples=17, **few)
    rows = np.searchsorted(whole.splits["test"].index, part.splits["test"].index)
    assert len(rows) == 17
    assert np.array_equal(part.splits["test"].x, whole.splits["test"].x[rows])
    other, _ = attacked(name, oracle, clean, seed=2, **few)
    assert not np.array_equal(whole.splits["test"].x, other.splits["test"].x)


def test_simba_takes_what_helps_and_keeps_to_its_queries():
    """Elements whose change no integer logit shows stay where they are: held against half of the budget."""
    oracle, clean = linear_oracle.problem(60, classes=2)
    _, (outcome,) = attacked("simba", oracle, clean, queries=1000)
    assert not np.any(worst_case(oracle, clean, steps=2) & outcome.attacked & ~outcome.fooled)
    assert outcome.queries.max() <= 2 * 72 + 1
    _, (few,) = attacked("simba", oracle, clean, queries=10)
    assert few.queries.max() == 10


def test_a_suite_attacks_survivors_only_and_ends_with_the_worst_case():
    oracle, clean = linear_oracle.problem(40, classes=2)
    data, outcomes = attacked("quick", oracle, clean)
    assert [outcome.attack for outcome in outcomes] == ["pgd", "pgd", "apgd_t"]
    for earlier, later in itertools.pairwise(outcomes):
        assert np.array_equal(later.attacked, earlier.attacked & ~earlier.fooled)
    fooled = np.any([outcome.fooled for outcome in outcomes], axis=0)
    assert np.array_equal(fooled, worst_case(oracle, clean) & outcomes[0].attacked)
    assert data.attack.name == "quick" and data.attack.params["2"]["name"] == "apgd_t"
    assert {outcome.label for outcome in outcomes} == {data.label}


def test_the_strict_suite_is_autoattack_as_published():
    strict = suites.expand(AttackConfig(name="strict", eps=("8/255",)))
    assert [(a.name, a.steps, a.targets, a.queries) for a in strict] == [
        ("apgd", 100, 9, 1000),
        ("apgd_t", 100, 9, 1000),
        ("fab_t", 100, 9, 1000),
        ("square", 20, 9, 5000),
    ]
    assert set(SUITES) == set(suites.SUITES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "fgsm", "steps": 3}, "steps: 'fgsm' does not use it"),
        ({"name": "strict", "restarts": 2}, "restarts: 'strict' does not use it"),
        ({"name": "transfer"}, "source: 'transfer' needs the network"),
        ({"name": "pdg"}, "did you mean 'pgd'"),
        ({"name": "pgd", "unit": "sigma", "norm": "l2"}, 'unit: "sigma" goes with norm "linf"'),
    ],
)
def test_settings_that_an_attack_does_not_use_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        AttackConfig(eps=("8/255",), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": ("8",)}, r"attacks.0.eps = 8: 2040 lattice steps, the whole input range of linear is 255"),
        ({"eps": ("1/1000",)}, r"attacks.0.eps = 1/1000: smaller than one step"),
        ({"eps": ("8/255",), "unit": "sigma"}, r"attacks.0.eps: unit sigma, but data set linear states no"),
    ],
)
def test_a_budget_that_cannot_be_is_refused_before_any_work(options, message):
    oracle, clean = linear_oracle.problem(10)
    before = len(oracle.asked)
    with pytest.raises(ConfigError, match=message):
        campaign.campaigns([AttackConfig(**{"name": "pgd", **options})], clean)
    assert len(oracle.asked) == before


def test_a_norm_that_an_attack_does_not_know_is_refused_by_name(monkeypatch):
    _, clean = linear_oracle.problem(10)
    monkeypatch.setattr(registry.load("attacks", "simba"), "NORMS", ("linf",))
    with pytest.raises(ConfigError, match=r"attacks.0.norm = l2: 'simba' works in linf"):
        campaign.campaigns([config("simba", norm="l2")], clean)


@pytest.mark.parametrize("shape", [(6, 7, 2), (9, 3, 1), (20,), (1, 5, 1)])
def test_a_proposal_of_square_moves_two_windows_and_uses_the_whole_budget(shape):
    oracle, clean = linear_oracle.problem(3, shape=shape)
    x = np.zeros((3, *shape), np.int8)  # far from the ends of the range: nothing is clipped
    item = campaign.campaigns([AttackConfig(name="square", eps=("20/255",), norm="l2")], clean)[0]
    trial = Trial(oracle, x, np.zeros(3, np.int64), item.budget, np.arange(3), 1)
    rows = np.arange(3)
    generators = dict(enumerate(trial.generators(rows)))
    first = _square_l2.start(trial, rows, generators)
    second = _square_l2.proposal(trial, rows, first, generators, 0.1)
    for z in (first, second):
        np.testing.assert_allclose(np.linalg.norm(z.reshape(3, -1), axis=1), 20, rtol=1e-5)
    assert all(np.any(one != other) for one, other in zip(first, second, strict=True))


def test_an_eps_in_sigma_is_a_budget_of_each_element_by_its_own_deviation():
    _, clean = linear_oracle.problem(10)
    scale = clean.input.quantization.scale
    steps = np.arange(np.prod(clean.input.shape), dtype=np.float32).reshape(clean.input.shape)
    spread = replace(clean, spread=steps * np.float32(scale))
    (made,) = campaign.campaigns([AttackConfig(name="pgd", eps=("0.5",), unit="sigma")], spread)
    np.testing.assert_array_equal(made.budget.radius, np.floor(steps / 2))
    info = made.budget.info("pgd", {})
    assert (info.eps, info.eps_label, info.eps_lsb) == (0.5, "0.5 sigma", int(steps.max() // 2))


@pytest.mark.parametrize("name", sorted(set(NAMES) - ART - {"simba", "transfer"}))
def test_progress_is_told_within_a_batch_by_the_answers_still_to_come(name, monkeypatch):
    monkeypatch.setattr(campaign, "SHOW_EVERY_S", 0.0)
    oracle, clean = linear_oracle.problem(24)
    item = campaign.campaigns([config(name)], clean)[0]
    told: list[tuple[int, int]] = []
    _, (outcome,) = campaign.run(item, clean, lambda _: oracle, 1, lambda _, *far: told.append(far[:2]))
    done = [share for share, _ in told]
    assert {total for _, total in told} == {campaign.SHARES * outcome.attacked.sum()}
    assert done == sorted(done) and done[-1] == told[-1][1]
    most = campaign.expected_answers(config(name), oracle.classes)
    unharmed = outcome.queries[outcome.attacked & ~outcome.fooled]
    assert len(unharmed) and np.all(abs(unharmed / most - 1) < 0.2), (most, unharmed)


def test_progress_never_goes_back_though_batches_count_at_the_same_time(monkeypatch):
    monkeypatch.setattr(campaign, "SHOW_EVERY_S", 0.0)
    monkeypatch.setattr(campaign, "BATCH", 5)
    oracle, clean = linear_oracle.problem(60)
    item = campaign.campaigns([config("square", queries=40)], clean)[0]
    done: list[int] = []
    campaign.run(item, clean, lambda _: oracle, 1, lambda _, share, *rest: done.append(share))
    assert done == sorted(done)
