"""Gradients of the NumPy specification against finite differences, and its integers against the twin."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.core import registry
from pipeline.core.errors import ConfigError, UnsupportedError
from pipeline.network import bound, twin
from pipeline.robustness import straight_through
from tests.support import networks, tiny

KINDS = registry.names("layers")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("make", [networks.every_kind, networks.imported])
def test_the_gradient_is_the_slope_of_the_network_without_rounding(make, seed):
    """Without rounding and clamps a network is piecewise linear (maximum pooling), so a difference quotient over a step
    that changes no maximum is the derivative up to the rounding of float64."""
    model = networks.unclamped(make(seed))
    random = np.random.default_rng(seed)
    x = random.uniform(-128, 127, (2, *model.input.shape))
    slope = random.normal(size=(2, len(model.classes)))
    tape = straight_through.forward(model, x, "smooth")
    gradient = straight_through.backward(model, tape, slope, "smooth")
    direction = random.normal(size=x.shape)
    step = 1e-6

    def value(at):
        return (straight_through.forward(model, at, "smooth").logits * slope).sum()

    difference = (value(x + step * direction) - value(x - step * direction)) / (2 * step)
    assert difference == pytest.approx((gradient * direction).sum(), rel=1e-6)


def test_a_clamp_passes_what_its_variant_says():
    layer = networks.every_kind(0).layers[0]
    low, high = layer.params["activation"]
    passes = {v: straight_through.limits(layer, v) for v in straight_through.VARIANTS}
    assert passes["clip"] == passes["smooth"] == (low, high)
    assert passes["relu"] == (low, np.inf)
    assert passes["identity"] == (-np.inf, np.inf)


@pytest.mark.parametrize("variant", ["clip", "relu", "identity"])
def test_backward_stops_at_the_limits_of_the_variant(variant):
    model = networks.every_kind(0)
    x = tiny.samples(model, 4)
    tape = straight_through.forward(model, x, variant)
    slope = np.ones((4, len(model.classes)))
    found = straight_through.backward(model, tape, slope, variant)
    by_hand = straight_through.backward(networks.unclamped(model), tape, slope, "identity")
    assert np.array_equal(found, by_hand) == (variant == "identity")


def test_the_networks_here_have_every_layer_kind():
    models = networks.every_kind(0), networks.imported(0)
    assert {layer.kind for model in models for layer in model.layers} == set(KINDS) == set(bound.KINDS)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("make", [networks.every_kind, networks.imported])
def test_the_forward_pass_is_the_twin(make, seed):
    model = make(seed)
    x = tiny.samples(model, 5)
    tape = straight_through.forward(model, x)
    for ours, theirs in zip(tape.tensors[1:], twin.trace(model, x), strict=True):
        assert np.array_equal(ours, theirs)


def test_smooth_logits_are_near_the_integers():
    """Between them lie the last layer's two roundings, half a step at most each, and its clamp."""
    model = networks.every_kind(1)
    tape = straight_through.forward(model, tiny.samples(model, 9))
    output = model.output.quantization
    inside = (tape.tensors[-1] > output.qmin) & (tape.tensors[-1] < output.qmax)
    far = np.abs(tape.logits / output.scale + output.zero_point - tape.tensors[-1])
    assert inside.any()
    assert (far[inside] <= 1.0).all()


def test_a_kind_without_a_gradient_is_refused_by_name(monkeypatch):
    model, load = networks.every_kind(0), registry.load

    def without(package, name):
        module = load(package, name)
        return SimpleNamespace(values=module.values) if name == "concatenate" else module

    monkeypatch.setattr(registry, "load", without)
    with pytest.raises(UnsupportedError, match=r"joined.*'concatenate' has no gradient") as refused:
        straight_through.require_gradients(model)
    assert "conv2d" in refused.value.hint


def test_an_unknown_variant_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="unknown variant of the surrogate 'clipped'; did you mean 'clip'") as refused:
        straight_through.require_variant("clipped")
    assert "identity" in refused.value.hint
