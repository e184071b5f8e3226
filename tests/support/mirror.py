"""A firmware that shows what has arrived: the output of its first layer is the sample itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.config import board
from pipeline.config.board import Board
from pipeline.core import registry
from pipeline.core.nouns import QModel, Sources
from pipeline.device.links import Link
from pipeline.stages import build, lower, render
from tests.conftest import Firmware
from tests.support import tiny

_LAYERS = """#include "model.h"
static void none(int8_t *arena) { (void)arena; }
const model_layer model_layers[MODEL_LAYERS] = {
    {none, MODEL_INPUT_OFFSET, MODEL_INPUT_BYTES}, {none, MODEL_INPUT_OFFSET, MODEL_OUTPUT_BYTES}};
"""


def network(shape: tuple[int, ...]) -> QModel:
    """Two layers, the first of which only renames the input."""
    b = tiny.Builder(shape)
    b.add("flat", "flatten", ["input"])
    b.weighted("logits", "dense", "flat", (int(np.prod(shape)), 10))
    return lower.lower(b.model("mirror"))


def built(folder: Path, name: str, shape: tuple[int, ...], **link: int | str) -> Firmware:
    """The mirror for that board, its link changed."""
    target = with_link(name, **link)
    return Firmware(network(shape), target, build.build(sources(target, shape), target, folder), folder)


def with_link(name: str, **link: int | str) -> Board:
    """That board, its link changed."""
    plain = board.load(name)
    return plain.model_copy(update={"link": plain.link.model_copy(update=link)})


def sources(target: Board, shape: tuple[int, ...]) -> Sources:
    """The mirror's sources; see `built`."""
    rendered = render.render(network(shape), target)
    return replace(rendered, files={**rendered.files, "generated/model.c": _LAYERS}, layers=())


@contextmanager
def opened(firmware: Firmware) -> Iterator[Link]:
    """A link to the firmware, which runs as long as the block."""
    runner = registry.load("runners", firmware.board.runner)
    kind = registry.load("links", firmware.board.link.kind)
    target: Board = firmware.board
    with runner.attach(target, firmware.folder) as place, closing(kind.open_link(target, place)) as link:
        yield link


def groups(count: int, size: int, reaches: Sequence[int], seed: int = 0) -> list[list[bytes]]:
    """`count` groups: a random sample of `size` elements, and for each of `reaches` one whose elements differ from it
    by -reach to reach - 1, both ends included, modulo 256."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        base = random.integers(0, 256, size).astype(np.uint8)
        group = [base.tobytes()]
        for reach in reaches:
            change = random.integers(-reach, reach, size)
            change[: 2 * (size // 4)] = np.tile([-reach, reach - 1], size // 4)
            group.append((base + random.permutation(change)).astype(np.uint8).tobytes())
        made.append(group)
    return made
