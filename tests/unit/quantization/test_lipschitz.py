from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.core.errors import ConfigError
from pipeline.core.nouns import TrainedModel
from pipeline.quantization import layerwise, lipschitz
from pipeline.quantization.layerwise import Costs, Criterion, Effects, Limit
from tests.support import tiny


def matrix_of(operator: lipschitz.Operator) -> np.ndarray:
    """The operator as a dense matrix, column by column."""
    size = int(np.prod(operator.shape))
    columns = [operator.apply(row.reshape(operator.shape)).ravel() for row in np.eye(size)]
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("name", ["stem", "main", "dw", "pw", "logits"])
def test_power_iteration_finds_the_largest_singular_value(name: str) -> None:
    model = tiny.trained(2)
    layer = next(layer for layer in model.layers if layer.name == name)
    operator = lipschitz.operator_of(model, layer)
    exact = np.linalg.norm(matrix_of(operator), 2)
    assert lipschitz.operator_norm(operator) == pytest.approx(exact, rel=5e-3)


@pytest.mark.parametrize("name", ["stem", "dw", "pw"])
def test_adjoint_is_the_transpose(name: str) -> None:
    model = tiny.trained(3)
    operator = lipschitz.operator_of(model, next(layer for layer in model.layers if layer.name == name))
    random = np.random.default_rng(0)
    x = random.normal(size=operator.shape)
    y = operator.apply(x)
    g = random.normal(size=y.shape)
    assert np.vdot(g, y) == pytest.approx(np.vdot(operator.adjoint(g), x))


def test_shapes_are_those_of_the_integer_network() -> None:
    trained, model = tiny.trained(), tiny.qmodel()
    shapes = lipschitz.shapes_of(trained)
    assert {layer.keras_name: layer.output.shape for layer in model.layers}.items() <= shapes.items()


def plain(seed: int = 0) -> TrainedModel:
    """Two 8-bit layers and no nonlinearity that could loosen the bound."""
    b = tiny.Builder((4, 4, 2), seed)
    b.weighted("a", "conv2d", "input", (3, 3, 2, 3), bits=8)
    b.add("flat", "flatten", ["a"])
    b.weighted("z", "dense", "flat", (48, 5), bits=8)
    return b.model("plain")


def test_the_bound_holds_for_random_inputs_and_perturbations() -> None:
    model, eps = plain(), 0.3
    constants = {
        layer.name: lipschitz.operator_norm(lipschitz.operator_of(model, layer)) for layer in model.layers[::2]
    }
    random = np.random.default_rng(1)
    farthest = 0.0
    for _ in range(50):
        x, d = random.normal(size=(2, 4, 4, 2))
        d *= eps / np.linalg.norm(d)
        farthest = max(farthest, float(np.linalg.norm(forward(model, x + d) - forward(model, x))))
    bound = lipschitz.bound(model, constants, eps)
    assert 0 < farthest <= bound * 1.01
    assert bound == pytest.approx(eps * constants["a"] * constants["z"])


def forward(model: TrainedModel, x: np.ndarray) -> np.ndarray:
    """The logits of `plain`."""
    hidden = lipschitz.operator_of(model, model.layers[0]).apply(x)
    return lipschitz.operator_of(model, model.layers[2]).apply(hidden)


def criterion(attacked: float = 0.5) -> Criterion:
    """Of `plain`, its logits computed in real numbers on random samples."""
    model = plain()
    samples = np.random.default_rng(2).normal(size=(20, 4, 4, 2))
    exact = np.stack([forward(model, x) for x in samples])

    def distance(other: TrainedModel) -> float:
        return layerwise.distance(np.stack([forward(other, x) for x in samples]), exact)

    return Criterion(model, Effects(distance, attacked), 0.5)


def smallest() -> int:
    """Bytes of `plain` with ternary weights."""
    return layerwise.ternary_bytes(plain())


def test_what_is_lost_is_what_was_measured() -> None:
    """Quantization: each layer alone, as independent errors. Attack: the trained network's, by the Lipschitz bounds."""
    measured = criterion()
    found = layerwise.uniform(measured, 3)
    for layer in layerwise.apply(measured.model, found).layers:
        if layer.name in found.settings:
            layers = tuple(layer if other.name == layer.name else other for other in measured.model.layers)
            alone = measured.effects.distance(replace(measured.model, layers=layers))
            assert found.settings[layer.name].distance == alone > 0
    parts = [setting.distance for setting in found.settings.values()]
    ratio = np.prod([s.lipschitz for s in found.settings.values()]) / measured.trained * measured.eps
    assert found.loss == pytest.approx(float(np.linalg.norm(parts)) + 0.5 * ratio)
    assert layerwise.uniform(measured, 8).loss == pytest.approx(0.5, rel=0.02)


