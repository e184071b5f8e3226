"""checks: settings of a job that its data set cannot mean."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.config.job import Job
from pipeline.core import schema
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Dataset, Quantization, Split, TensorSpec
from pipeline.workflow import checks

JOB = {"name": "toy", "dataset": {"name": "digits"}, "model": {"name": "digits_cnn"}, "train": {"epochs": 1}}


def dataset(n: int = 10) -> Dataset:
    split = Split(np.zeros((n, 8, 8, 1), np.int8), np.zeros(n, np.int64), np.arange(n))
    spec = TensorSpec((8, 8, 1), Quantization(1 / 255, -128))
    return Dataset("toy", spec, ("a",), dict.fromkeys(("train", "validation", "test"), split))


def job(**tables) -> Job:
    return schema.validate(Job, {**JOB, **tables}, "toy.toml")


@pytest.mark.parametrize(
    ("tables", "message", "hint"),
    [
        ({"attacks": [{"name": "pgd", "eps": [8]}]}, "attacks.0.eps = 8: more than the whole range", '"8/255"'),
        ({"attacks": [{"name": "pgd", "eps": ["3/2"]}]}, "attacks.0.eps = 3/2", "units of the input"),
        ({"layerwise": {"method": "laq", "eps": "8"}}, "layerwise.eps = 8", '"8/255"'),
        ({"attacks": [{"name": "pgd", "eps": [0.1], "samples": 11}]}, "attacks.0.samples = 11: .* 10 ", "at most 10"),
        ({"dataset": {"name": "digits", "limit_test": 11}}, "dataset.limit_test = 11", "at most 10"),
        ({"dataset": {"name": "digits", "limit_train": 11}}, "dataset.limit_train = 11", "at most 10"),
    ],
)
def test_a_setting_the_data_set_cannot_mean_is_refused(tables, message, hint):
    with pytest.raises(ConfigError, match=message) as caught:
        checks.check_job(job(**tables), dataset())
    assert hint in caught.value.hint


def test_more_attacked_samples_than_the_limit_leaves_are_refused():
    limited = {"dataset": {"name": "digits", "limit_test": 5}, "attacks": [{"name": "pgd", "eps": [0.1], "samples": 6}]}
    with pytest.raises(ConfigError, match=r"attacks\.0\.samples = 6: data set 'toy' has 5 samples for test"):
        checks.check_job(job(**limited), dataset())


def test_a_limit_above_the_set_is_refused():
    checks.check_limit(None, dataset())
    checks.check_limit(10, dataset())
    with pytest.raises(ConfigError, match="--limit 11: data set 'toy' has 10 samples for test") as caught:
        checks.check_limit(11, dataset())
    assert "at most 10" in caught.value.hint


def test_settings_within_the_data_set_pass():
    attack = {"name": "pgd", "eps": ["8/255", 1.0], "samples": 10}
    sigma = {"name": "pgd", "eps": [3], "unit": "sigma"}
    long = {"name": "pgd", "eps": [3], "norm": "l2"}
    checks.check_job(job(attacks=[attack, sigma, long], dataset={"name": "digits", "limit_test": 10}), dataset())
