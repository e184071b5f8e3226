"""Layers of a network bound to batch.c and to one thread's buffers."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import QLayer, TensorSpec
from pipeline.network import arith, geometry, rescale, steps
from pipeline.network.steps import Clamp, Margins, Step, Tensor


class Bound:
    """A layer that reads these tensors. state_bytes: what its forward pass leaves, a sample, for its backward pass."""

    def __init__(self, layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[Tensor]) -> None:
        self.layer, self.specs, self.inputs = layer, specs, inputs
        self.state_bytes = layer.output.size_bytes

    def forward(self, output: Tensor, clamp: Clamp) -> Iterator[Step]:
        """Steps that fill the output, and the layer's state."""
        raise NotImplementedError

    def backward(self, output: Tensor, fresh: Sequence[bool]) -> Iterator[Step]:
        """Steps that bring the derivatives by the output to the inputs: written where `fresh`, else added."""
        raise NotImplementedError


class _Weighted(Bound):
    """What conv2d, dense and depthwise_conv2d share. Subclasses say in which sums they consist."""

    def __init__(self, layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[Tensor]) -> None:
        super().__init__(layer, specs, inputs)
        assert layer.weights is not None and layer.bias is not None
        assert layer.multiplier is not None and layer.shift is not None
        self.source, self.weights = inputs[0], layer.weights
        self.stride, self.padding = layer.params.get("stride", (1, 1)), layer.params.get("padding", (0, 0))
        self.gain = rescale.gain(layer).astype(np.float32)

    @property
    def kernel(self) -> tuple[int, int]:
        return kernel(self.layer)

    def requant(self) -> ctypes.Structure:
        """The layer's requantization, padded to whole groups."""
        layer, extra = self.layer, -len(self.gain) % steps.GROUP
        columns = {"gain": self.gain, "bias": layer.bias, "multiplier": layer.multiplier, "shift": layer.shift}
        kinds = {"gain": np.float32}
        padded = {k: np.pad(np.asarray(v), (0, extra)).astype(kinds.get(k, np.int32)) for k, v in columns.items()}
        return steps.structure(steps.Requant, **padded)

    def _forward(self, name: str, table: ctypes.Structure, output: Tensor, clamp: Clamp) -> Step:
        count = output.shape[0] * output.shape[1]
        ends = steps.buffers(self.source, output)
        return steps.step(name, table=table, requant=self.requant(), clamp=clamp, **ends, count=count)

    def reads(self) -> NDArray[np.int32]:
        """Offset of the first element of every window in the source."""
        y, x = steps.grid(*geometry.outputs(self.layer))
        return self.source.places(y * self.stride[0] - self.padding[0], x * self.stride[1] - self.padding[1])

    def backward(self, output: Tensor, fresh: Sequence[bool]) -> Iterator[Step]:
        axes = zip(self.source.shape[:2], self.kernel, self.stride, self.padding, strict=True)
        rows, columns = (list(_phases(*axis)) for axis in axes)
        yield steps.passed(output.at(), self.gain, output.at(), 0, self.layer.output.shape[-1])
        covered = all(len(phase.taps) for phase in (*rows, *columns))
        if fresh[0] and not covered:
            yield steps.clear(self.source)
        add = int(not (fresh[0] and covered))
        for row in rows:
            for column in columns:
                if len(row.taps) and len(column.taps) and len(row.places) and len(column.places):
                    yield self.phase(row, column, output, add)

    def phase(self, row: _Phase, column: _Phase, sums: Tensor, add: int) -> Step:
        """The step of the input pixels that these rows and columns meet."""
        raise NotImplementedError


class Product(_Weighted):
    """conv2d."""

    def forward(self, output: Tensor, clamp: Clamp) -> Iterator[Step]:
        outputs, _, kw, channels = self.weights.shape
        zero, reads = self.specs[0].quantization.zero_point, self.reads()
        most = int(np.abs(self.weights.astype(np.int64)).reshape(outputs, -1).sum(axis=1).max())
        wide = most * max(127 - zero, 128 + zero) >= steps.EXACT
        weights = self.weights.reshape(outputs, -1).T
        rows = np.arange(self.kernel[0]) * self.source.strides[1]
        product = steps.product(
            weights, reads, output.places(*steps.grid(*output.shape[:2])), rows, kw * channels, wide
        )
        yield self._forward("product_forward", product, output, clamp)

    def phase(self, row: _Phase, column: _Phase, sums: Tensor, add: int) -> Step:
        weights = self.weights[:, row.taps][:, :, column.taps].transpose(1, 2, 0, 3)
        y, x = np.meshgrid(row.first, column.first, indexing="ij")
        to = self.source.places(*np.meshgrid(row.places, column.places, indexing="ij"))
        rows = np.arange(len(row.taps)) * sums.strides[1]
        run = len(column.taps) * len(self.weights)
        product = steps.product(weights.reshape(-1, weights.shape[-1]), sums.places(y, x), to, rows, run, False)
        ends = steps.buffers(sums, self.source)
        return steps.step("product_backward", table=product, **ends, add=add, count=y.size)


