"""Batches of samples through a network on this machine, forward and backward, by batch.c. Samples go through in chunks
that stay in the cache; a chunk's buffers belong to one thread, and no thread waits for another.

Forward, the integers of the device to the bit: a test holds them to the portable kernels. Backward, straight through
rounding: robustness/straight_through.py is the specification."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable, Iterator
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

CACHE_ELEMENTS = 1 << 15
"""Elements of the largest tensor of a chunk: a few such tensors fit a second-level cache."""
MOST_SAMPLES = 64
"""Of a chunk, and of what a thread takes at once."""
States = NDArray[np.uint8]
"""(n, state_bytes): what the forward pass leaves for the backward pass, which takes the same n at once."""
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
        self._before = np.cumsum([0, *(layer.state_bytes for layer in self._layers)]).tolist()
        self.state_bytes = int(self._before[-1])
        """Bytes a sample that the forward pass leaves for the backward pass."""
        self._forward = steps.table(list(self._forward_steps(rounded)))
        self._backward = steps.table(list(self._backward_steps()))
        self._network = self._bind()
        self._own_states: States = np.empty((self.samples, self.state_bytes), np.uint8)

    def forward(self, x: Int8Array, states: States | None = None) -> tuple[FloatArray, Int8Array]:
        """(real logits float32 (n, classes), outputs int8 (n, classes)) of x int8 (n, *shape); fills the states, if
        any. The outputs are the deployed ones if rounded."""
        n, x, output = len(x), np.ascontiguousarray(x), self.model.output
        answers, logits = (np.empty((n, output.size_bytes), np.float32) for _ in range(2))
        kept = self._own_states if states is None else states
        network, arrays = ctypes.byref(self._network), _addresses(answers, logits)
        steps.library().forward(network, *_addresses(x, kept), int(states is not None), *arrays, n)
        scale, zero = output.quantization.scale, output.quantization.zero_point
        return logits * np.float32(scale), (answers + zero).astype(np.int8)

    def backward(self, slope: NDArray[Any], states: States, gradient: FloatArray) -> None:
        """Fills gradient float32 (n, *input shape) from the slope (n, classes) by the real logits, and the states that
        `forward` left for these n."""
        slopes = np.ascontiguousarray(slope * self.model.output.quantization.scale, np.float32)
        assert gradient.flags.c_contiguous and states.flags.c_contiguous
        steps.library().backward(ctypes.byref(self._network), *_addresses(slopes, states, gradient), len(slope))

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

    def _forward_steps(self, rounded: bool) -> Iterator[Step]:
        for i, layer in enumerate(self._layers):
            yield from self._of(i, layer.forward(self._tensors[i + 1], self._clamp(layer.layer, rounded)))
        last = len(self._layers) - 1
        yield from self._of(last, self._layers[-1].forward(self._real, Clamp(0, -np.inf, np.inf, -np.inf, np.inf)))

    def _of(self, layer: int, each: Iterable[Step]) -> Iterator[Step]:
        """The steps, which find the state of their layer."""
        for step in each:
            step.before = self._before[layer]
            yield step

    def _bind(self) -> steps.Network:
        (first, address), (last, last_address), (real, real_address) = (
            tensor.at() for tensor in (self._tensors[0], self._tensors[-1], self._real)
        )
        return steps.Network(
            *(ctypes.addressof(table) for table in (self._forward, self._backward)),
            *(address, last_address, real_address, first, last, real),
            *(len(self._forward), len(self._backward), self.samples, self.state_bytes),
            self.model.input.quantization.zero_point,
        )

    def _backward_steps(self) -> Iterator[Step]:
        written = {len(self._layers)}
        for i, layer in reversed(list(enumerate(self._layers))):
            if i + 1 in written:
                fresh = []
                for tensor in layer.layer.inputs:
                    fresh.append(tensor not in written)
                    written.add(tensor)
                yield from self._of(i, layer.backward(self._tensors[i + 1], fresh))

    def _clamp(self, layer: QLayer, rounded: bool) -> Clamp:
        zero = layer.output.quantization.zero_point
        return Clamp(rounded, *(limit - zero for limit in (*clamp_of(layer), *self._passes(layer))))


def _addresses(*arrays: NDArray[Any]) -> Iterator[ctypes.c_void_p]:
    return (ctypes.c_void_p(array.ctypes.data) for array in arrays)


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
        """work(slice, workspace) for parts that make up n samples, on all cores. The same n has the same parts."""
        cores = os.cpu_count() or 1
        share = max(self._samples, min(MOST_SAMPLES, -(-n // cores)))
        parts = [slice(start, min(start + share, n)) for start in range(0, n, share)]

        def take(part: slice) -> None:
            with self._one() as workspace:
                work(part, workspace)

        if len(parts) <= 1 or cores == 1:
            for part in parts:
                take(part)
            return
        with ThreadPoolExecutor(min(cores, len(parts))) as pool:
            list(pool.map(take, parts))

    def outputs(self, x: Int8Array) -> Int8Array:
        """int8 (n, outputs) for x int8 (n, *shape): what `forward` of a rounded workspace answers."""
        answers = np.empty((len(x), self._setting[0].output.size_bytes), np.int8)

        def chunk(part: slice, workspace: Workspace) -> None:
            answers[part] = workspace.forward(x[part])[1]

        self.each(len(x), chunk)
        return answers
