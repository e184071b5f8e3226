"""Training: it learns, it continues exactly, it stops in time."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline import registry, train
from pipeline.job import DatasetConfig, Job, ModelConfig, TrainConfig
from pipeline.models import _keras
from pipeline.types import Dataset

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
