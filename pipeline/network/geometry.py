"""Sizes and windows of convolution and pooling along the two axes of an image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import QLayer


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
