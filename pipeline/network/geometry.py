"""Sizes and windows of convolution and pooling along the two axes of an image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import QLayer


def windows(layer: QLayer, x: NDArray[Any], kernel: tuple[int, int], fill: int) -> NDArray[Any]:
    """View (n, oh, ow, c, kh, kw) of every window of x (n, h, w, c), with `fill` outside the input."""
    oh, ow = layer.output.shape[:2] if len(layer.output.shape) == 3 else (1, 1)
    (sh, sw), (top, left) = layer.params["stride"], layer.params["padding"]
    bottom = max(0, (oh - 1) * sh + kernel[0] - top - x.shape[1])
    right = max(0, (ow - 1) * sw + kernel[1] - left - x.shape[2])
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)
    view = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(1, 2))  # type: ignore[call-overload]
    return np.asarray(view[:, ::sh, ::sw][:, :oh, :ow])


def extent(size: int, kernel: int, stride: int, padding: str) -> tuple[int, int]:
    """(output size, elements padded before the first) along one axis, as TensorFlow's "same" and "valid"."""
    if padding == "valid":
        return (size - kernel) // stride + 1, 0
    out = -(-size // stride)
    return out, max((out - 1) * stride + kernel - size, 0) // 2
