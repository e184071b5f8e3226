"""The attack stage: what lands on the lattice, inside its budget, and what counts as success."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.config.job import AttackConfig, DatasetConfig, Job, ModelConfig, TrainConfig
from pipeline.core import registry
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Quantization
from pipeline.robustness import projection
from pipeline.stages import attack, train
from pipeline.training import keras_model

PIXELS = Quantization(1 / 255, -128)
IMAGES = arrays(np.int8, (3, 2, 2, 1))
MOVES = arrays(np.float32, (3, 2, 2, 1), elements=st.floats(-2, 2, width=32))


@given(IMAGES, IMAGES, st.integers(1, 255))
def test_linf_projection_is_the_nearest_point_of_the_box(q, clean, steps):
    projected = projection.project_linf(q, clean, steps).astype(int)
    assert np.abs(projected - clean).max() <= steps
    inside = np.abs(q.astype(int) - clean) <= steps
    assert np.array_equal(projected[inside], q[inside])
    assert np.all(np.abs(projected - clean)[~inside] == steps)


@given(IMAGES, MOVES, st.floats(0.004, 3))
def test_l2_projection_stays_in_the_ball_and_near_the_wish(clean, move, eps):
    wanted = PIXELS.dequantize(clean) + move
    projected = projection.project_l2(wanted, clean, eps, PIXELS)
    change = (projected.astype(int) - clean).reshape(3, -1)
    assert np.all(np.linalg.norm(change, axis=1) * PIXELS.scale <= eps * (1 + 1e-5))
    assert np.all(np.sign(change) * np.sign(move.reshape(3, -1)) >= 0)


@given(IMAGES, MOVES)
def test_l2_projection_only_rounds_what_lies_inside(clean, move):
    wanted = PIXELS.dequantize(clean) + move
    assert np.array_equal(projection.project_l2(wanted, clean, 1e3, PIXELS), PIXELS.quantize(wanted))


def job(*attacks: AttackConfig) -> Job:
    return Job(
        name="test",
        dataset=DatasetConfig(name="digits", limit_test=60),
        model=ModelConfig(name="digits_cnn", width=0.5),
        train=TrainConfig(epochs=4, batch_size=64, learning_rate=5e-3),
        attacks=attacks,
        calibration=32,
    )


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return registry.load("datasets", "digits").load(None, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def trained(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    train.train(job(), digits, folder)
    return folder


def accuracy(data) -> float:
    return float(np.mean(data.keras_logits.argmax(axis=1) == data.splits["test"].y))


def change(data, clean) -> np.ndarray:
    """Per sample, in lattice steps."""
    x = data.splits["test"].x.astype(int)
    return (x - clean.splits["test"].x[: len(x)]).reshape(len(x), -1)


def test_attacks_stay_in_their_budget_and_hurt(digits, trained):
    fgsm = AttackConfig(name="fgsm", eps=("16/255", "48/255"))
    pgd = AttackConfig(name="pgd", eps=("48/255",), steps=8, step_size=0.25)
    l2 = AttackConfig(name="pgd", eps=("1.5",), norm="l2", steps=8, step_size=0.25, samples=20)
    clean, *attacked = attack.attack(job(fgsm, pgd, l2), trained, digits)
    assert [data.label for data in attacked] == ["fgsm eps=16/255", "fgsm eps=48/255", "pgd eps=48/255", "pgd eps=1.5"]
    assert [data.attack.eps_lsb for data in attacked] == [16, 48, 48, 382]
    assert [len(data.splits["test"]) for data in attacked] == [60, 60, 60, 20]
    assert all(data.parent == clean.digest and set(data.splits) == {"test"} for data in (*attacked,))
    assert [np.abs(change(data, clean)).max() for data in attacked[:3]] == [16, 48, 48]
    assert np.linalg.norm(change(attacked[3], clean), axis=1).max() * PIXELS.scale <= 1.5001
    wrong = clean.keras_logits.argmax(axis=1) != clean.splits["test"].y
    assert not change(attacked[2], clean)[wrong].any()
    assert accuracy(clean) > accuracy(attacked[0]) > accuracy(attacked[1]) >= accuracy(attacked[2])
    model = keras_model.load(trained)
    for data in (clean, *attacked):
        answers = keras_model.predict(model, data.splits["test"].x, data.input.quantization)
        assert np.allclose(answers, data.keras_logits, atol=1e-5)


def test_the_same_seed_attacks_alike(digits, trained):
    config = AttackConfig(name="pgd", eps=("16/255",), steps=3, step_size=0.5, samples=20)
    np.random.seed(5)
    first = attack.attack(job(config), trained, digits)[1]
    left_alone = np.random.random()
    second = attack.attack(job(config), trained, digits)[1]
    assert first.digest == second.digest
    np.random.seed(5)
    assert np.random.random() == left_alone


def test_an_eps_below_one_lattice_step_is_refused(digits, trained):
    with pytest.raises(ConfigError, match=r"attacks\.0\.eps = 1/512: smaller than one step") as caught:
        attack.attack(job(AttackConfig(name="fgsm", eps=("1/512",))), trained, digits)
    assert "0.00392157" in caught.value.hint


def test_without_a_trained_model_the_command_is_named(digits, tmp_path):
    with pytest.raises(ConfigError, match="no trained model") as caught:
        attack.attack(job(), tmp_path, digits)
    assert "tritmcu train" in caught.value.hint


def test_a_damaged_model_is_named(digits, tmp_path):
    (tmp_path / "model.keras").write_bytes(b"PK\x03\x04 not a model")
    with pytest.raises(ConfigError, match=r"model\.keras: damaged"):
        attack.attack(job(), tmp_path, digits)


def test_noise_sensitivity_grows_with_eps_and_names_the_weighted_layers(digits, trained):
    small, large = (attack.noise_sensitivity(job(), eps, trained, digits) for eps in ("4/255", "32/255"))
    assert set(small) == {"conv1", "conv2", "conv3", "logits"}
    assert all(0 < small[name] < large[name] for name in small)
