"""Attacks inside a training step, against losses whose worst case is known."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.training import adversary
from pipeline.training.keras_backend import compiled, keras, to_numpy

ops = keras.ops
X = np.random.default_rng(0).uniform(0, 1, (5, 4, 3)).astype(np.float32)
TOWARD = np.where(np.random.default_rng(1).random((4, 3)) < 0.5, -1.0, 1.0).astype(np.float32)
BOUNDS = (0.0, 1.0)


def linear(x):
    return ops.sum(x * TOWARD)


def attack(loss, **settings) -> np.ndarray:
    run = compiled(lambda x: adversary.ascend(loss, x, bounds=BOUNDS, **settings), (X.shape, "float32"))
    return to_numpy(run(X))


@pytest.mark.parametrize("seed", [None, 3])
def test_a_linear_loss_ends_in_the_corner_of_the_ball(seed):
    moved = attack(linear, eps=0.2, steps=10, step=0.05, seed=seed)
    assert np.allclose(moved, np.clip(X + 0.2 * TOWARD, 0, 1), atol=1e-6)


def test_one_step_of_eps_is_fgsm():
    moved = attack(lambda x: ops.sum(ops.square(x - 0.5)), eps=0.1, steps=1, step=0.1)
    assert np.allclose(moved, np.clip(X + 0.1 * np.sign(X - 0.5), 0, 1), atol=1e-6)


def test_several_steps_turn_where_the_gradient_turns():
    """The highest point lies inside the ball: one long step passes it, short ones stay near."""
    summit = np.clip(X + 0.05, 0, 1)
    away = [
        np.abs(attack(lambda x: -ops.sum(ops.square(x - summit)), eps=0.2, steps=steps, step=step) - summit).max()
        for steps, step in ((1, 0.2), (10, 0.02))
    ]
    assert away[1] <= 0.02 + 1e-6 < away[0]


def test_random_starts_fill_the_ball_and_respect_the_bounds():
    seed = keras.random.SeedGenerator(1)
    run = compiled(
        lambda x: adversary.ascend(lambda z: ops.sum(z) * 0, x, eps=0.3, steps=1, step=0.1, bounds=BOUNDS, seed=seed),
        (X.shape, "float32"),
    )
    starts = np.stack([to_numpy(run(X)) for _ in range(200)])
    assert not np.array_equal(starts[0], starts[1])
    assert starts.min() >= 0 and starts.max() <= 1 and np.abs(starts - X).max() <= 0.3 + 1e-6
    inner = (X > 0.3) & (X < 0.7)
    assert np.abs(starts - X)[:, inner].max() > 0.29 and abs((starts - X)[:, inner].mean()) < 0.02
