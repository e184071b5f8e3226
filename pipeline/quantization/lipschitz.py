"""Lipschitz constants of trained layers, and how far an attack can move the logits of a network of such layers.

Norms are Euclidean. The operator of a weighted layer is the real one: its convolution with stride and padding on its
real input size, times the gain of the batch normalization folded into it (bias and mean shift drop out of differences).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import TrainedLayer, TrainedModel
from pipeline.network import geometry

Floats = NDArray[np.float64]
ITERATIONS = 60
TOLERANCE = 1e-4
"""Power iteration stops when the norm changes by less than this share."""


@dataclass(frozen=True)
class Operator:
    """The linear part of a weighted layer."""

    kind: str
    """Of the TrainedLayer."""
    kernel: Floats
    """float64, all gains included: convolutions (kh, kw, in, out), dense (in, out)."""
    shape: tuple[int, ...]
    """Of its input, without batch."""
    strides: tuple[int, int] = (1, 1)
    """(rows, columns) of a convolution."""
    padding: str = "same"
    """ "same" or "valid", of a convolution."""

    def apply(self, x: Floats) -> Floats:
        """The layer's linear map of x (*shape)."""
        if self.kind == "dense":
            return np.asarray(x.ravel() @ self.kernel)
        padded = np.pad(x, (*self._pads(), (0, 0)))
        return sum_of([self._tap(padded, y, z) @ self.kernel[y, z] for y, z in self._taps()])

    def adjoint(self, g: Floats) -> Floats:
        """The transposed map of g (*output shape)."""
        if self.kind == "dense":
            return np.asarray(self.kernel @ g.ravel()).reshape(self.shape)
        pads = self._pads()
        size = tuple(n + sum(pad) for n, pad in zip(self.shape[:2], pads, strict=True))
        padded = np.zeros((*size, self.shape[2]))
        for y, z in self._taps():
            self._tap(padded, y, z)[...] += g @ self.kernel[y, z].T
        (top, _), (left, _) = pads
        return padded[top : top + self.shape[0], left : left + self.shape[1]]

    def _taps(self) -> list[tuple[int, int]]:
        return [(y, z) for y in range(self.kernel.shape[0]) for z in range(self.kernel.shape[1])]

    def _tap(self, padded: Floats, y: int, z: int) -> Floats:
        """View of the inputs that tap (y, z) multiplies."""
        (oh, ow), (sh, sw) = self._output(), self.strides
        return padded[y : y + oh * sh : sh, z : z + ow * sw : sw][:oh, :ow]

    def _output(self) -> tuple[int, int]:
        (oh, _), (ow, _) = self._extents()
        return oh, ow

    def _extents(self) -> list[tuple[int, int]]:
        sizes = zip(self.shape[:2], self.kernel.shape[:2], self.strides, strict=True)
        return [geometry.extent(n, k, s, self.padding) for n, k, s in sizes]

    def _pads(self) -> tuple[tuple[int, int], tuple[int, int]]:
        rows, columns = (
            (before, max(0, (out - 1) * s + k - n - before))
            for (out, before), n, k, s in zip(
                self._extents(), self.shape[:2], self.kernel.shape[:2], self.strides, strict=True
            )
        )
        return rows, columns


def sum_of(parts: Sequence[Floats]) -> Floats:
    """Sum of arrays of one shape."""
    return np.asarray(np.add.reduce(parts))


def operator_norm(operator: Operator, seed: int = 0) -> float:
    """Largest singular value of the operator, by power iteration on A^T A; a lower bound that converges to it."""
    x = np.random.default_rng(seed).normal(size=operator.shape)
    x /= np.linalg.norm(x)
    norm = 0.0
    for _ in range(ITERATIONS):
        y = operator.adjoint(operator.apply(x))
        length = float(np.linalg.norm(y))
        if length == 0.0:
            return 0.0
        x, before, norm = y / length, norm, math.sqrt(length)
        if abs(norm - before) <= TOLERANCE * norm:
            break
    return norm


def bound(model: TrainedModel, constants: Mapping[str, float], eps: float) -> float:
    """Largest Euclidean distance between the logits at x and at x + d, |d| <= eps; constants: Lipschitz constants of
    the weighted layers, by name.

    E(input) = eps; weighted layer: E(out) = constant * E(in); add: sum of its inputs; concatenation: root of the sum of
    squares; average of n elements: E / sqrt(n); rescaling: its scale; activations, maxima of disjoint windows and
    flattening do not enlarge it.
    """
    reach = {"input": eps}
    for layer in model.layers:
        inputs = [reach[name] for name in layer.inputs]
        reach[layer.name] = _reach(layer, inputs, constants)
    return reach[model.layers[-1].name]


