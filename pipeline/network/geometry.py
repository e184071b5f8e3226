"""Sizes and windows of convolution and pooling along the two axes of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import QLayer, TensorSpec


@dataclass(frozen=True)
class RowWindow:
    """Which input rows an output row of a layer is computed from; a layer kind that can be computed some rows at a
    time has a function row_window(layer)."""

    size: int
    """Rows of a window."""
    stride: int = 1
    """Rows from one window to the next."""
    padding: int = 0
    """Rows of the first window that lie above the input."""

    def first(self, row: int) -> int:
        """The first input row that output row `row` or a later one reads."""
        return max(0, row * self.stride - self.padding)

    def end(self, row: int, height: int) -> int:
        """The row after the last one, of `height`, that the output rows before `row` read."""
        return min(height, (row - 1) * self.stride - self.padding + self.size)


POINTWISE = RowWindow(1)
"""Of layers whose output rows are computed from the same rows of their inputs."""


def window_of(layer: QLayer, rows: int) -> RowWindow:
    """Of a layer with windows of so many rows, from its parameters stride and padding."""
    return RowWindow(rows, layer.params["stride"][0], layer.params["padding"][0])


def stripe(
    layer: QLayer, specs: Sequence[TensorSpec], window: RowWindow, first: int, end: int
) -> tuple[QLayer, tuple[TensorSpec, ...]]:
    """(layer, specs of its inputs) that compute the output rows from `first` to before `end` alone: its inputs are
    their rows from window.first(first) to before window.end(end, height)."""
    shape = (end - first, *layer.output.shape[1:])
    params = dict(layer.params)
    if "padding" in params:
        params["padding"] = (max(0, window.padding - first * window.stride), params["padding"][1])
    rows = [window.end(end, spec.shape[0]) - window.first(first) for spec in specs]
    parts = (replace(spec, shape=(n, *spec.shape[1:])) for n, spec in zip(rows, specs, strict=True))
    return replace(layer, output=replace(layer.output, shape=shape), params=params), tuple(parts)


def outputs(layer: QLayer) -> tuple[int, int]:
    """Output rows and columns of a layer; a vector counts as one position."""
    return layer.output.shape[:2] if len(layer.output.shape) == 3 else (1, 1)


def margins(layer: QLayer, size: tuple[int, ...], kernel: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """((top, bottom), (left, right)): what the windows of an input of `size` (h, w) reach beyond it, 0 or more."""
    (oh, ow), (sh, sw), (top, left) = outputs(layer), layer.params["stride"], layer.params["padding"]
    bottom = max(0, (oh - 1) * sh + kernel[0] - top - size[0])
    right = max(0, (ow - 1) * sw + kernel[1] - left - size[1])
    return (top, bottom), (left, right)


def windows(layer: QLayer, x: NDArray[Any], kernel: tuple[int, int], fill: float) -> NDArray[Any]:
    """View (n, oh, ow, c, kh, kw) of every window of x (n, h, w, c), with `fill` outside the input."""
    (oh, ow), (sh, sw) = outputs(layer), layer.params["stride"]
    padded = np.pad(x, ((0, 0), *margins(layer, x.shape[1:3], kernel), (0, 0)), constant_values=fill)
    view = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(1, 2))  # type: ignore[call-overload]
    return np.asarray(view[:, ::sh, ::sw][:, :oh, :ow])


def scattered(
    layer: QLayer, taps: NDArray[Any], shape: tuple[int, ...], kernel: tuple[int, int]
) -> NDArray[np.float64]:
    """float64 `shape` (n, h, w, c): the sum, for each element, of its entries in taps (n, oh, ow, c, kh, kw). The
    adjoint of `windows`."""
    (oh, ow), (sh, sw) = outputs(layer), layer.params["stride"]
    n, h, w, c = shape
    (top, bottom), (left, right) = margins(layer, (h, w), kernel)
    total = np.zeros((n, top + h + bottom, left + w + right, c))
    for y in range(kernel[0]):
        for x in range(kernel[1]):
            total[:, y : y + oh * sh : sh, x : x + ow * sw : sw][:, :oh, :ow] += taps[..., y, x]
    return total[:, top : top + h, left : left + w]


def map_of(layer: QLayer, values: NDArray[Any]) -> NDArray[Any]:
    """Values (n, *output shape) as (n, oh, ow, c)."""
    return values.reshape(len(values), *outputs(layer), -1)


def extent(size: int, kernel: int, stride: int, padding: str) -> tuple[int, int]:
    """(output size, elements padded before the first) along one axis, as TensorFlow's "same" and "valid"."""
    if padding == "valid":
        return (size - kernel) // stride + 1, 0
    out = -(-size // stride)
    return out, max((out - 1) * stride + kernel - size, 0) // 2
