"""Shapes that a .tflite file computes while it runs, of tensors whose shapes are known: SHAPE, STRIDED_SLICE and PACK.
Keras's Reshape is converted to them and a RESHAPE, for a batch of any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.importers.flatbuffer import Row

Sizes = NDArray[np.int32]
"""A vector of sizes, or one of them."""


def part(operands: Sequence[NDArray[Any]], options: Row) -> Sizes:
    """STRIDED_SLICE of a vector, (vector, begin, end, stride). ValueError: another one."""
    vector, *ends = operands
    others = [name for name in ("ellipsis_mask", "new_axis_mask", "offset") if options[name]]
    if vector.ndim != 1 or any(end.shape != (1,) for end in ends) or others:
        raise ValueError(f"slices {vector.ndim} axes with {', '.join(others) or 'no mask'}")
    begin, end, stride = (int(end[0]) for end in ends)
    if options["shrink_axis_mask"]:
        if not -len(vector) <= begin < len(vector):
            raise ValueError(f"takes element {begin} of {len(vector)}")
        return np.asarray(vector[begin], np.int32)
    if stride != 1:
        raise ValueError(f"slices with a stride of {stride}")
    return np.asarray(vector[None if options["begin_mask"] else begin : None if options["end_mask"] else end], np.int32)


def pack(operands: Sequence[NDArray[Any]], options: Row) -> Sizes:
    """PACK of single sizes to a vector. ValueError: another one."""
    if any(operand.ndim for operand in operands) or options["values_count"] != len(operands):
        raise ValueError(f"packs {options['values_count']} values of the shapes {[o.shape for o in operands]}")
    return np.array([int(operand) for operand in operands], np.int32)
