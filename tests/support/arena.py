"""A network executed in one arena as its memory plan says, by the NumPy specification: what a firmware would compute if
every kernel did all that it may do to the memory that it was given."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from pipeline.codegen import cascade, planner, select
from pipeline.core import registry
from pipeline.core.nouns import Int8Array, KernelCall, QModel
from pipeline.network import geometry


class Arena:
    """The memory of one inference. Before a kernel reads its inputs it writes noise to its scratch, and to its output
    where that is not an input that it may overwrite."""

    def __init__(self, model: QModel, program: select.Program, seed: int = 0) -> None:
        self.model, self.calls, self.memory = model, program.calls, program.memory
        self.random = np.random.default_rng(seed)
        self.bytes = self.noise(program.memory.arena_bytes)

    def noise(self, size: int) -> Int8Array:
        return self.random.integers(-128, 128, size).astype(np.int8)

    def run(self, sample: Int8Array) -> Iterator[tuple[int, Int8Array]]:
        """Yields (number, output) of each layer whose output lies in the arena as a whole, when it does."""
        self.write(self.memory.tensor_offsets[0], sample)
        starts = {c.first: c for c in self.memory.cascades}
        inside = {i for c in self.memory.cascades for i in c.layers}
        for i, call in enumerate(self.calls):
            if i in starts:
                self.cascade(starts[i])
                yield starts[i].last, self.tensor(starts[i].output)
            elif i not in inside:
                if call is not None:
                    self.whole(i, call)
                yield i, self.tensor(i + 1)

    def write(self, offset: int, values: Int8Array) -> None:
        assert offset % planner.ALIGNMENT == 0 or values.ndim == 3
        self.bytes[offset : offset + values.size] = values.ravel()

    def tensor(self, number: int) -> Int8Array:
        """A copy of a whole tensor."""
        spec, offset = self.model.tensor(number), self.memory.tensor_offsets[number]
        return self.bytes[offset : offset + spec.size_bytes].reshape(spec.shape).copy()

    def whole(self, index: int, call: KernelCall) -> None:
        layer, offsets = self.model.layers[index], self.memory.tensor_offsets
        self.compute(index, call, layer, self.model.input_specs(layer), [offsets[t] for t in layer.inputs],
                     offsets[index + 1])  # fmt: skip

    def cascade(self, c: cascade.Cascade) -> None:
        for operation in itertools.chain.from_iterable(cascade.operations(self.model, c)):
            if isinstance(operation, cascade.Move):
                start = self.at(cascade.Place(operation.source.tensor, 0))
                source, size = self.at(operation.source), operation.rows * self.row(operation.source.tensor)
                self.bytes[start : start + size] = self.bytes[source : source + size].copy()
                continue
            work, layer = operation.work, self.model.layers[operation.work.layer]
            window = registry.load("layers", layer.kind).row_window(layer)
            part, specs = geometry.stripe(layer, self.model.input_specs(layer), window, *work.rows)
            self.compute(work.layer, work.call, part, specs, [self.at(p) for p in operation.inputs],
                         self.at(operation.output))  # fmt: skip

    def at(self, place: cascade.Place) -> int:
        return self.memory.tensor_offsets[place.tensor] + place.row * self.row(place.tensor)

    def row(self, tensor: int) -> int:
        return int(np.prod(self.model.tensor(tensor).shape[1:]))

    def compute(self, index, call, layer, specs, inputs: list[int], output: int) -> None:
        size, scratch = layer.output.size_bytes, self.memory.scratch_offsets[index]
        values = [self.bytes[at : at + spec.size_bytes] for at, spec in zip(inputs, specs, strict=True)]
        if scratch is not None:
            self.write(scratch, self.noise(call.scratch_bytes))
        if call.in_place is None or (inputs[call.in_place], specs[call.in_place].size_bytes) != (output, size):
            self.bytes[output : output + size] = self.noise(size)
        shaped = [value.reshape(1, *spec.shape).copy() for value, spec in zip(values, specs, strict=True)]
        result = registry.load("layers", layer.kind).reference(layer, specs, shaped)[0]
        assert output + size <= len(self.bytes)
        self.bytes[output : output + size] = result.ravel()
