"""The Jacobian penalty against Jacobians known in closed form."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from pipeline.training import blocks, jacobian
from pipeline.training.keras_backend import compiled, keras, tf, to_numpy

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(3)
INNER = RNG.normal(0, 0.5, (6, 8)).astype(np.float32)
OUTER = RNG.normal(0, 0.5, (8, 5)).astype(np.float32)
X = RNG.normal(0, 1, (4, 6)).astype(np.float32)
EPSILON = 1e-3
"""Of normalization."""


def network(x, outer=OUTER):
    return tf.matmul(tf.tanh(tf.matmul(x, INNER)), outer)


def exact(outer=OUTER) -> float:
    """1/2 mean ||dz/dx||^2; dz/dx = outer^T diag(1 - tanh^2) inner^T."""
    slopes = 1 - np.tanh(X.astype(np.float64) @ INNER) ** 2
    jacobians = np.einsum("hc,bh,ih->bci", outer, slopes, INNER)
    return 0.5 * float((jacobians**2).sum(axis=(1, 2)).mean())


@pytest.mark.parametrize("projections", [1, 3])
def test_estimate_is_unbiased(projections):
    seed = keras.random.SeedGenerator(1)
    run = compiled(lambda x: jacobian.penalty(network, x, projections, seed), (X.shape, "float32"))
    estimates = [float(run(X)[1]) for _ in range(1500 // projections)]
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert np.std(estimates) > 0
    assert np.mean(estimates) == pytest.approx(exact(), abs=4 * error)
    assert 4 * error < 0.05 * exact()


def test_one_output_needs_no_luck():
    """With one class the unit vectors are 1 and -1: the estimate is exact, and so is its gradient."""
    outer = tf.Variable(OUTER[:, :1])
    with tf.GradientTape() as tape:
        z, penalty = jacobian.penalty(lambda x: network(x, outer), tf.constant(X), 1, keras.random.SeedGenerator(1))
    assert np.allclose(z, network(X, OUTER[:, :1]), atol=1e-6)
    assert float(penalty) == pytest.approx(exact(OUTER[:, :1]), rel=1e-5)
    step = 1e-4 * np.eye(8)[:, :1]
    numeric = (exact(OUTER[:, :1] + step) - exact(OUTER[:, :1] - step)) / 2e-4
    assert to_numpy(tape.gradient(penalty, outer))[0, 0] == pytest.approx(numeric, rel=1e-3)


FIRST = RNG.normal(0, 0.5, (6, 7)).astype(np.float32)
SECOND = RNG.normal(0, 0.5, (7, 5)).astype(np.float32)
BLOCKS = [lambda x: tf.tanh(tf.matmul(x, FIRST)), lambda h: tf.sin(tf.matmul(h, SECOND))]
STRENGTHS = [0.2, 0.7]


def exact_by_block(of_network_input: bool) -> float:
    """sum_b strength_b / (2 m_b) mean ||dh_b / du||^2, the Jacobians column by column by automatic differentiation."""
    x = tf.constant(X)
    total, h = 0.0, x
    for block, strength in zip(BLOCKS, STRENGTHS, strict=True):
        with tf.GradientTape() as tape:
            tape.watch(x if of_network_input else h)
            inside, out = (x, BLOCKS[0](x)) if of_network_input else (h, block(h))
            if of_network_input and block is BLOCKS[1]:
                out = block(out)
        jacobians = to_numpy(tape.batch_jacobian(out, inside)).astype(np.float64)
        total += strength * 0.5 * (jacobians**2).sum(axis=(1, 2)).mean() / jacobians.shape[1]
        h = block(h)
    return total


@pytest.mark.parametrize("projections", [1, 2])
@pytest.mark.parametrize("of_network_input", [False, True])
def test_both_readings_of_per_layer_are_estimated_without_bias(of_network_input, projections):
    seed = keras.random.SeedGenerator(1)

    def one(x):
        return jacobian.block_penalty(BLOCKS, x, STRENGTHS, projections, seed, of_network_input=of_network_input)

    run = compiled(one, (X.shape, "float32"))
    estimates = [float(run(X)[1]) for _ in range(3000 // projections)]
    wanted, error = exact_by_block(of_network_input), np.std(estimates) / np.sqrt(len(estimates))
    assert np.allclose(run(X)[0], BLOCKS[1](BLOCKS[0](X)), atol=1e-6)
    assert 0 < 4 * error < 0.05 * wanted
    assert np.mean(estimates) == pytest.approx(wanted, abs=4 * error)
    assert abs(exact_by_block(not of_network_input) - wanted) > 8 * error


def test_a_block_of_strength_zero_costs_no_draw():
    seed = keras.random.SeedGenerator(1)
    before = to_numpy(seed.state.value).copy()
    z, total = jacobian.block_penalty(BLOCKS, tf.constant(X), [0.0, 0.0], 1, seed, of_network_input=False)
    assert np.allclose(z, BLOCKS[1](BLOCKS[0](X)), atol=1e-6) and float(total) == 0
    assert np.array_equal(to_numpy(seed.state.value), before)


def test_unit_vectors_have_length_one_and_no_direction():
    v = to_numpy(jacobian.unit_vectors((5000, 3), keras.random.SeedGenerator(1)))
    assert np.allclose(np.linalg.norm(v, axis=1), 1, atol=1e-5)
    assert np.abs(v.mean(axis=0)).max() < 0.04
    assert np.allclose(v.T @ v / len(v), np.eye(3) / 3, atol=0.03)


def test_statistics_of_the_batch_are_constants_to_the_jacobian_and_not_to_its_gradient():
    """x -> normalize(x W) a, one output: dz/dx = W (a gamma / deviation), where the deviation depends on W."""
    gamma = np.array([0.5, 2.0, 1.0, 1.5], np.float32)
    layer = blocks.BatchNormalization(epsilon=EPSILON, gamma_initializer=keras.initializers.Constant(gamma))
    weights, answer = tf.Variable(FIRST[:, :4]), OUTER[:4, :1]

    def half_square(w) -> float:
        deviation = np.sqrt((X.astype(np.float64) @ w).var(axis=0) + EPSILON)
        return 0.5 * float(np.sum((w @ (answer * (gamma / deviation)[:, None])) ** 2))

    def function(x):
        return tf.matmul(layer(tf.matmul(x, weights), training=True), answer)

    with tf.GradientTape() as tape:
        _, penalty = jacobian.penalty(function, tf.constant(X), 1, keras.random.SeedGenerator(1))
    assert float(penalty) == pytest.approx(half_square(FIRST[:, :4]), rel=1e-5)
    gradient = to_numpy(tape.gradient(penalty, weights))
    for place in ((0, 0), (3, 1), (5, 3)):
        step = np.zeros((6, 4))
        step[place] = 1e-4
        numeric = (half_square(FIRST[:, :4] + step) - half_square(FIRST[:, :4] - step)) / 2e-4
        assert gradient[place] == pytest.approx(numeric, rel=1e-2, abs=1e-5)
    assert np.allclose(layer.moving_mean, 0.01 * (X @ FIRST[:, :4]).mean(axis=0), atol=1e-6), "moved once"


def test_outside_of_a_jacobian_the_layer_is_that_of_keras():
    ours, theirs = blocks.BatchNormalization(momentum=0.9), keras.layers.BatchNormalization(momentum=0.9)
    for training in (True, False):
        results = []
        for layer in (ours, theirs):
            with tf.GradientTape() as tape:
                x = tf.constant(X)
                tape.watch(x)
                y = layer(x, training=training)
                loss = tf.reduce_sum(y**3)
            results.append([to_numpy(v) for v in (y, tape.gradient(loss, x), *layer.weights)])
        for a, b in zip(*results, strict=True):
            assert np.array_equal(a, b)


ON_BOTH = """
import json
import numpy as np
from pipeline.training import blocks, jacobian
from pipeline.training.keras_backend import compiled, keras, to_numpy, value_and_gradients

