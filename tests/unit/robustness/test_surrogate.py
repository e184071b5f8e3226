"""The surrogate answers as the device does, and its gradients are those of the specification."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.core.errors import ConfigError
from pipeline.network import batch, twin
from pipeline.robustness import straight_through
from pipeline.robustness.losses import CrossEntropy
from pipeline.robustness.oracle import GradientOracle, TwinOracle
from pipeline.robustness.surrogate import Surrogate
from pipeline.workflow import zoo
from tests.support import networks, tiny

NETWORKS = [(make, seed) for make in (networks.every_kind, networks.imported, networks.reshaped) for seed in range(8)]


def samples(model, n):
    """Noise, and the two corners of the lattice."""
    x = tiny.samples(model, n + 2)
    x[n], x[n + 1] = -128, 127
    return x


@pytest.mark.parametrize("name", zoo.names())
def test_all_logits_of_every_zoo_network_are_the_twins(name):
    model = networks.stored(name)
    x = samples(model, 14)
    assert np.array_equal(Surrogate(model).logits(x), twin.trace(model, x)[-1])


@pytest.mark.parametrize(("make", "seed"), NETWORKS)
def test_all_logits_of_random_networks_are_the_twins(make, seed):
    model = make(seed)
    x = samples(model, 70)
    assert np.array_equal(Surrogate(model).logits(x), twin.trace(model, x)[-1])
    assert np.array_equal(TwinOracle(model).logits(x), twin.trace(model, x)[-1])
    assert np.array_equal(twin.run(model, x), twin.trace(model, x)[-1])


@pytest.mark.parametrize("variant", straight_through.VARIANTS)
@pytest.mark.parametrize(("make", "seed"), NETWORKS)
def test_gradients_are_those_of_the_specification(make, seed, variant):
    model = make(seed)
    check(model, samples(model, 70), variant)


@pytest.mark.parametrize("name", ["cifar10_resnet8_at", "kws_dscnn", "digits_stq_jr"])
def test_gradients_of_zoo_networks_are_those_of_the_specification(name):
    model = networks.stored(name)
    check(model, samples(model, 3), "clip")


def on_a_limit(model, tape, variant):
    """(n,): samples of the variant "smooth" of which a value is a clamp's limit, up to the rounding of float32."""
    found = np.zeros(len(tape.logits), bool)
    for layer, values in zip(model.layers, tape.values, strict=True):
        for limit in straight_through.limits(layer, variant) if variant == "smooth" else ():
            found |= np.isclose(values.reshape(len(found), -1), limit, rtol=1e-5).any(axis=1)
    return found


def check(model, x, variant):
    """Up to the rounding of float32, relative to the largest element of a sample."""
    y = np.arange(len(x)) % len(model.classes)
    loss = CrossEntropy()
    found = Surrogate(model, variant).gradient(x, y, loss)
    tape = straight_through.forward(model, x, variant)
    value, slope = loss(tape.logits.astype(np.float32), y)
    wanted = straight_through.backward(model, tape, slope, variant)
    assert np.array_equal(found.answers, twin.trace(model, x)[-1].reshape(len(x), -1))
    assert np.allclose(found.logits, tape.logits, rtol=1e-4, atol=1e-4)
    assert np.allclose(found.value, value, rtol=1e-3, atol=1e-3)
    size = np.abs(wanted).reshape(len(x), -1).max(axis=1).reshape(-1, *[1] * (x.ndim - 1))
    close = (np.abs(found.gradient - wanted) <= 1e-4 * size + 1e-12).reshape(len(x), -1).all(axis=1)
    # Without rounding, float32 and float64 may see a value that is just a clamp's limit on either side of it.
    assert (close | on_a_limit(model, tape, variant)).all()
    assert close.mean() > 0.98
    assert found.gradient.dtype == found.logits.dtype == np.float32


@pytest.mark.parametrize("make", [networks.every_kind, networks.imported])
def test_asking_again_gives_the_same(make):
    """Tensors take each other's memory; the next forward pass sees nothing of what a backward pass leaves there, here
    derivatives much larger than values."""
    model = make(0)
    x, y = samples(model, 6), np.zeros(8, np.int64)
    surrogate = Surrogate(model)

    def steep(logits, y):
        return np.zeros(len(y)), np.full(logits.shape, 1e9)

    first, again = (surrogate.gradient(x, y, steep) for _ in range(2))
    assert np.array_equal(first.logits, again.logits)
    assert np.array_equal(first.gradient, again.gradient)


def test_chunks_of_samples_change_nothing(monkeypatch):
    model = networks.every_kind(0)
    x, y = samples(model, 5), np.zeros(7, np.int64)
    whole = Surrogate(model).gradient(x, y, CrossEntropy())
    monkeypatch.setattr(batch, "CACHE_ELEMENTS", 1)
    monkeypatch.setattr(batch.os, "cpu_count", lambda: 1)
    single = Surrogate(model).gradient(x, y, CrossEntropy())
    assert np.array_equal(single.gradient, whole.gradient)
    assert np.array_equal(single.logits, whole.logits)


def test_the_loss_is_asked_once_with_all_samples():
    """A loss may know more about each sample than its label."""
    model = networks.every_kind(0)
    asked = []

    def loss(logits, y):
        asked.append(len(y))
        return CrossEntropy()(logits, y)

    Surrogate(model).gradient(samples(model, 150), np.zeros(152, np.int64), loss)
    assert asked == [152]


def test_an_oracle_says_what_it_answers():
    model = networks.every_kind(0)
    oracle: GradientOracle = Surrogate(model)
    assert (oracle.input, oracle.classes) == (model.input, 4)
    assert oracle.logit_scale == TwinOracle(model).logit_scale == model.output.quantization.scale


def test_no_samples_no_answers():
    model = networks.every_kind(0)
    assert Surrogate(model).logits(tiny.samples(model, 0)).shape == (0, 4)


def test_an_unknown_variant_is_refused():
    with pytest.raises(ConfigError, match="variant"):
        Surrogate(networks.every_kind(0), "sharp")  # type: ignore[arg-type]
