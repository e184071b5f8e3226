"""Networks of one ternary layer with everything random that a kernel may depend on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline import calls
from pipeline.types import QLayer, QModel, Quantization, TensorSpec

Rng = np.random.Generator


@dataclass(frozen=True)
class Geometry:
    """Shape of one layer: input (h, w, channels), output channels (depthwise: a multiple of the input's), filter."""

    kind: str
    shape: tuple[int, int, int]
    channels: int
    filter: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: str = "same"


def model(g: Geometry, random: Rng, density: float = 0.5, extreme: bool = False) -> QModel:
    """A network of that layer. density: share of weights that are not zero. extreme: any shift and any clamp that the
    reference allows, else ReLU-like layers as trained networks have them."""
    weights = ternary(random, _weight_shape(g), density)
    sums = np.abs(weights.astype(np.int64)).reshape(_rows(g, weights)).sum(axis=_sum_axis(g))
    zero_point = int(random.choice([-128, 0, 127, random.integers(-128, 128)]))
    bias = random.integers(-4000, 4000, g.channels).astype(np.int32)
    bound = 255 * sums + np.abs(bias)
    multiplier = random.integers(1 << 30, (1 << 31) - 1, g.channels, endpoint=True)
    shift = _shifts(random, bound, extreme)
    low, high = sorted(random.integers(-128, 128, 2).tolist()) if extreme else (-128, 127)
    shape, params = _output(g)
    layer = QLayer(
        "layer", g.kind, (0,), TensorSpec(shape, Quantization(1.0, int(random.integers(-128, 128)))),
        {**params, "activation": (low, high)}, weights, 2, bias, multiplier.astype(np.int32), shift,
    )  # fmt: skip
    features = (int(np.prod(g.shape)),) if g.kind == "dense" else g.shape
    return QModel("single", TensorSpec(features, Quantization(1.0, zero_point)), ("a",), (layer,))


def ternary(random: Rng, shape: tuple[int, ...], density: float) -> Any:
    """int8 weights of that shape."""
    signs = random.choice(np.array([-1, 1], np.int8), shape)
    return np.where(random.random(shape) < density, signs, 0).astype(np.int8)


def inputs(m: QModel, random: Rng, n: int = 3) -> Any:
    """int8 (n + 4, *shape): n random samples, all -128, all 127, and those two by the signs of the first filter."""
    shape = m.input.shape
    samples = random.integers(-128, 128, (n + 4, *shape))
    samples[n], samples[n + 1] = -128, 127
    weights = m.layers[0].weights
    assert weights is not None
    pattern = weights[..., 0] if m.layers[0].kind == "depthwise_conv2d" else weights[0]
    signs = np.resize(pattern.ravel(), int(np.prod(shape))).reshape(shape)
    samples[n + 2] = np.where(signs > 0, 127, -128)
    samples[n + 3] = np.where(signs > 0, -128, 127)
    return samples.astype(np.int8)


def _weight_shape(g: Geometry) -> tuple[int, ...]:
    if g.kind == "dense":
        return g.channels, int(np.prod(g.shape))
    if g.kind == "depthwise_conv2d":
        return *g.filter, g.channels
    return g.channels, *g.filter, g.shape[2]


def _rows(g: Geometry, weights: Any) -> tuple[int, int]:
    return (-1, g.channels) if g.kind == "depthwise_conv2d" else (len(weights), -1)


def _sum_axis(g: Geometry) -> int:
    return 0 if g.kind == "depthwise_conv2d" else 1


def _shifts(random: Rng, bound: Any, extreme: bool) -> Any:
    """Shifts that spread outputs over int8; extreme: any that keeps the accumulators inside int32."""
    if not extreme:
        wanted = 6 - np.log2(np.maximum(bound, 1)) + random.uniform(0, 2, len(bound))
        return np.minimum(np.round(wanted), -1).astype(np.int8)
    most = np.minimum(29 - np.ceil(np.log2(bound + 1)), 28).astype(int)
    return np.array([random.integers(-31, m, endpoint=True) for m in most], np.int8)


def _output(g: Geometry) -> tuple[tuple[int, ...], dict[str, tuple[int, int]]]:
    if g.kind == "dense":
        return (g.channels,), {}
    sizes = zip(g.shape[:2], g.filter, g.stride, strict=True)
    (oh, top), (ow, left) = (calls.extent(n, k, s, g.padding) for n, k, s in sizes)
    return (oh, ow, g.channels), {"stride": g.stride, "padding": (top, left)}
