"""Training: it learns, it continues exactly, it stops in time."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline import registry, train
from pipeline.errors import ConfigError, ToolError
from pipeline.job import DatasetConfig, Job, ModelConfig, TrainConfig
from pipeline.models import _keras
from pipeline.types import Dataset, Quantization, Split, TensorSpec

pytestmark = pytest.mark.slow


class ProcessDiesError(Exception):
    """What ends the process in the middle of an epoch."""


def job(**recipe) -> Job:
    settings = {"epochs": 3, "batch_size": 32, "learning_rate": 3e-3, "jacobian_lambda": 1e-3, **recipe}
    return Job(
        name="test",
        dataset=DatasetConfig(name="digits", limit_train=192),
        model=ModelConfig(name="digits_cnn", width=0.5),
        train=TrainConfig(**settings),
        calibration=64,
    )


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Dataset:
    return registry.load("datasets", "digits").load(None, cache=tmp_path_factory.mktemp("cache"))


def weights(folder) -> list[np.ndarray]:
    return [np.array(v) for v in _keras.load(folder).weights]


def equal(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def dies_in_epoch(number: int):
    def progress(what: str, done: int, total: int, info: str = "") -> None:
        if info.startswith(f"epoch {number}/"):
            raise ProcessDiesError

    return progress


def test_resumed_training_ends_with_the_same_weights(digits, tmp_path):
    whole = train.train(job(), digits, tmp_path / "whole")
    with pytest.raises(ProcessDiesError):
        train.train(job(), digits, tmp_path / "broken", progress=dies_in_epoch(3))
    assert not (tmp_path / "broken" / "model.keras").exists()
    resumed = train.train(job(), digits, tmp_path / "broken", resume=True)
    assert resumed.history == whole.history
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "broken"))


def test_without_resume_training_starts_over(digits, tmp_path):
    train.train(job(), digits, tmp_path, epochs=1)
    again = train.train(job(), digits, tmp_path, epochs=1)
    assert len(again.history) == 1


def test_another_seed_trains_other_weights(digits, tmp_path):
    train.train(job(), digits, tmp_path / "a", epochs=1)
    train.train(job().model_copy(update={"seed": 2}), digits, tmp_path / "b", epochs=1)
    assert not equal(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_a_few_epochs_learn(digits, tmp_path):
    seen: list[tuple[int, int, str]] = []
    trained = train.train(
        job(epochs=6), digits, tmp_path, progress=lambda what, done, total, info="": seen.append((done, total, info))
    )
    assert trained.metrics["validation_accuracy"] > 0.5
    assert trained.metrics["validation_accuracy"] == max(h["validation_accuracy"] for h in trained.history)
    assert [int(h["epoch"]) for h in trained.history] == [1, 2, 3, 4, 5, 6]
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]
    assert [done for done, _, _ in seen] == list(range(1, 37)) and {total for _, total, _ in seen} == {36}
    assert "epoch 6/6 loss" in seen[-1][2] and "val" in seen[-1][2]
    model = _keras.load(tmp_path)
    validation = digits.splits["validation"]
    answers = _keras.predict(model, validation.x, digits.input.quantization).argmax(axis=1)
    assert np.mean(answers == validation.y) == pytest.approx(trained.metrics["validation_accuracy"])


def test_the_penalty_flattens_the_network(digits, tmp_path):
    def last_penalty(strength: float) -> float:
        recipe = job(epochs=4, jacobian_lambda=strength)
        return train.train(recipe, digits, tmp_path / str(strength)).history[-1]["jacobian"]

    assert last_penalty(0.1) < 0.5 * last_penalty(1e-6)


def flat(shape=(4, 4, 1), n: int = 64) -> Dataset:
    """Noise and random labels."""
    rng = np.random.default_rng(0)
    x = rng.integers(-128, 128, (n, *shape)).astype(np.int8)
    split = Split(x, rng.integers(0, 10, n), np.arange(n))
    names = tuple("0123456789")
    splits = {"train": split, "validation": split, "test": split}
    return Dataset("flat", TensorSpec(shape, Quantization(1 / 255, -128)), names, splits)


def test_a_diverging_loss_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    data = flat()
    train.train(job(epochs=1, jacobian_lambda=0), data, tmp_path)
    kept = (tmp_path / "checkpoints" / "last.npz").read_bytes()
    with pytest.raises(ConfigError, match="loss is not finite at step") as caught:
        train.train(job(epochs=2, jacobian_lambda=1e38), data, tmp_path)
    assert "train.learning_rate or train.jacobian_lambda" in caught.value.hint
    assert (tmp_path / "checkpoints" / "last.npz").read_bytes() == kept


def test_foreign_and_damaged_checkpoints_are_refused(tmp_path):
    data = flat()
    train.train(job(epochs=1), data, tmp_path)
    with pytest.raises(ConfigError, match="checkpoint of another job"):
        train.train(job(epochs=1, temperature=4.0), data, tmp_path, resume=True)
    path = tmp_path / "checkpoints" / "last.npz"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ConfigError, match=r"last\.npz: damaged checkpoint"):
        train.train(job(epochs=1), data, tmp_path, resume=True)


def test_a_full_disk_leaves_the_previous_checkpoint(tmp_path, monkeypatch):
    data = flat()
    train.train(job(epochs=1), data, tmp_path)
    kept = (tmp_path / "checkpoints" / "last.npz").read_bytes()

    def full(file, **arrays):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(ToolError, match=r"last\.npz: .*No space left"):
        train.train(job(epochs=2), data, tmp_path, resume=True)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.npz"]
    assert (tmp_path / "checkpoints" / "last.npz").read_bytes() == kept


def test_a_model_without_reference_weights_is_named(tmp_path):
    with pytest.raises(ConfigError, match="'digits_cnn' has no reference weights"):
        train.train(job(initial="mlperf_tiny"), flat(), tmp_path)
