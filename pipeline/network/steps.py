"""Steps of batch.c, bound to one thread's buffers, that keep what they point to."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterable, Iterator, Sequence
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
Place = tuple["Map", ctypes.c_void_p]
"""Shape and first element of a tensor, or of a part of one."""


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


class Step(ctypes.Structure):
    """A function of batch.c with what it reads and writes; `kept` holds what its pointers lead to."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("run", "table", "requant", "rescales", "factor", "in", "in2", "out")),
        ("clamp", Clamp),
        *((name, Map) for name in ("from", "from2", "to")),
        *((name, ctypes.c_int32) for name in ("count", "before", "add", "pixel", "first", "zero")),
    )


class Network(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("forward", "backward", "input", "last", "real")),
        *((name, Map) for name in ("input_map", "last_map", "real_map")),
        *((name, ctypes.c_int32) for name in ("forward_steps", "backward_steps", "chunk", "state", "zero")),
    )


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

    def at(self, first: int = 0, channels: int | None = None) -> Place:
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


def step(name: str, **fields: Any) -> Step:
    """A step by the function of this name."""
    made = Step(**{k: _field(v) for k, v in fields.items()})
    made.run = ctypes.cast(getattr(library(), name), ctypes.c_void_p)
    made.kept = fields
    return made


def _field(value: Any) -> Any:
    """Maps and clamps are part of a step, other structures and arrays are pointed to."""
    if isinstance(value, ctypes.Structure | ctypes.Array) and not isinstance(value, Map | Clamp):
        return ctypes.addressof(value)
    return value.ctypes.data if isinstance(value, np.ndarray) else value


def table(steps: Sequence[Step]) -> ctypes.Array[Step]:
    """The steps in a row, for `run` of batch.c."""
    made = (Step * len(steps))(*steps)
    made.kept = steps  # type: ignore[attr-defined]
    return made


def reads(place: Place, number: str = "") -> dict[str, Any]:
    """Fields of a step that reads this place; number: "2" if it is the second."""
    return {f"from{number}": place[0], f"in{number}": place[1]}


def writes(place: Place) -> dict[str, Any]:
    """Fields of a step that writes this place."""
    return {"to": place[0], "out": place[1]}


def buffers(source: Tensor, to: Tensor) -> dict[str, Any]:
    """Fields of a step that finds its elements in the tensors by its tables."""
    return {"in": source.values, "out": to.values}


def passed(source: Place, factor: FloatArray | float, to: Place, add: int, pixel: int, first: int = 0) -> Step:
    """Writes or adds the elements of one map, times the factor, where the layer's state lets them pass, to another of
    its shape. factor: of all or of each channel; the state has `pixel` bytes a pixel, of which the map's begin with
    `first`; 0 where all pass."""
    shape = source[0]
    factors = np.tile(np.broadcast_to(np.asarray(factor, np.float32), shape.c), shape.w)
    return step("pass", **reads(source), **writes(to), factor=factors, add=add, pixel=pixel, first=first)


def copy(source: Place, to: Place, add: int) -> Step:
    """Writes or adds the elements of one map to another of its shape."""
    return passed(source, 1.0, to, add, 0)


def reshape(source: Tensor, to: Tensor, add: int) -> Iterator[Step]:
    """Steps that write or add the elements of one tensor to another, which may have another shape, in memory order."""
    if source.shape == to.shape:
        yield copy(source.at(), to.at(), add)
    elif to.is_dense:
        yield copy(source.at(), _as_map(to, source), add)
    elif source.is_dense:
        yield copy(_as_map(source, to), to.at(), add)
    else:
        between = Tensor.of(len(source.values), (math.prod(source.shape),))
        for each in (*reshape(source, between, 0), *reshape(between, to, add)):
            each.kept = each.kept, between
            yield each


def _as_map(dense: Tensor, shaped: Tensor) -> Place:
    """The tensor without margins as a map of the other's shape."""
    h, w, c = shaped.shape
    return Map(h, w, c, c, w * c, dense.strides[0]), ctypes.c_void_p(dense.values.ctypes.data)


def clear(tensor: Tensor) -> Step:
    """Sets the tensor to 0."""
    return step("clear", out=tensor.values, count=tensor.strides[0])


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
