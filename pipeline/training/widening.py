"""Weights of a network for a wider one of the same layers (Net2Net: Chen et al. 2016, arXiv 1511.05641).

The wider network repeats channels: channel j of a layer is channel j mod c of the narrower one's c. Where a kernel sums
over repeated channels, each gets a share of the weight, drawn at random, and the shares of one channel add up to 1:
both networks compute the same, but no two repeated weights stay equal, so that training, and rounding to three values,
tell them apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.training.keras_backend import keras

SPREAD = 0.5
"""A repeated weight's share is drawn from 1 - SPREAD to 1 + SPREAD, before the shares are made to add up to 1."""
Array = NDArray[Any]
Sources = NDArray[np.intp]
"""For each channel of the wider network's tensor the narrower one's channel that it repeats."""


def widens(narrow: tuple[int, ...], wide: tuple[int, ...]) -> bool:
    """Whether weights of shape `narrow` can become some of shape `wide`: no axis shrinks, only channels grow."""
    spatial = max(0, len(narrow) - 2)
    return len(narrow) == len(wide) and narrow[:spatial] == wide[:spatial] and all(map(int.__le__, narrow, wide))


def widen(
    layer: Any, values: Array, shape: tuple[int, ...], sources: Mapping[str, Sources], random: np.random.Generator
) -> Array:
    """The narrower layer's `values` as weights of the wider `layer`, of `shape`, which widens() has accepted.

    A kernel (..., inputs, outputs) shares out over its inputs; a depthwise kernel and a vector are repeated.
    """
    if values.shape == shape:
        return values
    after = sources[layer.name]
    if values.ndim == 1 or isinstance(layer, keras.layers.DepthwiseConv2D):
        return values.take(after, min(2, values.ndim - 1)).astype(np.float32)
    before = sources[_producer(layer.input)]
    values = values.take(before, -2).take(after, -1)
    return (values * _shares(before, values.shape, random)).astype(np.float32)


def channel_sources(model: Any, narrow: Mapping[str, int]) -> dict[str, Sources]:
    """By layer of the wider model the sources of its output's channels; narrow: the narrower network's output channels
    by layer with a kernel."""
    sources: dict[str, Sources] = {}
    for layer in model.layers:
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        before = [sources[_producer(x)] for x in inputs if _producer(x) in sources]
        sources[layer.name] = _output(layer, before, narrow)
    return sources


def _output(layer: Any, before: list[Sources], narrow: Mapping[str, int]) -> Sources:
    channels = layer.output.shape[-1]
    if not before:
        return np.arange(channels)
    if isinstance(layer, keras.layers.Concatenate):
        starts = np.cumsum([0, *(source.max() + 1 for source in before)])
        return np.concatenate([source + start for source, start in zip(before, starts, strict=False)])
    if isinstance(layer, keras.layers.Flatten):
        positions = math.prod(layer.input.shape[1:-1])
        starts = np.arange(positions, dtype=np.intp) * (before[0].max() + 1)
        return np.add.outer(starts, before[0]).ravel()
    if layer.name in narrow and not isinstance(layer, keras.layers.DepthwiseConv2D):
        return np.arange(channels) % narrow[layer.name]
    return before[0]


def _producer(tensor: Any) -> str:
    """Name of the layer that the symbolic tensor comes from."""
    return str(tensor._keras_history.operation.name)


def _shares(source: Sources, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    """For each input of a kernel of `shape` its share of the weight of input source[j]: exactly 1 where it is alone."""
    inputs = np.moveaxis(random.uniform(1 - SPREAD, 1 + SPREAD, shape), -2, 0)
    sums = np.zeros((source.max() + 1, *inputs.shape[1:]))
    np.add.at(sums, source, inputs)
    return np.moveaxis(inputs / sums[source], 0, -2)