class Depthwise(_Weighted):
    """depthwise_conv2d."""

    def forward(self, output: Tensor, clamp: Clamp) -> Iterator[Step]:
        kh, kw, channels = self.weights.shape
        expand = channels // self.source.shape[2]
        reads, taps = self.reads(), steps.taps(kh, kw, self.source)
        to = output.places(*steps.grid(*output.shape[:2]))
        bound = steps.depthwise(self.weights.reshape(kh * kw, channels), reads, to, taps, channels, expand, 1)
        yield self._forward("depthwise_forward", bound, output, clamp)

    def phase(self, row: _Phase, column: _Phase, sums: Tensor, add: int) -> Step:
        weights = self.weights[row.taps][:, column.taps].reshape(-1, self.weights.shape[2])
        y, x = np.meshgrid(row.first, column.first, indexing="ij")
        to = self.source.places(*np.meshgrid(row.places, column.places, indexing="ij"))
        taps = steps.taps(len(row.taps), len(column.taps), sums)
        channels = self.source.shape[2]
        reduce = self.weights.shape[2] // channels
        bound = steps.depthwise(weights, sums.places(y, x), to, taps, channels, 1, reduce)
        ends = steps.buffers(sums, self.source)
        return steps.step("depthwise_backward", table=bound, **ends, add=add, count=y.size)


class Flatten(Bound):
    """The values of an input in another shape, most often a vector."""

    def forward(self, output: Tensor, clamp: Clamp) -> Iterator[Step]:
        yield from steps.reshape(self.inputs[0], output, 0)

    def backward(self, output: Tensor, fresh: Sequence[bool]) -> Iterator[Step]:
        yield from steps.reshape(output, self.inputs[0], int(not fresh[0]))


class Renamed(Flatten):
    """flatten: the same integers, about the zero point of the output, where rescaling gave them another."""

    def forward(self, output: Tensor, clamp: Clamp) -> Iterator[Step]:
        yield from super().forward(output, clamp)
        shift = self.specs[0].quantization.zero_point - self.layer.output.quantization.zero_point
        if shift:
            yield steps.step("renamed", **steps.writes(output.at()), zero=shift)


class Dense(Bound):
    """dense: its input as one vector, then a convolution of one pixel."""

    def __init__(self, layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[Tensor]) -> None:
        super().__init__(layer, specs, inputs)
        assert layer.weights is not None
        self._vector = Tensor.of(len(inputs[0].values), (layer.weights.shape[1],))
        pixel = replace(
            layer, kind="conv2d", params={**_PIXEL, **layer.params}, weights=layer.weights[:, None, None, :]
        )
        self._flatten, self._product = Flatten(layer, specs, inputs), Product(pixel, specs, [self._vector])

    def forward(self, output: Tensor, clamp: Clamp) -> Iterator[Step]:
        yield from self._flatten.forward(self._vector, clamp)
        yield from self._product.forward(output, clamp)

    def backward(self, output: Tensor, fresh: Sequence[bool]) -> Iterator[Step]:
        yield from self._product.backward(output, (True,))
        yield from self._flatten.backward(self._vector, fresh)


class Add(Bound):
    """add."""

    def _factors(self) -> list[float]:
        """Of each input, down to the output."""
        wide = rescale.factor(self.layer, "output") * (1 << arith.ADD_LEFT_SHIFT)
        return [wide * rescale.factor(self.layer, name) for name in ("input1", "input2")]

    def forward(self, output: Tensor, clamp: Clamp) -> Iterator[Step]:
        p = self.layer.params
        factors = (*self._factors(), 0.0)
        rescales = (steps.Rescale * 3)(
            *(
                steps.Rescale(p[f"{t}_mult"], p[f"{t}_shift"], f)
                for t, f in zip(("input1", "input2", "output"), factors, strict=True)
            )
        )
        first, second = self.inputs
        ends = {**steps.reads(first.at()), **steps.reads(second.at(), "2"), **steps.writes(output.at())}
        yield steps.step("add_forward", **ends, rescales=rescales, clamp=clamp)

    def backward(self, output: Tensor, fresh: Sequence[bool]) -> Iterator[Step]:
        channels = output.shape[2]
        for tensor, factor, new in zip(self.inputs, self._factors(), fresh, strict=True):
            yield steps.passed(output.at(), factor, tensor.at(), int(not new), channels)


