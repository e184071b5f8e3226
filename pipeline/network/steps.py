"""Steps: calls of batch.c, bound to one thread's buffers, that keep what they point to."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core import paths
from pipeline.core.nouns import FloatArray
from pipeline.network import host

SOURCE = paths.PACKAGE / "network" / "batch.c"
FLAGS = ("-ffp-contract=fast",)
"""A product and its sum may become one instruction: sums of integers stay exact."""
EXACT = 1 << 24
"""Integers below this are exact in float32."""
LANES, GROUP = 8, 16
"""Of batch.c."""
Margins = tuple[tuple[int, int], tuple[int, int]]
Step = Callable[[int, int], object]
"""step(samples, address of the layer's state of the first of them)."""


class Map(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_int32) for name in ("h", "w", "c", "pixel", "row", "image"))


class Clamp(ctypes.Structure):
    _fields_ = (
        ("rounded", ctypes.c_int32),
        *((name, ctypes.c_float) for name in ("low", "high", "pass_low", "pass_high")),
    )


class Requant(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_void_p) for name in ("gain", "bias", "multiplier", "shift"))


class Product(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weights", "from", "to", "row")),
        *((name, ctypes.c_int32) for name in ("rows", "run", "channels", "wide")),
    )


class Depthwise(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weights", "from", "to", "tap")),
        *((name, ctypes.c_int32) for name in ("taps", "channels", "expand", "reduce")),
    )


class Window(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("from", "first", "to")),
        *((name, ctypes.c_int32) for name in ("channels", "most")),
    )


class Rescale(ctypes.Structure):
    _fields_ = (("multiplier", ctypes.c_int32), ("shift", ctypes.c_int32), ("factor", ctypes.c_float))


@dataclass(frozen=True)
class Tensor:
    """What is known of a tensor for one chunk: forward its values, backward the derivatives by them, which need the
    values no more. Zeros around them."""

    values: FloatArray
    """float32 (samples, top + h + bottom, left + w + right, c): lattice coordinates minus the zero point, or
    derivatives."""
    shape: tuple[int, int, int]
    """(h, w, c); of a vector (1, 1, c)."""
    top: int
    """Rows of zeros before the first."""
    left: int
    """Columns of zeros before the first."""

    @staticmethod
    def of(samples: int, shape: tuple[int, ...], margins: Iterable[Margins] = ()) -> Tensor:
        """A tensor with room for all of the margins ((top, bottom), (left, right))."""
        h, w, c = shape if len(shape) == 3 else (1, 1, int(np.prod(shape)))
        sides = np.array([((0, 0), (0, 0)), *margins]).max(axis=0)
        (top, bottom), (left, right) = sides.tolist()
        values = np.zeros((samples, top + h + bottom, left + w + right, c), np.float32)
        return Tensor(values, (h, w, c), top, left)

    @property
    def layout(self) -> tuple[Any, ...]:
        """Equal where two tensors can be in the same memory, one after the other."""
        return self.values.shape, self.shape, self.top, self.left

    @property
    def is_dense(self) -> bool:
        """Whether it has no margin."""
        return self.values.shape[1:] == self.shape

    @property
    def strides(self) -> tuple[int, int, int]:
        """Floats from one image, row and pixel to the next."""
        _, rows, columns, c = self.values.shape
        return rows * columns * c, columns * c, c

    @property
    def inside(self) -> tuple[slice, ...]:
        """Index of what is no margin."""
        h, w, _ = self.shape
        return slice(None), slice(self.top, self.top + h), slice(self.left, self.left + w)

    def at(self, first: int = 0, channels: int | None = None) -> tuple[Map, ctypes.c_void_p]:
        """The map of the tensor, or of a slice of its channels, and the address of its first element."""
        (h, w, c), (image, row, pixel) = self.shape, self.strides
        offset = self.top * row + self.left * pixel + first
        return Map(h, w, channels or c, pixel, row, image), ctypes.c_void_p(self.values.ctypes.data + 4 * offset)

    def places(self, y: NDArray[Any], x: NDArray[Any]) -> NDArray[np.int32]:
        """int32 (samples * positions,): offsets of the pixels (y, x), which may lie in the margin."""
        image, row, pixel = self.strides
        images = np.arange(len(self.values))[:, None] * image
        return np.asarray(images + ((y + self.top) * row + (x + self.left) * pixel).ravel(), np.int32).ravel()


