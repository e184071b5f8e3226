"""Batches of samples through a network on this machine, forward and backward, by batch.c. Samples go through in chunks
that stay in the cache; a chunk's buffers belong to one thread, and no thread waits for another.

Forward, the integers of the device to the bit: a test holds them to the portable kernels. Backward, straight through
rounding: robustness/straight_through.py is the specification."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import UnsupportedError
from pipeline.core.nouns import FloatArray, Int8Array, QLayer, QModel
from pipeline.network import bound, geometry, steps
from pipeline.network.bound import Bound
from pipeline.network.steps import Clamp, Margins, Step, Tensor

CACHE_ELEMENTS = 1 << 16
"""Elements of the largest tensor of a chunk: a few such tensors fit a second-level cache."""
MOST_SAMPLES = 64
"""Of a chunk."""
States = Sequence[NDArray[np.uint8]]
"""(n, state_bytes) of each layer: what the forward pass leaves for the backward pass."""
Limits = Callable[[QLayer], tuple[float, float]]
"""Between which values before its clamp, both included, a layer passes gradients."""


def serves(model: QModel) -> bool:
    """Whether batch.c has every layer kind of the model."""
    return all(layer.kind in bound.KINDS for layer in model.layers)


def clamp_of(layer: QLayer) -> tuple[float, float]:
    """(low, high) of the layer's activation; infinite without one."""
    low, high = layer.params.get("activation", (-np.inf, np.inf))
    return float(low), float(high)


class Workspace:
    """One thread's buffers and bound calls for a model. Not for two threads at once. passes: where gradients pass;
    rounded: as on the device, else every layer but the last computes in real numbers."""

    def __init__(self, model: QModel, passes: Limits = clamp_of, rounded: bool = True) -> None:
        self.model, self._passes = model, passes
        largest = max(spec.size_bytes for spec in map(model.tensor, range(len(model.layers) + 1)))
        self.samples = max(1, min(MOST_SAMPLES, CACHE_ELEMENTS // largest))
        """Most samples of a chunk."""
        self._tensors = self._placed()
        self._real = Tensor.of(self.samples, model.output.shape)
        self._layers = [self._bound(layer) for layer in model.layers]
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
        """(real logits float32 (n, classes), outputs int8 (n, classes)) of at most `samples` x; fills the states. The
        outputs are the deployed ones if rounded."""
        n, x, first, last = len(x), np.ascontiguousarray(x), self._tensors[0], self._tensors[-1]
        zero, output = self.model.input.quantization.zero_point, self.model.output.quantization
        address, target = first.at()[::-1]
        steps.library().load(ctypes.c_void_p(x.ctypes.data), zero, ctypes.byref(target), address, n)
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
        last.values[:n][last.inside] = (slope * self.model.output.quantization.scale).reshape(n, *last.shape)
        for i, step in self._backward:
            step(n, states[i].ctypes.data)
        gradient.reshape(n, *first.shape)[...] = first.values[:n][first.inside]

    def _placed(self) -> list[Tensor]:
        """All tensors. One may be in the memory of another that no layer reads any more when it is written, and so in
        the cache. Backward, in the opposite order, the same holds."""
        layers, tensors, free_from = self.model.layers, list[Tensor](), dict[int, int]()
        for t in range(len(layers) + 1):
            tensor = Tensor.of(self.samples, self.model.tensor(t).shape, self._margins(t))
            held = next((u for u in free_from if tensors[u].layout == tensor.layout and free_from[u] < t), None)
            if held is not None:
                tensor = tensors[held]
                del free_from[held]
            tensors.append(tensor)
            free_from[t] = max((i + 1 for i, layer in enumerate(layers) if t in layer.inputs), default=t)
        return tensors

    def _margins(self, tensor: int) -> Iterator[Margins]:
        """What its readers reach beyond it, and backward its writer."""
        convolutions = ("conv2d", "depthwise_conv2d")
        for i, layer in enumerate(self.model.layers):
            size = self.model.input_specs(layer)[0].shape
            if tensor in layer.inputs and layer.kind in convolutions:
                yield geometry.margins(layer, size, bound.kernel(layer))
            if tensor == i + 1 and layer.kind in convolutions:
                yield bound.reach(layer, size[:2])

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
        bound_steps: list[tuple[int, Step]] = []
        written = {len(self._layers)}
        for i, layer in reversed(list(enumerate(self._layers))):
            if i + 1 in written:
                fresh = []
                for tensor in layer.layer.inputs:
                    fresh.append(tensor not in written)
                    written.add(tensor)
                bound_steps += [(i, step) for step in layer.backward(self._tensors[i + 1], fresh)]
        return bound_steps

    def _clamp(self, layer: QLayer, rounded: bool) -> Clamp:
        zero = layer.output.quantization.zero_point
        return Clamp(rounded, *(limit - zero for limit in (*clamp_of(layer), *self._passes(layer))))


class Workspaces:
    """Workspaces of a model: as many as threads ever asked for one at once. Several threads may ask."""

    def __init__(self, model: QModel, passes: Limits = clamp_of, rounded: bool = True) -> None:
        self._setting = model, passes, rounded
        self._free = [Workspace(*self._setting)]
        self._samples, self.state_bytes = self._free[0].samples, self._free[0].state_bytes

    @contextmanager
    def _one(self) -> Iterator[Workspace]:
        """A workspace that nobody else has."""
        try:
            workspace = self._free.pop()
        except IndexError:
            workspace = Workspace(*self._setting)
        yield workspace
        self._free.append(workspace)

    def each(self, n: int, work: Callable[[slice, Workspace], None]) -> None:
        """work(slice, workspace) for chunks that make up n samples, on all cores."""
        parts = [slice(start, min(start + self._samples, n)) for start in range(0, n, self._samples)]
        threads = min(os.cpu_count() or 1, len(parts))

        def take(first: int) -> None:
            with self._one() as workspace:
                for part in parts[first::threads]:
                    work(part, workspace)

        if threads <= 1:
            take(0) if parts else None
            return
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(take, range(threads)))

    def outputs(self, x: Int8Array) -> Int8Array:
        """int8 (n, outputs) for x int8 (n, *shape): what `forward` of a rounded workspace answers."""
        answers = np.empty((len(x), self._setting[0].output.size_bytes), np.int8)

        def chunk(part: slice, workspace: Workspace) -> None:
            answers[part] = workspace.forward(x[part], workspace.own_states)[1]

        self.each(len(x), chunk)
        return answers
