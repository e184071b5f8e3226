"""A network as a chain of blocks, for penalties that look at each of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.training.blocks import weighted
from pipeline.training.keras_backend import keras


@dataclass(frozen=True)
class Segment:
    """One block of a network."""

    name: str
    """Of the block."""
    model: Any
    """A keras.Model that shares the network's layers, from the block before it to its own output."""


def segments(model: Any) -> tuple[Segment, ...]:
    """The blocks of a keras.Model, in order; applied one after the other they are the model.

    A block is as small as possible: one weighted layer with the normalization, activation and pooling after it, or a
    residual unit whole, for a block ends where a single tensor carries everything. Its name is that of its weighted
    layer, or what the names of several have in common up to a "_".
    """
    names = [layer.name for layer in weighted(model)]
    parts = _grouped(_pieces(model), set(names))
    tensor, found = model.input, []
    for part in parts:
        end = model.get_layer(part[-1]).output
        found.append(Segment(_name([name for name in part if name in names]), keras.Model(tensor, end)))
        tensor = end
    return tuple(found)


def _pieces(model: Any) -> Iterator[list[str]]:
    """Names of the layers, cut after every layer whose output is all that later layers read; the input left out."""
    order = {layer.name: number for number, layer in enumerate(model.layers)}
    reach, piece = 0, []
    for number, layer in enumerate(model.layers):
        piece.append(layer.name)
        if reach <= number:
            yield [name for name in piece if not isinstance(model.get_layer(name), keras.layers.InputLayer)]
            piece = []
        readers = [order[node.operation.name] for node in layer._outbound_nodes if node.operation.name in order]
        reach = max([reach, *readers])


def _grouped(pieces: Iterator[list[str]], heavy: set[str]) -> list[list[str]]:
    """The pieces joined so that each begins with one that has weights; what comes before the first joins it."""
    groups: list[list[str]] = [[]]
    for piece in pieces:
        if heavy & set(piece) and heavy & set(groups[-1]):
            groups.append([])
        groups[-1].extend(piece)
    return groups


def _name(names: list[str]) -> str:
    """What comes before the last "_" of the names' common beginning; the first name where that is nothing."""
    if len(names) == 1:
        return names[0]
    same = [len(set(letters)) == 1 for letters in zip(*names, strict=False)]
    common = names[0][: [*same, False].index(False)]
    return common.rpartition("_")[0] or names[0]
