"""The surrogate's passes through compiled.c: straight_through.py, fast. Samples go through in chunks that stay in the
cache; a chunk's buffers belong to one thread, and no thread waits for another."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import UnsupportedError
from pipeline.core.nouns import FloatArray, Int8Array, QLayer, QModel
from pipeline.network import geometry
from pipeline.robustness import bound, straight_through
from pipeline.robustness.bound import Bound, Clamp, Margins, Step, Tensor
from pipeline.robustness.straight_through import Variant

CACHE_ELEMENTS = 1 << 16
"""Elements of the largest tensor of a chunk: a few such tensors fit a second-level cache."""
MOST_SAMPLES = 64
"""Of a chunk."""
States = Sequence[NDArray[np.uint8]]
"""(n, state_bytes) of each layer: what the forward pass leaves for the backward pass."""


class Workspace:
    """One thread's buffers and bound calls for a model and a variant. Not for two threads at once."""

    def __init__(self, model: QModel, variant: Variant) -> None:
        self.model, self.variant = model, variant
        largest = max(spec.size_bytes for spec in map(model.tensor, range(len(model.layers) + 1)))
        self.samples = max(1, min(MOST_SAMPLES, CACHE_ELEMENTS // largest))
        """Most samples of a chunk."""
        self._tensors = [
            Tensor.of(self.samples, model.tensor(t).shape, self._margins(t)) for t in range(len(model.layers) + 1)
        ]
        self._real = Tensor.of(self.samples, model.output.shape)
        self._layers = [self._bound(layer) for layer in model.layers]
        rounded = variant != "smooth"
        self._forward = [
            layer.forward(tensor, self._clamp(layer.layer, rounded))
            for layer, tensor in zip(self._layers, self._tensors[1:], strict=True)
        ]
        self._last = self._layers[-1].forward(self._real, Clamp(0, -np.inf, np.inf, -np.inf, np.inf))
        self._backward = self._bind_backward()
        self.own_states: States = [np.empty((self.samples, size), np.uint8) for size in self.state_bytes]
        """For who needs no backward pass."""

    @property
    def state_bytes(self) -> tuple[int, ...]:
        """Bytes a sample that each layer's forward pass leaves for its backward pass."""
        return tuple(layer.state_bytes for layer in self._layers)

    def forward(self, x: Int8Array, states: States) -> tuple[FloatArray, Int8Array]:
        """(real logits float32 (n, classes), outputs int8 (n, classes)) of at most `samples` x; fills the states. In
        the variant "smooth" the outputs are not the deployed ones."""
        n, x, first, last = len(x), np.ascontiguousarray(x), self._tensors[0], self._tensors[-1]
        zero, output = self.model.input.quantization.zero_point, self.model.output.quantization
        address, target = first.at(first.values)[::-1]
        bound.library().load(ctypes.c_void_p(x.ctypes.data), zero, ctypes.byref(target), address, n)
        for step, state in zip(self._forward, states, strict=True):
            step(n, state.ctypes.data)
        answers = (last.values[:n][last.inside] + output.zero_point).reshape(n, -1).astype(np.int8)
        self._last(n, states[-1].ctypes.data)
        real = self._real.values[:n].reshape(n, -1) * np.float32(output.scale)
        return np.asarray(real, np.float32), answers

    def backward(self, slope: NDArray[Any], states: States, gradient: FloatArray) -> None:
        """Fills gradient float32 (n, *input shape) from the slope (n, classes) by the real logits, and the states that
        `forward` left."""
        n, last, first = len(slope), self._tensors[-1], self._tensors[0]
        last.slopes[:n][last.inside] = (slope * self.model.output.quantization.scale).reshape(n, *last.shape)
        for i, step in self._backward:
            step(n, states[i].ctypes.data)
        gradient.reshape(n, *first.shape)[...] = first.slopes[:n][first.inside]

    def _margins(self, tensor: int) -> Iterator[Margins]:
        """What its readers reach beyond it."""
        for layer in self.model.layers:
            if tensor in layer.inputs and layer.kind in ("conv2d", "depthwise_conv2d"):
                yield geometry.margins(layer, self.model.tensor(tensor).shape, bound.kernel(layer))

    def _bound(self, layer: QLayer) -> Bound:
        kind = bound.KINDS.get(layer.kind)
        if kind is None:
            raise UnsupportedError(
                f"layer {layer.name!r}: layer kind {layer.kind!r} has no compiled gradient",
                f"attack without gradients (square); kinds with one: {', '.join(sorted(bound.KINDS))}",
            )
        return kind(layer, self.model.input_specs(layer), [self._tensors[t] for t in layer.inputs])

    def _bind_backward(self) -> list[tuple[int, Step]]:
        """(layer, step) in the order of the backward pass."""
        steps: list[tuple[int, Step]] = []
        written = {len(self._layers)}
        for i, layer in reversed(list(enumerate(self._layers))):
            if i + 1 in written:
                fresh = []
                for tensor in layer.layer.inputs:
                    fresh.append(tensor not in written)
                    written.add(tensor)
                steps += [(i, step) for step in layer.backward(self._tensors[i + 1], fresh)]
        return steps

    def _clamp(self, layer: QLayer, rounded: bool) -> Clamp:
        zero = layer.output.quantization.zero_point
        low, high = layer.params.get("activation", (-np.inf, np.inf))
        passes = straight_through.limits(layer, self.variant)
        return Clamp(rounded, low - zero, high - zero, *(limit - zero for limit in passes))
