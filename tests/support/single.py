"""Layers with everything random that a kernel may depend on, alone or many side by side on one input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.core.nouns import QLayer, QModel, Quantization, TensorSpec
from pipeline.network import rescale
from pipeline.network.geometry import extent

Rng = np.random.Generator
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Geometry:
    """Shape of one layer: kind, input (h, w, channels), output channels (depthwise: a multiple of them), kernel."""

    kind: str
    shape: Shape
    channels: int
    filter: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: str = "same"


def layer(
    g: Geometry, random: Rng, density: float = 0.5, extreme: bool = False, name: str = "layer", bits: int = 2
) -> QLayer:
    """That layer, reading tensor 0, with weights of so many bits, 2 being ternary. density: share of weights that are
    not zero; at 1 the first two channels are all the largest and all the smallest weight. extreme: any shift and any
    clamp that every kernel allows, else those of trained networks."""
    weights = ternary(g, random, density)
    if bits > 2:
        weights = wider(weights, random, bits, density)
    sums = np.abs(_filters(g.kind, weights)).sum(axis=1)
    bias = random.integers(-4000, 4000, g.channels).astype(np.int32)
    bound = 256 * sums + np.abs(bias)
    low, high = sorted(random.integers(-128, 128, 2).tolist()) if extreme else (-128, 127)
    shape, params = _output(g)
    return QLayer(
        name, g.kind, (0,), TensorSpec(shape, Quantization(1.0, int(random.integers(-128, 128)))),
        {**params, "activation": (low, high)}, weights, bits, bias,
        random.integers(1 << 30, (1 << 31) - 1, g.channels, endpoint=True).astype(np.int32),
        _shifts(random, bound, extreme),
    )  # fmt: skip


def sum_layer(
    scales: tuple[float, float, float], zeros: tuple[int, int, int], limits: tuple[int, int], shape: Shape = (2, 2, 4)
) -> tuple[QLayer, list[TensorSpec]]:
    """The sum of two tensors, and their specs. scales and zeros: of both and of the sum."""
    *inputs, output = (TensorSpec(shape, Quantization(*pair)) for pair in zip(scales, zeros, strict=True))
    params = rescale.add_params(*(spec.quantization for spec in (*inputs, output)))
    return QLayer("sum", "add", (0, 1), output, {**params, "activation": limits}), inputs


def model(layers: Sequence[QLayer], shape: Shape, zero_point: int) -> QModel:
    """Layers side by side, each reading the input of that shape and zero point."""
    return QModel("layers", TensorSpec(shape, Quantization(1.0, zero_point)), ("a",), tuple(layers))


def zero_point(random: Rng) -> int:
    """The ends of int8, its middle, or anything."""
    return int(random.choice([-128, 0, 127, random.integers(-128, 128)]))


def geometry(random: Rng, shape: Shape, most_macs: int) -> Geometry:
    """A layer of any kind on an input of that shape, of at most `most_macs` multiply-accumulates."""
    while True:
        kind = str(random.choice(["conv2d", "conv2d", "depthwise_conv2d", "dense"]))
        filter_ = (int(random.integers(1, 6)), int(random.integers(1, 6)))
        stride = (int(random.integers(1, 4)), int(random.integers(1, 4)))
        valid = filter_[0] <= shape[0] and filter_[1] <= shape[1]
        padding = str(random.choice(["same", "valid"])) if valid else "same"
        channels = int(random.choice([1, 2, 3, 4, 7, 8, 16, 17, 24, 33, 66]))
        if kind == "depthwise_conv2d":
            channels = shape[2] * int(random.choice([1, 1, 2, 3]))
        g = Geometry(kind, shape, channels, filter_, stride, padding)
        if np.prod(shape) * channels * (np.prod(filter_) if kind == "conv2d" else 1) <= most_macs:
            return g


def inputs(m: QModel, random: Rng, n: int = 3) -> Any:
    """int8 (n + 4, *shape): n random samples, all -128, all 127, and both by the signs of the first filter."""
    shape = m.input.shape
    samples = random.integers(-128, 128, (n + 4, *shape))
    samples[n], samples[n + 1] = -128, 127
    first = m.layers[0]
    assert first.weights is not None
    signs = np.resize(_filters(first.kind, first.weights)[0], shape)
    samples[n + 2] = np.where(signs > 0, 127, -128)
    samples[n + 3] = np.where(signs > 0, -128, 127)
    return samples.astype(np.int8)


def ternary(g: Geometry, random: Rng, density: float) -> Any:
    """int8 weights in the layout of their kind."""
    shape = {
        "dense": (g.channels, int(np.prod(g.shape))),
        "depthwise_conv2d": (*g.filter, g.channels),
        "conv2d": (g.channels, *g.filter, g.shape[2]),
    }[g.kind]
    signs = random.choice(np.array([-1, 1], np.int8), shape)
    weights = np.where(random.random(shape) < density, signs, 0).astype(np.int8)
    if density == 1:
        channels = weights.T if g.kind == "depthwise_conv2d" else weights
        channels[:1], channels[1:2] = 1, -1
    return weights


def wider(signs: Any, random: Rng, bits: int, density: float) -> Any:
    """int8: the signs times anything that so many bits hold, at density 1 times the most they hold."""
    most = (1 << (bits - 1)) - 1
    least = most if density == 1 else 1
    return signs * random.integers(least, most, signs.shape, endpoint=True).astype(np.int8)


def _filters(kind: str, weights: Any) -> Any:
    """int64 (output channels, weights of one)."""
    rows = weights.transpose(2, 0, 1) if kind == "depthwise_conv2d" else weights
    return rows.reshape(len(rows), -1).astype(np.int64)


def _shifts(random: Rng, bound: Any, extreme: bool) -> Any:
    """Shifts that spread outputs over int8; extreme: any that keeps twice the accumulators inside int32."""
    if not extreme:
        wanted = 6 - np.log2(np.maximum(bound, 1)) + random.uniform(0, 2, len(bound))
        return np.minimum(np.round(wanted), -1).astype(np.int8)
    most = np.minimum(29 - np.ceil(np.log2(bound + 1)), 28).astype(int)
    return np.array([random.integers(-31, m, endpoint=True) for m in most], np.int8)


def _output(g: Geometry) -> tuple[tuple[int, ...], dict[str, tuple[int, int]]]:
    if g.kind == "dense":
        return (g.channels,), {}
    sizes = zip(g.shape[:2], g.filter, g.stride, strict=True)
    (oh, top), (ow, left) = (extent(n, k, s, g.padding) for n, k, s in sizes)
    return (oh, ow, g.channels), {"stride": g.stride, "padding": (top, left)}