def test_a_stronger_attack_makes_the_lipschitz_constants_count_more() -> None:
    """What is left of quantization's part, against the bound on the attack's, when the attack dominates."""
    most = smallest() + 30
    weak, strong = (layerwise.laq(criterion(attacked), Limit(most)) for attacked in (0.0, 1e6))
    assert strong.criterion.bound(strong.settings) < weak.criterion.bound(weak.settings)
    assert layerwise.quantized(weak.settings) < layerwise.quantized(strong.settings)


def test_laq_never_does_worse_than_ternary_at_the_same_bytes() -> None:
    measured = criterion()
    for bits in (2, 3, 4):
        same = layerwise.uniform(measured, bits)
        choice = layerwise.laq(measured, Limit(same.size_bytes))
        assert choice.size_bytes <= same.size_bytes
        if bits == 2:
            assert choice.loss <= same.loss * (1 + 1e-9)


def test_more_bytes_never_hurt() -> None:
    losses = [layerwise.laq(criterion(), Limit(smallest() + extra)).loss for extra in (0, 20, 60, 500)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


def test_a_budget_below_ternary_is_refused() -> None:
    assert layerwise.laq(criterion(), Limit(smallest())).size_bytes == smallest()
    with pytest.raises(ConfigError, match=f"layerwise.budget: 3 bytes: the cheapest choice takes {smallest()}"):
        layerwise.laq(criterion(), Limit(3))
    with pytest.raises(ConfigError, match=r"layerwise\.budget: 3 bytes"):
        layerwise.quanos(criterion(), {"a": 1.0, "z": 1.0}, Limit(3))


def test_quanos_widens_the_most_sensitive_layer_first() -> None:
    choice = layerwise.quanos(criterion(), {"a": 0.9, "z": 0.1}, Limit(smallest() + 10))
    assert choice.bits == {"a": 3, "z": 2}


def test_quanos_scales_bits_with_the_sensitivity() -> None:
    """With the bytes of the uniform network at 4 bits, where layers differ: of equal sensitivity that network."""
    same = Limit(layerwise.uniform(criterion(), 4).size_bytes)
    assert layerwise.quanos(criterion(), {"a": 0.4, "z": 0.4}, same).bits == {"a": 4, "z": 4}
    assert layerwise.quanos(criterion(), {"a": 0.9, "z": 0.1}, same).bits == {"a": 8, "z": 3}


def test_instructions_as_a_budget() -> None:
    """3 bits take more than 4 here, so no budget buys them; the cheapest choice is the smallest budget."""
    costs = Costs({"a": {2: 10, 3: 40, 4: 30, 8: 20}, "z": {2: 10, 3: 40, 4: 30, 8: 35}}, others=100)
    for most, bits in ((120, {"a": 2, "z": 2}), (130, {"a": 8, "z": 2}), (155, {"a": 8, "z": 8})):
        choice = layerwise.laq(criterion(), Limit(most, costs))
        assert choice.bits == bits
        assert costs.total(choice.bits) <= most
    with pytest.raises(ConfigError, match="119 instructions: the cheapest choice takes 120") as caught:
        layerwise.laq(criterion(), Limit(119, costs))
    assert caught.value.hint == 'budget = "120 instructions" or more'


def test_a_choice_slower_than_the_uniform_network_of_its_budget_is_marked() -> None:
    slow = {2: 10, 3: 40, 4: 20, 8: 30}
    costs = Costs({"a": slow, "z": slow}, others=100)
    limit = Limit(layerwise.uniform(criterion(), 4).size_bytes)
    for bits, faster in ((3, 4), (4, None), (2, None)):
        found = layerwise.summary(replace(layerwise.uniform(criterion(), bits), limit=limit, costs=costs))
        assert (found["instructions"], found["faster_uniform"]) == (costs.uniform(bits), faster)
        assert found["uniform_instructions"] == {"2": 120, "3": 180, "4": 140, "8": 160}
    assert layerwise.summary(layerwise.uniform(criterion(), 3))["instructions"] is None


def test_a_summary_of_an_earlier_version_is_not_shown() -> None:
    found = layerwise.summary(layerwise.uniform(criterion(), 3))
    assert layerwise.current(found) is found
    assert layerwise.current({"method": "laq", "bound": 1.0, "bound_attack": 0.5}) is None
    assert layerwise.current(None) is None


def test_noise_sensitivity_is_the_mean_relative_change() -> None:
    clean = {"a": np.array([[3.0, 4.0], [0.0, 0.0]])}
    attacked = {"a": np.array([[3.0, 5.0], [1.0, 0.0]])}
    assert layerwise.noise_sensitivity(clean, attacked) == {"a": pytest.approx(0.1)}


def test_ternary_fit_is_stationary() -> None:
    """The fitted scale is the least-squares one for its own codes."""
    weights = np.random.default_rng(0).normal(size=(3, 3, 8, 4))
    codes, scale = layerwise.quantize(weights, (0, 1, 2), 2, 1.0)
    assert set(np.unique(codes)) == {-1, 0, 1}
    best = (weights * codes).sum(axis=(0, 1, 2)) / np.abs(codes).sum(axis=(0, 1, 2))
    assert scale.ravel() == pytest.approx(best)