class Concatenate(Bound):
    """concatenate."""

    def _slices(self) -> Iterator[tuple[Tensor, int, float, str]]:
        """(input, its first channel in the output, its factor, its name in params)."""
        first = 0
        for tensor, name in zip(self.inputs, ("input1", "input2"), strict=True):
            factor = rescale.factor(self.layer, name) * (1 << arith.ADD_LEFT_SHIFT)
            yield tensor, first, factor, name
            first += tensor.shape[2]

    def forward(self, output: Tensor, clamp: Clamp) -> Iterator[Step]:
        p = self.layer.params
        for tensor, first, factor, name in self._slices():
            own = steps.Rescale(p[f"{name}_mult"], p[f"{name}_shift"], factor)
            ends = {**steps.reads(tensor.at()), **steps.writes(output.at(first, tensor.shape[2]))}
            skips = {"pixel": output.shape[2], "first": first}
            yield steps.step("concatenate_forward", **ends, rescales=own, clamp=clamp, **skips)

    def backward(self, output: Tensor, fresh: Sequence[bool]) -> Iterator[Step]:
        for (tensor, first, factor, _), new in zip(self._slices(), fresh, strict=True):
            source, to = output.at(first, tensor.shape[2]), tensor.at()
            yield steps.passed(source, factor, to, int(not new), output.shape[2], first)


class _Pool(Bound):
    """What the poolings share: windows as tables of the elements inside the input."""

    def _window(self, output: Tensor) -> ctypes.Structure:
        source = self.inputs[0]
        (kh, kw), (h, w) = self.layer.params["pool"], source.shape[:2]
        (sh, sw), (top, left) = self.layer.params["stride"], self.layer.params["padding"]
        y, x = steps.grid(*output.shape[:2])
        dy, dx = steps.grid(kh, kw)
        rows, columns = y[:, None] * sh - top + dy, x[:, None] * sw - left + dx
        inside = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
        samples = len(source.values)
        places = source.places(rows, columns).reshape(samples, *inside.shape)
        first = np.concatenate([[0], np.cumsum(np.tile(inside.sum(axis=1), samples))])
        return steps.structure(
            steps.Window,
            **{"from": places[:, inside].ravel(), "first": first.astype(np.int32), "to": output.places(y, x)},
            channels=source.shape[2],
            most=kh * kw,
        )

    def _count(self, output: Tensor) -> int:
        return output.shape[0] * output.shape[1]


class Mean(_Pool):
    """average_pool2d."""

    def forward(self, output: Tensor, clamp: Clamp) -> Iterator[Step]:
        zero, ends = self.specs[0].quantization.zero_point, steps.buffers(self.inputs[0], output)
        window, count = self._window(output), self._count(output)
        yield steps.step("mean_forward", table=window, zero=zero, clamp=clamp, **ends, count=count)

    def backward(self, output: Tensor, fresh: Sequence[bool]) -> Iterator[Step]:
        yield from _pool_backward("mean_backward", self.inputs[0], output, self._window(output), fresh)


class Maximum(_Pool):
    """max_pool2d."""

    def __init__(self, layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[Tensor]) -> None:
        super().__init__(layer, specs, inputs)
        self.state_bytes *= int(np.prod(layer.params["pool"]))

    def forward(self, output: Tensor, clamp: Clamp) -> Iterator[Step]:
        window, ends = self._window(output), steps.buffers(self.inputs[0], output)
        yield steps.step("maximum_forward", table=window, clamp=clamp, **ends, count=self._count(output))

    def backward(self, output: Tensor, fresh: Sequence[bool]) -> Iterator[Step]:
        yield from _pool_backward("maximum_backward", self.inputs[0], output, self._window(output), fresh)