def _reach(layer: TrainedLayer, inputs: list[float], constants: Mapping[str, float]) -> float:
    if layer.name in constants:
        return constants[layer.name] * inputs[0]
    if layer.kind == "add":
        return sum(inputs)
    if layer.kind == "concatenate":
        return math.hypot(*inputs)
    if layer.kind == "average_pool2d":
        return inputs[0] / math.sqrt(math.prod(layer.config["pool"]))
    if layer.kind == "rescaling":
        return inputs[0] * float(layer.config["scale"])
    return inputs[0]


def operator_of(model: TrainedModel, layer: TrainedLayer, weights: Floats | None = None) -> Operator:
    """The operator of a weighted layer. weights: another kernel in the trained layout, gains not included; default
    codes * scale."""
    kernel = (real_weights(layer) if weights is None else weights) * gain_of(model, layer)
    shape = shapes_of(model)[layer.inputs[0]]
    if layer.kind == "dense":
        return Operator("dense", kernel, shape)
    kernel = _spread(kernel) if layer.kind == "depthwise_conv2d" else kernel
    return Operator(layer.kind, kernel, shape, tuple(layer.config["strides"]), layer.config["padding"])


def real_weights(layer: TrainedLayer) -> Floats:
    """codes * scale in the trained layout, float64."""
    scale = np.asarray(layer.arrays["scale"], np.float64)
    codes = layer.arrays["codes"].astype(np.float64)
    return codes * (scale.reshape(codes.shape[2:]) if layer.kind == "depthwise_conv2d" and scale.size > 1 else scale)


def gain_of(model: TrainedModel, layer: TrainedLayer) -> Floats:
    """Factor per output channel of the batch normalization that reads the layer, shaped to multiply its weights; 1
    without one."""
    readers = [r for r in model.layers if layer.name in r.inputs and r.kind == "batch_normalization"]
    if not readers:
        return np.ones(1)
    norm = readers[0].arrays
    gain = np.asarray(norm["gamma"] / np.sqrt(norm["variance"] + readers[0].config["epsilon"]), np.float64)
    return gain.reshape(layer.arrays["codes"].shape[2:]) if layer.kind == "depthwise_conv2d" else gain


def _spread(kernel: Floats) -> Floats:
    """A depthwise kernel (kh, kw, in, multiplier) as a full one (kh, kw, in, in * multiplier)."""
    kh, kw, channels, multiplier = kernel.shape
    full = np.zeros((kh, kw, channels, channels * multiplier))
    for i in range(channels):
        full[:, :, i, i * multiplier : (i + 1) * multiplier] = kernel[:, :, i]
    return full


def shapes_of(model: TrainedModel) -> dict[str, tuple[int, ...]]:
    """Output shape of every layer by name, and of "input"."""
    shapes = {"input": model.input.shape}
    for layer in model.layers:
        shapes[layer.name] = _shape(layer, [shapes[name] for name in layer.inputs])
    return shapes


def _shape(layer: TrainedLayer, inputs: list[tuple[int, ...]]) -> tuple[int, ...]:
    first = inputs[0]
    if layer.kind == "dense":
        return (layer.arrays["codes"].shape[1],)
    if layer.kind == "concatenate":
        return (*first[:-1], sum(shape[-1] for shape in inputs))
    if layer.kind == "flatten":
        return tuple(layer.config.get("shape", (math.prod(first),)))
    if layer.kind.startswith("global_"):
        return (1, 1, first[-1]) if layer.config.get("keepdims", False) else (first[-1],)
    if layer.kind in {"conv2d", "depthwise_conv2d", "max_pool2d", "average_pool2d"}:
        weighted = "codes" in layer.arrays
        window = layer.arrays["codes"].shape[:2] if weighted else layer.config["pool"]
        channels = (
            math.prod(layer.arrays["codes"].shape[(3 if layer.kind == "conv2d" else 2) :]) if weighted else first[2]
        )
        sizes = zip(first[:2], window, layer.config["strides"], strict=True)
        return (*(geometry.extent(n, k, s, layer.config["padding"])[0] for n, k, s in sizes), channels)
    return first
