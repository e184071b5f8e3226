"""Layer-wise choice of weight bits for a trained network: LAQ and a QUANOS-style comparator.

LAQ (layer-wise adversarial-aware quantization; Song, Ranjan, Li 2021, arXiv 2110.12308) chooses each layer's
quantization by its Lipschitz constant so that adversarial and quantization loss fall together. Only its abstract is
known to us: what is minimized here, `Criterion`, and the search are ours. QUANOS (Panda 2020, arXiv 2004.11233) gives
layers bit widths by their adversarial noise sensitivity (ANS); its exact rule is not known to us either: see `quanos`.
What a choice may cost is a `Limit`: bytes, or instructions that were measured (`Costs`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.budget import INSTRUCTIONS, layer_amount
from pipeline.config.job import LayerwiseConfig, eps_value
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Int8Array, Progress, TrainedLayer, TrainedModel, no_progress
from pipeline.quantization import lipschitz
from pipeline.quantization.lipschitz import Floats

BITS = (2, 3, 4, 8)
CLIPS = (1.0, 0.85, 0.7, 0.55)
"""Clip candidates for 3 to 8 bits: share of a channel's largest weight that the outermost level stands for."""
TERNARY_ROUNDS = 5


@dataclass(frozen=True)
class Setting:
    """One way to quantize one layer."""

    bits: int
    """Of a weight."""
    clip: float
    """Share of a channel's largest weight that the outermost level stands for, in (0, 1]; ternary has none, its scale
    is fitted."""
    codes: Int8Array
    """The resulting integers, in the layout of TrainedLayer."""
    scale: Floats
    """(channels,) real weight of one code."""
    size_bytes: int
    """Of the packed weights."""
    lipschitz: float
    """Lipschitz constant of the layer, Euclidean norm."""
    distance: float
    """How far the logits move when only this layer is quantized (`Effects.distance`)."""


@dataclass(frozen=True)
class Effects:
    """What samples say of a trained network's logits, in the logits' real units; distances are root mean squares of
    Euclidean ones (`distance`)."""

    distance: Callable[[TrainedModel], float]
    """Between the logits of the network with other weights and those of the trained one."""
    attacked: float
    """Between the trained network's logits on attacked and on clean samples, FGSM at the job's eps."""


@dataclass(frozen=True)
class Criterion:
    """What LAQ minimizes: how far the logits move under attack, and by quantization.

    The attack's part is what was measured of the trained network, in proportion to the Lipschitz bounds of the
    quantized and the trained one: attacked * bound / trained. Quantization's part is the root of the sum of squares of
    what each layer was measured to do alone, as if the layers' errors were independent. A bound of that part would
    multiply an error of the first layer by the Lipschitz constants of all others, which is far from what happens, and
    leave the last layers, where most weights are, with the fewest bits.
    """

    model: TrainedModel
    """Trained."""
    effects: Effects
    """Measured of it."""
    eps: float
    """Euclidean budget of the attack, real input units."""

    @cached_property
    def trained(self) -> float:
        """Lipschitz bound of the trained network."""
        layers = _weighted(self.model)
        constants = {layer.name: _norm_of(self.model, layer, lipschitz.real_weights(layer)) for layer in layers}
        return lipschitz.bound(self.model, constants, self.eps)

    def bound(self, settings: Mapping[str, Setting]) -> float:
        """Lipschitz bound of the quantized network."""
        return lipschitz.bound(self.model, {name: s.lipschitz for name, s in settings.items()}, self.eps)

    def attacked(self, settings: Mapping[str, Setting]) -> float:
        """The attack's part."""
        return self.effects.attacked * self.bound(settings) / self.trained if self.trained > 0 else 0.0

    def loss(self, settings: Mapping[str, Setting]) -> float:
        """Both parts."""
        return self.attacked(settings) + quantized(settings)

    def setting(self, layer: TrainedLayer, bits: int, clip: float) -> Setting:
        """One way to quantize the layer."""
        codes, scale = quantize(lipschitz.real_weights(layer), _channel_axes(layer), bits, clip)
        constant = _norm_of(self.model, layer, codes * scale)
        distance = self.effects.distance(_with_layer(self.model, _with_weights(layer, bits, codes, scale)))
        return Setting(bits, clip, codes, scale, _packed_bytes(layer, bits), constant, distance)


