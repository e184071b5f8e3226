"""The attack stage on stored networks: what is scored is what was attacked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.analysis.outcomes import summarize
from pipeline.config.job import AttackConfig
from pipeline.core import registry, store
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Dataset, QModel
from pipeline.network import twin
from pipeline.stages import attack
from pipeline.workflow import zoo

PGD = AttackConfig(name="pgd", eps=("32/255",), steps=8, step_size=0.25)


def network(name: str = "digits_stq_jr") -> QModel:
    return store.load(zoo.find(Path(name)), QModel)


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Dataset:
    """60 test samples of each data set role."""
    whole = registry.load("datasets", "digits").load(None, cache=tmp_path_factory.mktemp("cache"))
    return replace(whole, splits={**whole.splits, "test": whole.splits["test"].subset(60, 1)})


def run(model: QModel, data: Dataset, *configs: AttackConfig, seed: int = 1):
    return attack.attack(attack.oracles(model, network), data, configs, seed)


def right(model: QModel, data: Dataset) -> np.ndarray:
    split = data.splits["test"]
    return twin.run(model, split.x).argmax(axis=1) == split.y


def test_whatever_the_integers_answer_rightly_is_attacked_and_nothing_else(digits):
    model = network()
    (clean, attacked), (outcome,) = run(model, digits, PGD)
    assert np.array_equal(outcome.attacked, right(model, clean))
    assert np.array_equal(right(model, attacked), outcome.attacked & ~outcome.fooled)
    change = np.abs(attacked.splits["test"].x.astype(int) - clean.splits["test"].x).reshape(60, -1).max(axis=1)
    assert change.max() == 32
    assert not change[~outcome.attacked].any()
    assert attacked.parent == clean.digest
    assert attacked.label == outcome.label == "pgd eps=32/255"
    assert 0.2 < outcome.fooled.mean() < 0.8


def test_a_black_box_attack_leaves_its_successor_the_gradients(digits):
    blind = AttackConfig(name="noise", eps=PGD.eps, samples=5, queries=2)
    _, outcomes = run(network(), digits, blind, PGD.model_copy(update={"samples": 5}))
    assert [outcome.gradients.any() for outcome in outcomes] == [False, True]


def test_attacks_of_one_job_use_the_same_samples_whatever_their_number(digits):
    model = network()
    (_, whole, few), _ = run(model, digits, PGD, PGD.model_copy(update={"samples": 13}))
    rows = [whole.splits["test"].index.tolist().index(index) for index in few.splits["test"].index]
    assert np.array_equal(whole.splits["test"].x[rows], few.splits["test"].x)
    assert len(set(few.splits["test"].y.tolist())) >= 9


def test_the_same_seed_attacks_alike_and_leaves_numpys_generator_alone(digits):
    np.random.seed(5)
    first = run(network(), digits, PGD)[0][1]
    left_alone = np.random.random()
    assert first.digest == run(network(), digits, PGD)[0][1].digest
    assert first.digest != run(network(), digits, PGD, seed=2)[0][1].digest
    np.random.seed(5)
    assert np.random.random() == left_alone


def test_a_transfer_attack_asks_the_target_for_answers_only(digits):
    model = network()
    config = AttackConfig(name="transfer", eps=("32/255",), steps=8, step_size=0.25, source="digits_stq_jr_at")
    (_, attacked), (outcome,) = run(model, digits, config)
    assert np.array_equal(right(model, attacked), outcome.attacked & ~outcome.fooled)
    (_, _), (itself,) = run(model, digits, config.model_copy(update={"source": "digits_stq_jr"}))
    assert outcome.fooled.sum() < itself.fooled.sum()


def test_a_source_for_other_data_is_refused(digits):
    config = AttackConfig(name="transfer", eps=("32/255",), source="cifar10_resnet8_at")
    with pytest.raises(ConfigError, match=r"attacks\.source = 'cifar10_resnet8_at': takes other samples"):
        run(network(), digits, config)


def test_a_source_of_the_same_classes_in_another_order_is_refused(digits):
    """Its loss would be that of other labels."""
    model, config = network(), AttackConfig(name="transfer", eps=("32/255",), source="other")
    named, other = (replace(model, classes=tuple("abcdefghij"[::way])) for way in (1, -1))
    with pytest.raises(ConfigError, match="or has other classes or another order of them"):
        attack.oracles(named, lambda _: other)(config)


def test_an_eps_below_one_lattice_step_is_refused(digits):
    with pytest.raises(ConfigError, match=r"attacks\.0\.eps = 1/512: smaller than one step") as caught:
        attack.check(digits, [AttackConfig(name="fgsm", eps=("1/512",))])
    assert "0.00392157" in caught.value.hint


def test_noise_sensitivity_grows_with_eps_and_names_the_weighted_layers(digits):
    small, large = (attack.noise_sensitivity(network(), eps, digits, 1) for eps in ("4/255", "32/255"))
    assert set(small) == {"conv1", "conv2", "conv3", "logits"}
    assert all(0 < small[name] < large[name] for name in small)


def test_attacks_of_one_name_are_told_apart_by_the_settings_that_differ(digits):
    margin = PGD.model_copy(update={"loss": "margin"})
    datasets, outcomes = run(network(), digits, PGD, margin)
    labels = ["pgd loss=cross_entropy eps=32/255", "pgd loss=margin eps=32/255"]
    assert [data.label for data in datasets[1:]] == [outcome.label for outcome in outcomes] == labels
    told = summarize(outcomes)
    assert [campaign["data"] for campaign in told] == labels
    left = [round(campaign["robust"]["accuracy"] * 60) for campaign in told]
    assert left == [int((o.attacked & ~o.fooled).sum()) for o in outcomes]


@pytest.mark.parametrize("eps", ["32/255", "64/510"])
def test_the_same_attack_twice_is_refused_by_name(digits, eps):
    smaller, again = (PGD.model_copy(update={"eps": labels}) for labels in (("4/255",), ("1/255", eps)))
    with pytest.raises(ConfigError, match=rf"attacks\.1 and attacks\.2 are the same: pgd at eps {eps}"):
        attack.check(digits, [smaller, PGD, again])


def test_square_beats_noise_in_a_euclidean_budget(digits):
    alike = {"eps": ("1.0",), "norm": "l2", "queries": 150, "samples": 12}
    attacks = [AttackConfig(name=name, **alike) for name in ("noise", "square")]
    _, (noise, square) = run(network(), digits, *attacks)
    assert square.fooled.sum() > noise.fooled.sum() + 2
    assert square.queries.max() <= 150
