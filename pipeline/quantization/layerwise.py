"""Layer-wise choice of weight bits for a trained network: LAQ and a QUANOS-style comparator.

LAQ (layer-wise adversarial-aware quantization; Song, Ranjan, Li 2021, arXiv 2110.12308) chooses each layer's
quantization by its Lipschitz constant so that adversarial and quantization loss fall together. Only its abstract is
known to us: the criterion here, `lipschitz.bound`, and the search are ours. QUANOS (Panda 2020, arXiv 2004.11233) gives
layers bit widths by their adversarial noise sensitivity (ANS); its exact rule is not known to us either: see `quanos`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.job import LayerwiseConfig, eps_value
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Int8Array, Progress, TrainedLayer, TrainedModel, no_progress
from pipeline.quantization import lipschitz
from pipeline.quantization.lipschitz import Floats, Share

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
    share: Share
    """Its part in the bound."""


@dataclass(frozen=True)
class Choice:
    """What was chosen for a network."""

    method: str
    """LayerwiseConfig.method."""
    eps: float
    """Euclidean budget the bound was computed for, real input units."""
    settings: Mapping[str, Setting]
    """By layer name, in layer order."""
    bound: float
    """What the method minimizes."""
    steps: tuple[tuple[int, float], ...]
    """(total bytes, bound) after each step of the search."""

    @property
    def size_bytes(self) -> int:
        return sum(setting.size_bytes for setting in self.settings.values())


def choose(
    model: TrainedModel,
    config: LayerwiseConfig,
    norms: Mapping[str, float],
    sensitivity: Mapping[str, float],
    progress: Progress = no_progress,
) -> Choice:
    """The Choice a job asks for. norms: mean Euclidean norm of each weighted layer's input, sensitivity: ANS (read by
    "quanos" only), both by layer name.

    The bound is Euclidean: an eps per element is at most eps sqrt(n) over n elements.
    """
    eps = eps_value(config.eps) * math.sqrt(model.input.size_bytes)
    if config.method == "uniform":
        return uniform(model, norms, eps, config.bits)
    budget = int(config.budget * ternary_bytes(model))
    if config.method == "laq":
        return laq(model, norms, eps, budget, progress)
    return quanos(model, norms, eps, sensitivity, budget)


def ternary_bytes(model: TrainedModel) -> int:
    """Bytes of the packed weights with every layer ternary."""
    return sum(_packed_bytes(layer, BITS[0]) for layer in _weighted(model))


def summary(model: TrainedModel, choice: Choice) -> dict[str, Any]:
    """The choice as plain JSON values, described in docs/REPORT.md under `layerwise`."""
    shares = {name: setting.share for name, setting in choice.settings.items()}
    exact = {name: replace(share, error=0.0) for name, share in shares.items()}
    return {
        "method": choice.method,
        "eps_l2": choice.eps,
        "bytes": choice.size_bytes,
        "ternary_bytes": ternary_bytes(model),
        "bound": choice.bound,
        "bound_attack": lipschitz.bound(model, exact, choice.eps),
        "layers": [
            {
                "name": name,
                "bits": setting.bits,
                "clip": setting.clip,
                "bytes": setting.size_bytes,
                "lipschitz": setting.share.lipschitz,
                "error": setting.share.error,
                "input_norm": setting.share.input_norm,
                "bound_share": choice.bound - lipschitz.bound(model, {**shares, name: exact[name]}, choice.eps),
            }
            for name, setting in choice.settings.items()
        ],
        "steps": [{"bytes": size, "bound": bound} for size, bound in choice.steps],
    }


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


def uniform(model: TrainedModel, norms: Mapping[str, float], eps: float, bits: int) -> Choice:
    """Every layer at the same width, unclipped; norms: mean input norm by layer name."""
    settings = {layer.name: _setting(model, layer, bits, 1.0, norms) for layer in _weighted(model)}
    return _choice(model, f"uniform {bits} bit", eps, settings, [])


def laq(
    model: TrainedModel, norms: Mapping[str, float], eps: float, budget_bytes: int, progress: Progress = no_progress
) -> Choice:
    """The settings with the smallest bound that fit budget_bytes of packed weights.

    Starts with every layer at its smallest setting; then again and again takes the one change of one layer that lowers
    the bound most per byte added (changes that add none first) until none fits or helps. ConfigError when even the
    smallest does not fit. eps: Euclidean budget of the attack, in real input units.
    """
    candidates = _candidates(model, norms, progress)
    settings = {name: _best_of(model, name, options, candidates, eps) for name, options in candidates.items()}
    if sum(s.size_bytes for s in settings.values()) > budget_bytes:
        smallest = sum(s.size_bytes for s in settings.values())
        raise ConfigError(f"a budget of {budget_bytes} bytes does not hold the ternary network's {smallest}")
    steps = [(sum(s.size_bytes for s in settings.values()), _bound(model, settings, eps))]
    while (step := _best_step(model, settings, candidates, eps, budget_bytes)) is not None:
        settings = {**settings, step[0]: step[1]}
        steps.append((sum(s.size_bytes for s in settings.values()), _bound(model, settings, eps)))
    return _choice(model, "laq", eps, settings, steps)


def quanos(
    model: TrainedModel, norms: Mapping[str, float], eps: float, sensitivity: Mapping[str, float], budget_bytes: int
) -> Choice:
    """Bit widths by adversarial noise sensitivity: layers in falling order of ANS are widened, one width at a time in
    turn, while budget_bytes holds.

    sensitivity: ANS by layer name, mean over samples of |a(x + d) - a(x)| / |a(x)|, a the layer's output. Our reading:
    a layer that passes on more adversarial noise gets more bits.
    """
    settings = {layer.name: _setting(model, layer, BITS[0], 1.0, norms) for layer in _weighted(model)}
    layers = {layer.name: layer for layer in _weighted(model)}
    steps = []
    for bits in BITS[1:]:
        for name in sorted(settings, key=lambda n: -sensitivity[n]):
            wider = _setting(model, layers[name], bits, 1.0, norms)
            grown = {**settings, name: wider}
            if sum(s.size_bytes for s in grown.values()) <= budget_bytes:
                settings = grown
                steps.append((sum(s.size_bytes for s in settings.values()), _bound(model, settings, eps)))
    return _choice(model, "quanos", eps, settings, steps)


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

    def changed(layer: TrainedLayer) -> TrainedLayer:
        if layer.name not in choice.settings:
            return layer
        setting = choice.settings[layer.name]
        arrays = {**layer.arrays, "codes": setting.codes, "scale": setting.scale.ravel()}
        return replace(layer, config={**layer.config, "bits": setting.bits}, arrays=arrays)

    return replace(model, layers=tuple(changed(layer) for layer in model.layers))


def _weighted(model: TrainedModel) -> list[TrainedLayer]:
    return [layer for layer in model.layers if "codes" in layer.arrays]


def _channel_axes(layer: TrainedLayer) -> tuple[int, ...]:
    """Axes that share one scale, in the trained layout."""
    return (0,) if layer.kind == "dense" else (0, 1) if layer.kind == "depthwise_conv2d" else (0, 1, 2)


def _setting(model: TrainedModel, layer: TrainedLayer, bits: int, clip: float, norms: Mapping[str, float]) -> Setting:
    weights = lipschitz.real_weights(layer)
    codes, scale = quantize(weights, _channel_axes(layer), bits, clip)
    quantized = codes * scale
    share = Share(
        lipschitz=_norm_of(model, layer, quantized),
        error=_norm_of(model, layer, quantized - weights),
        input_norm=norms[layer.name],
    )
    return Setting(bits, clip, codes, scale, _packed_bytes(layer, bits), share)


def _norm_of(model: TrainedModel, layer: TrainedLayer, weights: Floats) -> float:
    return lipschitz.operator_norm(lipschitz.operator_of(model, layer, weights))


def _packed_bytes(layer: TrainedLayer, bits: int) -> int:
    """Bytes of the packed weights: every output channel starts on a byte, a depthwise filter is one run."""
    codes = layer.arrays["codes"]
    rows = 1 if layer.kind == "depthwise_conv2d" else codes.shape[-1]
    return int(rows * -(-(codes.size // rows) * bits // 8))


def _candidates(model: TrainedModel, norms: Mapping[str, float], progress: Progress) -> dict[str, list[Setting]]:
    layers = _weighted(model)
    result: dict[str, list[Setting]] = {}
    for done, layer in enumerate(layers):
        progress("lipschitz", done, len(layers), layer.name)
        wider = [_setting(model, layer, bits, clip, norms) for bits in BITS[1:] for clip in CLIPS]
        result[layer.name] = [_setting(model, layer, BITS[0], 1.0, norms), *wider]
    progress("lipschitz", len(layers), len(layers), "")
    return result


def _bound(model: TrainedModel, settings: Mapping[str, Setting], eps: float) -> float:
    return lipschitz.bound(model, {name: s.share for name, s in settings.items()}, eps)


def _best_of(
    model: TrainedModel, name: str, options: Sequence[Setting], candidates: Mapping[str, list[Setting]], eps: float
) -> Setting:
    """The layer's smallest setting (the one with the smaller bound where several are equally small)."""
    smallest = min(option.size_bytes for option in options)
    others = {other: settings[0] for other, settings in candidates.items()}
    return min(
        (option for option in options if option.size_bytes == smallest),
        key=lambda option: _bound(model, {**others, name: option}, eps),
    )


def _best_step(
    model: TrainedModel,
    settings: Mapping[str, Setting],
    candidates: Mapping[str, list[Setting]],
    eps: float,
    budget_bytes: int,
) -> tuple[str, Setting] | None:
    """(layer, setting) that lowers the bound most per byte added; None when no change fits and helps."""
    now, room = _bound(model, settings, eps), budget_bytes - sum(s.size_bytes for s in settings.values())
    best: tuple[float, str, Setting] | None = None
    for name, options in candidates.items():
        for option in options:
            added = option.size_bytes - settings[name].size_bytes
            gain = now - _bound(model, {**settings, name: option}, eps)
            if added <= room and gain > 1e-9 * now:
                worth = gain / max(added, 1)
                if best is None or worth > best[0]:
                    best = (worth, name, option)
    return None if best is None else best[1:]


def _choice(
    model: TrainedModel, method: str, eps: float, settings: Mapping[str, Setting], steps: Sequence[tuple[int, float]]
) -> Choice:
    return Choice(method, eps, dict(settings), _bound(model, settings, eps), tuple(steps))