def quantized(settings: Mapping[str, Setting]) -> float:
    """Quantization's part in the loss of a Criterion."""
    return math.hypot(*(setting.distance for setting in settings.values()))


def distance(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Root mean square over samples of the Euclidean distance between outputs (n, *shape).

    >>> distance(np.array([[3.0, 4.0], [0.0, 0.0]]), np.zeros((2, 2)))
    3.5355339059327378
    """
    apart = (a - b).reshape(len(a), -1)
    return float(np.sqrt(np.mean(np.sum(apart**2, axis=1))))


@dataclass(frozen=True)
class Costs:
    """Executed instructions of an inference, measured with all layers at the same width, one width after another."""

    layers: Mapping[str, Mapping[int, int]]
    """Of each weighted layer, by its name and by bits."""
    others: int
    """Of all other layers."""

    def total(self, bits: Mapping[str, int]) -> int:
        """Of a network whose layers have these bits."""
        return self.others + sum(self.layers[name][width] for name, width in bits.items())

    def uniform(self, bits: int) -> int:
        """Of the network with all layers at that width."""
        return self.total(dict.fromkeys(self.layers, bits))


@dataclass(frozen=True)
class Limit:
    """What a choice may cost."""

    most: int
    """Bytes of packed weights, or instructions where there are costs."""
    costs: Costs | None = None
    """None: bytes are limited."""

    def cost(self, name: str, setting: Setting) -> int:
        """Of a layer, by its name."""
        return setting.size_bytes if self.costs is None else self.costs.layers[name][setting.bits]

    def total(self, settings: Mapping[str, Setting]) -> int:
        """Of a network."""
        others = 0 if self.costs is None else self.costs.others
        return others + sum(self.cost(name, setting) for name, setting in settings.items())

    def require(self, least: int) -> None:
        """ConfigError unless the cheapest choice, which takes so much, keeps to it."""
        if least > self.most:
            unit = "bytes" if self.costs is None else INSTRUCTIONS
            raise ConfigError(
                f"layerwise.budget: {self.most} {unit}: the cheapest choice takes {least}",
                f'budget = "{least} {"B" if self.costs is None else unit}" or more',
            )


@dataclass(frozen=True)
class Choice:
    """What was chosen for a network."""

    method: str
    """LayerwiseConfig.method."""
    criterion: Criterion
    """What it is measured by, whatever the method."""
    settings: Mapping[str, Setting]
    """By layer name, in layer order."""
    steps: tuple[tuple[int, float], ...]
    """(total bytes, loss) after each step of the search."""
    limit: Limit | None = None
    """What it was allowed to cost; None: it had no choice."""
    costs: Costs | None = None
    """What was measured of the network; None: nothing was."""
    sensitivity: Mapping[str, float] = field(default_factory=dict)
    """ANS by layer name, where it was chosen by that."""

    @property
    def bits(self) -> dict[str, int]:
        """By layer name."""
        return {name: setting.bits for name, setting in self.settings.items()}

    @property
    def size_bytes(self) -> int:
        return sum(setting.size_bytes for setting in self.settings.values())

    @property
    def loss(self) -> float:
        """What LAQ minimizes."""
        return self.criterion.loss(self.settings)


def choose(
    model: TrainedModel,
    config: LayerwiseConfig,
    effects: Effects,
    sensitivity: Mapping[str, float],
    progress: Progress = no_progress,
    costs: Costs | None = None,
) -> Choice:
    """The Choice a job asks for. effects: measured of this network; sensitivity: ANS by layer name, read by "quanos"
    only; costs: measured of this network, needed where the budget is in instructions. ConfigError: a budget that no
    choice can keep to.

    The Lipschitz bound is Euclidean: an eps per element is at most eps sqrt(n) over n elements.
    """
    criterion = Criterion(model, effects, eps_value(config.eps) * math.sqrt(model.input.size_bytes))
    if config.method == "uniform":
        return replace(uniform(criterion, config.bits), costs=costs)
    limit = _limit(model, config, costs)
    if config.method == "laq":
        return replace(laq(criterion, limit, progress), costs=costs)
    return replace(quanos(criterion, sensitivity, limit), costs=costs)


def check_budget(model: TrainedModel, config: LayerwiseConfig) -> None:
    """ConfigError when not even ternary weights keep to a budget of bytes. The network need not be trained: only its
    shapes count. What it takes in instructions is known once it has been measured."""
    if isinstance(config.budget, str) and layer_amount(config.budget)[0] != INSTRUCTIONS:
        _limit(model, config, None).require(ternary_bytes(model))


def _limit(model: TrainedModel, config: LayerwiseConfig, costs: Costs | None) -> Limit:
    if not isinstance(config.budget, str):
        return Limit(int(config.budget * ternary_bytes(model)))
    unit, most = layer_amount(config.budget)
    assert unit != INSTRUCTIONS or costs is not None
    return Limit(most, costs if unit == INSTRUCTIONS else None)


def at_width(model: TrainedModel, bits: int) -> TrainedModel:
    """The network with every layer's weights at that width, unclipped."""

    def changed(layer: TrainedLayer) -> TrainedLayer:
        codes, scale = quantize(lipschitz.real_weights(layer), _channel_axes(layer), bits, 1.0)
        return _with_weights(layer, bits, codes, scale)

    return replace(model, layers=tuple(changed(x) if "codes" in x.arrays else x for x in model.layers))


def ternary_bytes(model: TrainedModel) -> int:
    """Bytes of the packed weights with every layer ternary."""
    return sum(_packed_bytes(layer, BITS[0]) for layer in _weighted(model))


def summary(choice: Choice) -> dict[str, Any]:
    """The choice as plain JSON values, described in docs/REPORT.md under `layerwise`."""
    criterion, settings = choice.criterion, choice.settings
    return {
        "method": choice.method,
        "eps_l2": criterion.eps,
        "bytes": choice.size_bytes,
        "ternary_bytes": ternary_bytes(criterion.model),
        "loss": choice.loss,
        "attacked": criterion.attacked(settings),
        "quantized": quantized(settings),
        "bound": criterion.bound(settings),
        "trained_bound": criterion.trained,
        **_counted(choice),
        "layers": [
            {
                "name": name,
                "bits": setting.bits,
                "clip": setting.clip,
                "bytes": setting.size_bytes,
                "instructions": choice.costs.layers[name][setting.bits] if choice.costs else None,
                "sensitivity": choice.sensitivity.get(name),
                "lipschitz": setting.lipschitz,
                "distance": setting.distance,
            }
            for name, setting in settings.items()
        ],
        "steps": [{"bytes": size, "loss": loss} for size, loss in choice.steps],
    }


def current(stored: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """A stored summary; None for one of an earlier version, which bounded quantization's part, too."""
    return stored if stored is not None and "loss" in stored else None


def _counted(choice: Choice) -> dict[str, Any]:
    """What the choice and uniform networks take, and the widest of these that the budget allows where it takes less."""
    costs, limit = choice.costs, choice.limit
    if costs is None:
        return {"instructions": None, "uniform_instructions": None, "faster_uniform": None}
    taken, uniforms = costs.total(choice.bits), {bits: costs.uniform(bits) for bits in BITS}
    allowed = [bits for bits in BITS if limit is not None and _uniform_cost(choice, limit, bits) <= limit.most]
    faster = allowed and uniforms[allowed[-1]] < taken
    return {
        "instructions": taken,
        "uniform_instructions": {str(bits): count for bits, count in uniforms.items()},
        "faster_uniform": allowed[-1] if faster else None,
    }


def _uniform_cost(choice: Choice, limit: Limit, bits: int) -> int:
    if limit.costs is not None:
        return limit.costs.uniform(bits)
    return sum(_packed_bytes(layer, bits) for layer in _weighted(choice.criterion.model))


def quantize(weights: Floats, axis: tuple[int, ...], bits: int, clip: float) -> tuple[Int8Array, Floats]:
    """(codes int8, scale float64 per channel, kept dims): nearest levels, symmetric, `axis` being reduced per channel.

    2 bits: ternary, fitted in five rounds as QKeras does: threshold scale / 2, then scale <w, q> / <q, q>.
    """
    largest = np.abs(weights).max(axis=axis, keepdims=True)
    if bits == 2:
        return _ternary(weights, axis, 2 * largest / 3)
    scale = np.where(largest > 0, largest * clip / ((1 << (bits - 1)) - 1), 1.0)
    limit = (1 << (bits - 1)) - 1
    return np.clip(np.rint(weights / scale), -limit, limit).astype(np.int8), scale


def _ternary(weights: Floats, axis: tuple[int, ...], scale: Floats) -> tuple[Int8Array, Floats]:
    for _ in range(TERNARY_ROUNDS):
        codes = np.sign(weights) * (np.abs(weights) >= scale / 2)
        count = np.abs(codes).sum(axis=axis, keepdims=True)
        scale = np.where(count > 0, (weights * codes).sum(axis=axis, keepdims=True) / np.maximum(count, 1), scale)
    return codes.astype(np.int8), np.where(scale > 0, scale, 1.0)


def uniform(criterion: Criterion, bits: int) -> Choice:
    """Every layer at the same width, unclipped."""
    settings = {layer.name: criterion.setting(layer, bits, 1.0) for layer in _weighted(criterion.model)}
    return Choice(f"uniform {bits} bit", criterion, settings, ())


def laq(criterion: Criterion, limit: Limit, progress: Progress = no_progress) -> Choice:
    """The settings with the smallest loss that the limit allows.

    Starts with every layer at its cheapest setting; then again and again takes the one change of one layer that lowers
    the loss most per byte, or instruction, added (changes that add none first) until none fits or helps. ConfigError
    when even the cheapest does not fit.
    """
    candidates = _candidates(criterion, progress)
    settings = {name: _best_of(criterion, name, candidates, limit) for name in candidates}
    limit.require(limit.total(settings))
    steps = [_step(criterion, settings)]
    while (step := _best_step(criterion, settings, candidates, limit)) is not None:
        settings = {**settings, step[0]: step[1]}
        steps.append(_step(criterion, settings))
    return Choice("laq", criterion, settings, tuple(steps), limit)


def quanos(criterion: Criterion, sensitivity: Mapping[str, float], limit: Limit) -> Choice:
    """Bit widths in proportion to adversarial noise sensitivity, as far as the limit allows. ConfigError when not even
    ternary layers fit.

    sensitivity: ANS by layer name, mean over samples of |a(x + d) - a(x)| / |a(x)|, a the layer's output. Published is
    that precision is scaled by a layer's contribution to the perturbation. Our reading: a layer of twice the ANS is due
    twice the bits, so a layer gets b bits before another gets c where b / ANS is less; what does not fit is passed by.
    """
    layers = {layer.name: layer for layer in _weighted(criterion.model)}
    settings = {name: criterion.setting(layer, BITS[0], 1.0) for name, layer in layers.items()}
    limit.require(limit.total(settings))
    steps = []
    for bits, name in sorted(itertools.product(BITS[1:], layers), key=lambda due: _due(due[0], sensitivity[due[1]])):
        grown = {**settings, name: criterion.setting(layers[name], bits, 1.0)}
        if limit.total(grown) <= limit.most:
            settings = grown
            steps.append(_step(criterion, settings))
    known = {name: sensitivity[name] for name in layers}
    return Choice("quanos", criterion, settings, tuple(steps), limit, sensitivity=known)


def _step(criterion: Criterion, settings: Mapping[str, Setting]) -> tuple[int, float]:
    return sum(setting.size_bytes for setting in settings.values()), criterion.loss(settings)


def _due(bits: int, sensitivity: float) -> tuple[float, int]:
    """When a layer of that ANS gets these bits, among all layers; layers that pass on no noise come last."""
    return bits / sensitivity if sensitivity > 0 else math.inf, bits


def noise_sensitivity(clean: Mapping[str, NDArray[Any]], attacked: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    """ANS by layer name from outputs (n, *shape) on clean and attacked samples; silent samples count as 0."""
    result = {}
    for name, a in clean.items():
        flat, other = a.reshape(len(a), -1), attacked[name].reshape(len(a), -1)
        length = np.linalg.norm(flat, axis=1)
        change = np.linalg.norm(other - flat, axis=1)
        result[name] = float(np.mean(np.where(length > 0, change / np.maximum(length, 1e-12), 0.0)))
    return result


def apply(model: TrainedModel, choice: Choice) -> TrainedModel:
    """The network with the chosen integers and scales in place of its own."""
    for layer in _weighted(model):
        setting = choice.settings[layer.name]
        model = _with_layer(model, _with_weights(layer, setting.bits, setting.codes, setting.scale))
    return model


def _with_layer(model: TrainedModel, changed: TrainedLayer) -> TrainedModel:
    return replace(model, layers=tuple(changed if layer.name == changed.name else layer for layer in model.layers))


def _with_weights(layer: TrainedLayer, bits: int, codes: Int8Array, scale: Floats) -> TrainedLayer:
    arrays = {**layer.arrays, "codes": codes, "scale": scale.ravel()}
    return replace(layer, config={**layer.config, "bits": bits}, arrays=arrays)


def _weighted(model: TrainedModel) -> list[TrainedLayer]:
    return [layer for layer in model.layers if "codes" in layer.arrays]


def _channel_axes(layer: TrainedLayer) -> tuple[int, ...]:
    """Axes that share one scale, in the trained layout."""
    return (0,) if layer.kind == "dense" else (0, 1) if layer.kind == "depthwise_conv2d" else (0, 1, 2)


def _norm_of(model: TrainedModel, layer: TrainedLayer, weights: Floats) -> float:
    return lipschitz.operator_norm(lipschitz.operator_of(model, layer, weights))


def _packed_bytes(layer: TrainedLayer, bits: int) -> int:
    """Bytes of the packed weights: every output channel starts on a byte, a depthwise filter is one run."""
    codes = layer.arrays["codes"]
    rows = 1 if layer.kind == "depthwise_conv2d" else codes.shape[-1]
    return int(rows * -(-(codes.size // rows) * bits // 8))


def _candidates(criterion: Criterion, progress: Progress) -> dict[str, list[Setting]]:
    ways = ((BITS[0], 1.0), *itertools.product(BITS[1:], CLIPS))
    layers = _weighted(criterion.model)
    result: dict[str, list[Setting]] = {layer.name: [] for layer in layers}
    for done, (layer, (bits, clip)) in enumerate(itertools.product(layers, ways)):
        progress("settings", done, len(layers) * len(ways), f"{layer.name} at {bits} bits")
        result[layer.name].append(criterion.setting(layer, bits, clip))
    progress("settings", len(layers) * len(ways), len(layers) * len(ways), "")
    return result


def _best_of(criterion: Criterion, name: str, candidates: Mapping[str, list[Setting]], limit: Limit) -> Setting:
    """The layer's cheapest setting (the one with the smaller loss where several are equally cheap)."""
    cheapest = min(limit.cost(name, option) for option in candidates[name])
    others = {other: settings[0] for other, settings in candidates.items()}
    return min(
        (option for option in candidates[name] if limit.cost(name, option) == cheapest),
        key=lambda option: criterion.loss({**others, name: option}),
    )


def _best_step(
    criterion: Criterion, settings: Mapping[str, Setting], candidates: Mapping[str, list[Setting]], limit: Limit
) -> tuple[str, Setting] | None:
    """(layer, setting) that lowers the loss most per cost added; None when no change fits and helps."""
    now, room = criterion.loss(settings), limit.most - limit.total(settings)
    best: tuple[float, str, Setting] | None = None
    for name, options in candidates.items():
        for option in options:
            added = limit.cost(name, option) - limit.cost(name, settings[name])
            gain = now - criterion.loss({**settings, name: option})
            if added <= room and gain > 1e-9 * now:
                worth = gain / max(added, 1)
                if best is None or worth > best[0]:
                    best = (worth, name, option)
    return None if best is None else best[1:]
