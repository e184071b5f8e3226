"""The twin: a QModel on this machine, bit for bit what the device computes.

`run` goes through batch.c, many samples at once; `trace` through the portable C kernels of firmware/nn, compiled here,
layer by layer; `specification` through NumPy. They agree by test (tests/conformance), so any stands for the arithmetic.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from pipeline.core import registry
from pipeline.core.nouns import Arg, Int8Array, KernelCall, Progress, QLayer, QModel, TensorSpec, no_progress
from pipeline.network import batch, host
from pipeline.network.batch import Workspaces

Chooser = Callable[[QLayer, Sequence[TensorSpec]], KernelCall | None]
SHOWN_SAMPLES = 1024
"""Between two looks at how far it is."""


def run(model: QModel, x: Int8Array, progress: Progress = no_progress) -> Int8Array:
    """int8 (n, *output shape): the device's answers to x int8 (n, *input shape), computed on all cores."""
    return Twin(model).run(x, progress)


def trace(model: QModel, x: Int8Array, kernel: Chooser | None = None) -> list[Int8Array]:
    """Every layer's output, int8 (n, *shape) each, in layer order.

    kernel: (layer, specs) -> its KernelCall, a portable one; None: the reference kernels.
    """
    network = _Network(model, kernel or _reference)
    outputs = [np.empty((len(x), *layer.output.shape), np.int8) for layer in model.layers]
    for i, sample in enumerate(x):
        for output, value in zip(outputs, network.layers_of(sample), strict=True):
            output[i] = value
    return outputs


def specification(model: QModel, x: Int8Array) -> list[Int8Array]:
    """As `trace`, by the NumPy specification: slow, independent of any C compiler."""
    tensors = [x]
    for layer in model.layers:
        module = registry.load("layers", layer.kind)
        tensors.append(module.reference(layer, model.input_specs(layer), [tensors[t] for t in layer.inputs]))
    return tensors[1:]


def _reference(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall | None:
    call: KernelCall | None = registry.load("layers", layer.kind).kernel(layer, specs)
    return call


class Twin:
    """The twin of a model, made ready once: for who asks often. Several threads may ask."""

    def __init__(self, model: QModel) -> None:
        self.model = model
        self._batches = Workspaces(model) if batch.serves(model) else None

    def run(self, x: Int8Array, progress: Progress = no_progress) -> Int8Array:
        """int8 (n, *output shape): the device's answers to x int8 (n, *input shape), computed on all cores."""
        parts = []
        for start in range(0, len(x), SHOWN_SAMPLES):
            part = x[start : start + SHOWN_SAMPLES]
            parts.append(self._batches.outputs(part) if self._batches else trace(self.model, part)[-1])
            progress("twin", start + len(part), len(x), "")
        shape = (len(x), *self.model.output.shape)
        return np.concatenate(parts).reshape(shape) if parts else np.empty(shape, np.int8)


class _Network:
    """One thread's buffers and bound calls for a model."""

    def __init__(self, model: QModel, kernel: Chooser) -> None:
        self._tensors = [np.zeros(model.tensor(t).shape, np.int8) for t in range(len(model.layers) + 1)]
        self._steps: list[Callable[[], object]] = []
        self._keep: list[object] = []
        for i, layer in enumerate(model.layers):
            inputs = [self._tensors[t] for t in layer.inputs]
            call = kernel(layer, model.input_specs(layer))
            self._steps.append(self._bind(call, inputs, self._tensors[i + 1]))

    def layers_of(self, sample: Int8Array) -> Iterator[Int8Array]:
        """The output of each layer in turn; a buffer that the next sample overwrites."""
        self._tensors[0][...] = sample
        for step, tensor in zip(self._steps, self._tensors[1:], strict=True):
            step()
            yield tensor

    def _bind(self, call: KernelCall | None, inputs: Sequence[Int8Array], output: Int8Array) -> Callable[[], object]:
        if call is None:
            return lambda: np.copyto(output, inputs[0].reshape(output.shape))
        function = getattr(_library(), call.function)
        tables = {name: np.ascontiguousarray(table) for name, table in call.tables.items()}
        scratch = np.zeros(call.scratch_bytes, np.int8)
        arguments = tuple(self._argument(arg, inputs, output, tables, scratch) for arg in call.args)
        self._keep += [tables, scratch]
        return lambda: function(*arguments)

    def _argument(
        self, arg: Arg, inputs: Sequence[Int8Array], output: Int8Array, tables: Mapping[str, Any], scratch: Int8Array
    ) -> ctypes.c_void_p:
        if arg.kind == "input":
            return ctypes.c_void_p(inputs[arg.index].ctypes.data)
        if arg.kind == "output":
            return ctypes.c_void_p(output.ctypes.data)
        if arg.kind == "table":
            return ctypes.c_void_p(tables[arg.name].ctypes.data)
        if arg.kind == "ctx":
            return self._pointer(_Context(scratch.ctypes.data, scratch.size))
        if arg.kind == "quant":
            return self._pointer(_Quant(tables["multiplier"].ctypes.data, tables["shift"].ctypes.data))
        values = list(_flatten(arg.fields))
        return self._pointer((ctypes.c_int32 * len(values))(*values))

    def _pointer(self, value: Any) -> ctypes.c_void_p:
        self._keep.append(value)
        return ctypes.cast(ctypes.byref(value), ctypes.c_void_p)


class _Context(ctypes.Structure):
    _fields_ = (("buf", ctypes.c_void_p), ("size", ctypes.c_int32))


class _Quant(ctypes.Structure):
    _fields_ = (("multiplier", ctypes.c_void_p), ("shift", ctypes.c_void_p))


def _flatten(fields: Mapping[str, Any]) -> Iterator[int]:
    """All ints of a (nested) struct in order: every parameter struct of nn.h consists of int32 members only."""
    for value in fields.values():
        if isinstance(value, Mapping):
            yield from _flatten(value)
        else:
            yield int(value)


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    """The portable kernels."""
    return host.library("libnn.so", [path for folder in host.portable_folders() for path in sorted(folder.glob("*.c"))])
