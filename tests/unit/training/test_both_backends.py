"""TensorFlow and JAX train the same, whatever instructions the processor has.

Two whole trainings say nothing about that: a rounding of 1e-7 moves a code of an activation, then the sign of an
attacked pixel or of Adam's step, then a ternary weight. Weights that are changed by 1e-6 of themselves end an epoch
several hundredths of validation accuracy apart, under one backend. So each part is compared by itself, from one state.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.config.job import eps_value
from tests.support.backend_steps import NOISY, OPTIONS, STEPS, WARMUP

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed"),
]

ROUNDING = 1e-3
"""Of what a part does to a variable. Sums in another order differ by 1e-6 to 1e-5 of it; products in bfloat16 or TF32,
or an average that is left out, by more than 1e-2."""
PARTS = [*(f"step {number}" for number in range(2, STEPS + 1)), *OPTIONS, "average", "settle"]
OTHERS = {
    "jax": {"KERAS_BACKEND": "jax"},
    "tensorflow with SSE 4.1": {"KERAS_BACKEND": "tensorflow", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "tensorflow with AVX2": {"KERAS_BACKEND": "tensorflow", "ONEDNN_MAX_CPU_ISA": "AVX2"},
}
"""Beside TensorFlow with all that the processor has."""

Found = Mapping[str, NDArray[Any]]


def took(out: Path, *reference: Path, **environment: str) -> Found:
    command = [sys.executable, "-m", "tests.support.backend_steps", out, *reference]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(np.load(out))


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> tuple[Path, Found]:
    path = tmp_path_factory.mktemp("reference") / "reference.npz"
    return path, took(path, KERAS_BACKEND="tensorflow")


def changed(part: str, ours: Found, theirs: Found) -> dict[str, float]:
    """By variable: how far the ends of the part lie apart, in units of what the part did to it."""
    found = {}
    for key in ours:
        if key.startswith(f"{part}/end/"):
            name = key.removeprefix(f"{part}/end/")
            end = ours[key].astype(float)
            moved = np.linalg.norm(end - ours[f"{part}/begin/{name}"])
            found[name] = float(np.linalg.norm(theirs[key] - end) / (moved or 1.0))
    return found


@pytest.mark.parametrize("name", OTHERS)
def test_every_part_of_training_is_the_same(reference, tmp_path, name):
    path, ours = reference
    theirs = took(tmp_path / "other.npz", path, **OTHERS[name])
    for part in PARTS:
        apart = changed(part, ours, theirs)
        assert len(apart) > 40
        assert {key: value for key, value in apart.items() if value > ROUNDING} == {}, part
    assert np.array_equal(averaged(ours), averaged(theirs))
    codes = [key for key in ours if "Quantized" in key or key.startswith("codes of")]
    assert len(codes) == 12
    assert [key for key in codes if not np.array_equal(ours[key], theirs[key])] == []
    for kept in ("attacked", "noisily attacked"):
        assert np.mean(np.abs(ours[kept] - theirs[kept]) > 1e-6) < 0.01
    for kept in ("survive PGD", "survive FGSM"):
        assert np.mean(ours[kept] != theirs[kept]) <= 1 / 32
    assert np.allclose(ours["learning rates"], theirs["learning rates"], rtol=1e-5, atol=0)
    assert np.mean(ours["logits"].argmax(axis=1) == theirs["logits"].argmax(axis=1)) > 0.99
    assert np.abs(ours["logits"] - theirs["logits"]).mean() < 0.1 * 2.0**-3  # a tenth of an output code


def averaged(found: Found) -> NDArray[Any]:
    """The first kernel as inference has it: halves of numbers on a grid, so without any rounding."""
    return found["average/end/0 conv1/kernel"]


def test_the_parts_do_something(reference):
    """Else any two backends agree."""
    _, ours = reference
    moved = {part: [] for part in PARTS}
    for part in PARTS:
        for key in ours:
            if key.startswith(f"{part}/end/") and not np.array_equal(ours[key], ours[key.replace("/end/", "/begin/")]):
                moved[part].append(key)
    assert all(any("conv1/kernel" in key for key in moved[part]) for part in PARTS[:-1])
    assert all("/moving_" in key for key in moved["settle"]) and len(moved["settle"]) >= 6
    assert np.mean(ours["attacked"] != 0) > 0.5 and len(np.unique(ours["logits"])) > 20
    eps, moved_by = eps_value(NOISY.eps), np.abs(ours["noisily attacked"] - ours["real"]).max()
    assert 2 * eps < moved_by < 3 * eps + 1e-6, "noise of twice eps and a step of eps, not clipped"
    assert 0 < ours["survive FGSM"].mean() < 1 and ours["survive PGD"].mean() <= ours["survive FGSM"].mean()
    rates, top = ours["learning rates"], round(100 * WARMUP)
    assert rates[0] == 0 and rates.argmax() == top and rates[100] < rates[top - 1] / 100


def test_options_of_adversarial_training_change_what_a_step_does(reference):
    _, ours = reference
    for plain, other in itertools.combinations(OPTIONS, 2):
        begins = [key for key in ours if key.startswith(f"{plain}/begin/")]
        assert all(np.array_equal(ours[key], ours[key.replace(plain, other, 1)]) for key in begins)
        ends = [key.replace("/begin/", "/end/") for key in begins if key.endswith("/kernel")]
        assert ends
        for key in ends:
            end = ours[key.replace(plain, other, 1)]
            step = ours[key] - ours[key.replace("/end/", "/begin/")]
            assert np.linalg.norm(end - ours[key]) > 10 * ROUNDING * np.linalg.norm(step), (plain, other, key)