x, inner, outer = (np.random.default_rng(3).normal(size=size).astype("float32") for size in ((8, 6), (6, 4), (4, 1)))
layer, weights, seed = blocks.BatchNormalization(), keras.Variable(inner), keras.random.SeedGenerator(1)
layer.build((None, 4))

def loss():
    function = lambda z: keras.ops.matmul(layer(keras.ops.matmul(z, weights), training=True), outer)
    _, penalty = jacobian.penalty(function, keras.ops.convert_to_tensor(x), 1, seed)
    return penalty, penalty

def step():
    penalty, gradients = value_and_gradients(loss, [weights])
    return keras.ops.append(gradients[0], penalty)

answer = compiled(step, state=[weights, seed.state, *layer.variables])()
print(json.dumps([to_numpy(v).tolist() for v in (answer, layer.moving_mean.value, layer.moving_variance.value)]))
"""


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
def test_both_backends_find_the_same_penalty():
    answers = []
    for name in ("tensorflow", "jax"):
        environment = {**os.environ, "KERAS_BACKEND": name}
        done = subprocess.run([sys.executable, "-c", ON_BOTH], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        answers.append(json.loads(done.stdout))
    for ours, theirs in zip(*answers, strict=True):
        assert theirs == pytest.approx(ours, rel=1e-4, abs=1e-6)