def grid(h: int, w: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column of every position of a map, in memory order."""
    y, x = np.indices((h, w))
    return y.ravel(), x.ravel()


def structure(kind: type[ctypes.Structure], **fields: Any) -> ctypes.Structure:
    """A structure of these fields that keeps the arrays its pointers lead to."""
    arrays = {k: np.ascontiguousarray(v) for k, v in fields.items() if isinstance(v, np.ndarray)}
    made = kind(**fields | {k: v.ctypes.data for k, v in arrays.items()})
    made.arrays = arrays
    return made


def step(name: str, *fixed: Any, state: bool = False, count: int = 1, skip: int = 0) -> Step:
    """A call of the function with these arguments, the state `skip` bytes on if it takes one, and samples * count."""
    function = getattr(library(), name)
    arguments = tuple(_argument(value) for value in fixed)

    def stateless(samples: int, _: int, kept: object = fixed) -> None:
        function(*arguments, samples * count)

    def stateful(samples: int, address: int, kept: object = fixed) -> None:
        function(*arguments, ctypes.c_void_p(address + skip), samples * count)

    return stateful if state else stateless


def _argument(value: Any) -> Any:
    if isinstance(value, ctypes.Structure | ctypes.Array):
        return ctypes.byref(value)
    return ctypes.c_void_p(value.ctypes.data) if isinstance(value, np.ndarray) else value


def _factors(source: tuple[Map, ctypes.c_void_p], factor: FloatArray | float) -> FloatArray:
    """float32 (w * c,): the factor of every element of the map's rows, from that of all or of each channel."""
    shape = source[0]
    return np.tile(np.broadcast_to(np.asarray(factor, np.float32), shape.c), shape.w)


def passed(
    source: tuple[Map, ctypes.c_void_p],
    factor: FloatArray | float,
    to: tuple[Map, ctypes.c_void_p],
    add: int,
    pixel: int,
    skip: int = 0,
) -> Step:
    """Writes or adds the elements of one map, times the factor, where the layer's state lets them pass, to another of
    its shape; the state has `pixel` bytes a pixel, of which the map's begin after `skip`."""
    return step("pass", *source, _factors(source, factor), *to, add, pixel, state=True, skip=skip)


def copy(source: tuple[Map, ctypes.c_void_p], to: tuple[Map, ctypes.c_void_p], add: int) -> Step:
    """Writes or adds the elements of one map to another of its shape."""
    return step("pass", *source, _factors(source, 1.0), *to, add, 0, None)


def reshape(source: Tensor, to: Tensor, add: int) -> Step:
    """Writes or adds the elements of one tensor to another, which may have another shape, in memory order."""
    if source.shape == to.shape:
        return copy(source.at(), to.at(), add)
    if to.is_dense:
        return copy(source.at(), _as_map(to, source), add)
    if source.is_dense:
        return copy(_as_map(source, to), to.at(), add)
    between = Tensor.of(len(source.values), (math.prod(source.shape),))
    there, on = reshape(source, between, 0), reshape(between, to, add)

    def both(samples: int, state: int, kept: object = between) -> None:
        there(samples, state)
        on(samples, state)

    return both


def _as_map(dense: Tensor, shaped: Tensor) -> tuple[Map, ctypes.c_void_p]:
    """The tensor without margins as a map of the other's shape."""
    h, w, c = shaped.shape
    return Map(h, w, c, c, w * c, dense.strides[0]), ctypes.c_void_p(dense.values.ctypes.data)


def clear(tensor: Tensor) -> Step:
    """Sets the tensor to 0."""
    return lambda samples, state: tensor.values.fill(0)


def addresses(source: Tensor, to: Tensor) -> tuple[ctypes.c_void_p, ctypes.c_void_p]:
    return ctypes.c_void_p(source.values.ctypes.data), ctypes.c_void_p(to.values.ctypes.data)


def product(
    weights: NDArray[Any], reads: NDArray[Any], to: NDArray[Any], rows: NDArray[Any], run: int, wide: bool
) -> ctypes.Structure:
    """weights (rows * run, channels)."""
    terms, channels = weights.shape
    width = GROUP if channels > LANES else LANES
    padded = np.pad(weights.astype(np.float32), ((0, 0), (0, -channels % width)))
    grouped = padded.reshape(terms, -1, width).transpose(1, 0, 2)
    tables = {"weights": grouped, "from": reads, "to": to, "row": rows.astype(np.int32)}
    return structure(Product, **tables, rows=len(rows), run=run, channels=channels, wide=wide)


def depthwise(
    weights: NDArray[Any], reads: NDArray[Any], to: NDArray[Any], taps: NDArray[Any], channels: int, *terms: int
) -> ctypes.Structure:
    """weights (taps, channels * reduce); terms: expand, reduce."""
    tables = {"weights": weights.astype(np.float32), "from": reads, "to": to, "tap": taps.astype(np.int32)}
    expand, reduce = terms
    return structure(Depthwise, **tables, taps=len(taps), channels=channels, expand=expand, reduce=reduce)


def taps(kh: int, kw: int, source: Tensor) -> NDArray[np.int64]:
    """Offset of every tap of a window."""
    y, x = grid(kh, kw)
    return y * source.strides[1] + x * source.strides[2]


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """batch.c for this machine, built once into the user's cache."""
    return host.library("libbatch.so", [SOURCE], FLAGS)