class MeanTo(Bound):
    """mean2d: a depthwise convolution of ones over the whole map; every element gets the same derivative."""

    def __init__(self, layer: QLayer, specs: Sequence[TensorSpec], inputs: Sequence[Tensor]) -> None:
        super().__init__(layer, specs, inputs)
        h, w, c = inputs[0].shape
        ones = replace(
            layer,
            kind="depthwise_conv2d",
            params={**layer.params, **_PIXEL},
            weights=np.ones((h, w, c), np.int8),
            bias=np.zeros(c, np.int32),
            multiplier=np.full(c, layer.params["multiplier"], np.int32),
            shift=np.full(c, layer.params["shift"], np.int8),
        )
        self._sum = Depthwise(ones, specs, inputs)
        self._shares = Tensor.of(len(inputs[0].values), (c,))

    def forward(self, output: Tensor, clamp: Clamp) -> Iterator[Step]:
        yield from self._sum.forward(output, clamp)

    def backward(self, output: Tensor, fresh: Sequence[bool]) -> Iterator[Step]:
        shares, source, (h, w, c) = self._shares, self.inputs[0], self.inputs[0].shape
        to = shares.at()
        yield steps.passed(output.at(), self._sum.gain, to, 0, c)
        yield steps.copy((steps.Map(h, w, c, 0, 0, c), to[1]), source.at(), int(not fresh[0]))


class Pad(Bound):
    """pad2d: a copy into a larger map of zeros."""

    def forward(self, output: Tensor, clamp: Clamp) -> Iterator[Step]:
        source = self.inputs[0]
        yield steps.clear(output)
        yield steps.copy(source.at(), self._inner(output), 0)

    def backward(self, output: Tensor, fresh: Sequence[bool]) -> Iterator[Step]:
        source = self.inputs[0]
        yield steps.copy(self._inner(output), source.at(), int(not fresh[0]))

    def _inner(self, output: Tensor) -> steps.Place:
        """The part of the output that is not edge."""
        (h, w, c), (top, left), (image, row, pixel) = self.inputs[0].shape, self.layer.params["before"], output.strides
        first = (output.top + top) * row + (output.left + left) * pixel
        return steps.Map(h, w, c, pixel, row, image), ctypes.c_void_p(output.values.ctypes.data + 4 * first)


KINDS: Mapping[str, type[Bound]] = {
    "add": Add,
    "average_pool2d": Mean,
    "concatenate": Concatenate,
    "conv2d": Product,
    "dense": Dense,
    "depthwise_conv2d": Depthwise,
    "flatten": Renamed,
    "max_pool2d": Maximum,
    "mean2d": MeanTo,
    "pad2d": Pad,
}
"""By layer kind."""
_PIXEL: Mapping[str, Any] = {"stride": (1, 1), "padding": (0, 0)}


def _pool_backward(
    name: str, source: Tensor, output: Tensor, window: ctypes.Structure, fresh: Sequence[bool]
) -> Iterator[Step]:
    if fresh[0]:
        yield steps.clear(source)
    count = output.shape[0] * output.shape[1]
    yield steps.step(name, table=window, **steps.buffers(output, source), count=count)


@dataclass(frozen=True)
class _Phase:
    """Along one axis, the input elements whose windows begin at the same residue of the stride."""

    places: NDArray[np.int64]
    """Of the elements."""
    taps: NDArray[np.int64]
    """Weights that meet them, in ascending order of the outputs they lead to."""
    first: NDArray[np.int64]
    """The first of these outputs, which may be none, for each element; the others follow it."""


def _phases(size: int, kernel: int, stride: int, padding: int) -> Iterator[_Phase]:
    for residue in range(stride):
        places = np.arange((residue - padding) % stride, size, stride)
        taps = np.arange(residue, kernel, stride)[::-1]
        yield _Phase(places, taps, (places + padding - residue) // stride - len(taps) + 1)


def _reach(phases: Sequence[_Phase], outputs: int) -> tuple[int, int]:
    """How far the phases reach before the first output and beyond the last."""
    used = [phase for phase in phases if len(phase.taps) and len(phase.places)]
    before = max((-int(phase.first.min()) for phase in used), default=0)
    beyond = max((int(phase.first.max()) + len(phase.taps) - outputs for phase in used), default=0)
    return max(before, 0), max(beyond, 0)


def reach(layer: QLayer, size: tuple[int, ...]) -> Margins:
    """What the backward pass of a convolution whose input has `size` (h, w) reads around its output."""
    axes = zip(size, kernel(layer), layer.params["stride"], layer.params["padding"], strict=True)
    rows, columns = (
        _reach(list(_phases(*axis)), outputs) for axis, outputs in zip(axes, geometry.outputs(layer), strict=True)
    )
    return rows, columns


def kernel(layer: QLayer) -> tuple[int, int]:
    """(h, w) of a convolution's filter."""
    assert layer.weights is not None
    h, w = layer.weights.shape[1:3] if layer.kind == "conv2d" else layer.weights.shape[:2]
    return h, w
