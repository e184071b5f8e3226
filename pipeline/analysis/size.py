"""What a firmware occupies, by owner, and how it differs from another one: a tree, a Markdown table, an HTML page."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from pipeline.analysis.treemap import Rectangle, squarify
from pipeline.core import names, schema, templates, text
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import FLASH, RAM, Image
from pipeline.core.schema import Label, Name, Strict

FORMAT = 1
"""Of the JSON; changes when a key changes its meaning or goes away."""
MEMORIES = (FLASH, RAM)
UNLIMITED: Mapping[str, int] = {}
LAYERS = "layers"
"""Group of a layer's tables and its call."""
LARGEST = 5
"""Parts that a message names."""
UNSERVED = "no fast kernel computes this layer"
"""Of a layer that the portable kernel computes."""
CHANGES = 30
"""Changed parts that the Markdown table lists; the rest of them in one line."""
PAGE = Rectangle(0, 0, 1000, 560)
"""Of a treemap."""
STRIP, MARGIN, CHARACTER = 15.0, 1.5, 5.8
"""Height of a heading inside a treemap, what is free around a rectangle, and the width of a character."""

Owner = Annotated[str, AfterValidator(names.Spelling(re.compile(r".+"), 1000, "printable characters, 1 to 1000"))]
Size = Annotated[int, Field(ge=0)]


class SizedPart(Strict):
    """Bytes with one owner, as nouns.Part has them."""

    path: Annotated[tuple[Owner, ...], Field(min_length=1, max_length=8)]
    """Names from the group down to the function or variable."""
    bytes: Annotated[int, Field(gt=0)]
    """How many."""


class Sizes(Strict):
    """What one firmware occupies: what `tritmcu size --json` prints."""

    format: Literal[1] = 1
    """FORMAT."""
    name: Label
    """Of the network or run."""
    board: Name
    """What it was built for."""
    compiler: Label
    """First line of the compiler's --version."""
    flash_bytes: Size
    """Sum of `flash`."""
    flash_limit_bytes: Size
    """What the board has."""
    ram_bytes: Size
    """Sum of `ram`, the reserved stack included."""
    ram_limit_bytes: Size
    """What the board has."""
    flash: tuple[SizedPart, ...]
    """Every byte of the flash."""
    ram: tuple[SizedPart, ...]
    """Every byte of the RAM."""
    unserved: dict[Owner, Owner] = Field(default_factory=dict)
    """By name of the layers that only their portable kernel computes: what the core's faster kernels ask for."""
    kernels: dict[Owner, Owner] = Field(default_factory=dict)
    """By name of the layers that are computed: the C function that does it."""
    cascades: dict[Owner, Owner] = Field(default_factory=dict)
    """By name of the layers of a cascade: its last layer, in whose run they are computed."""

    @property
    def title(self) -> str:
        return f"{self.name} on {self.board}"

    def parts(self, memory: str) -> tuple[SizedPart, ...]:
        """Of FLASH or RAM."""
        return self.flash if memory == FLASH else self.ram

    def total(self, memory: str) -> int:
        """Bytes in FLASH or RAM."""
        return self.flash_bytes if memory == FLASH else self.ram_bytes

    def limit(self, memory: str) -> int:
        """Bytes of the board's FLASH or RAM."""
        return self.flash_limit_bytes if memory == FLASH else self.ram_limit_bytes


@dataclass(frozen=True)
class Node:
    """A group of parts, or one part."""

    name: str
    """Of the group, function or variable."""
    size: int
    """Bytes."""
    before: int | None
    """Bytes in the firmware it is compared with, 0 where that has none; None without one."""
    children: tuple[Node, ...] = ()
    """Largest first; sizes add up to its own."""

    @property
    def change(self) -> int:
        """Bytes more than before; 0 without a comparison."""
        return 0 if self.before is None else self.size - self.before


def of_image(image: Image, name: str, flash_limit_bytes: int, ram_limit_bytes: int) -> Sizes:
    """What an image occupies. name: of the network or run; limits: of its board."""
    listed = {
        memory: tuple(SizedPart(path=part.path, bytes=part.size) for part in image.parts if part.memory == memory)
        for memory in MEMORIES
    }
    return Sizes(
        name=name,
        board=image.board,
        compiler=image.compiler,
        flash_bytes=image.flash_bytes,
        flash_limit_bytes=flash_limit_bytes,
        ram_bytes=image.ram_bytes + image.stack_bytes,
        ram_limit_bytes=ram_limit_bytes,
        flash=listed[FLASH],
        ram=listed[RAM],
        unserved=dict(image.unserved),
        kernels=dict(image.kernels),
        cascades=dict(image.cascades),
    )


def load(path: Path) -> Sizes:
    """What `tritmcu size --json` wrote. ConfigError: something else, or parts that do not add up."""
    content = schema.parse_json(schema.read_text(path), path)
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: is not what tritmcu size --json prints", "tritmcu size NETWORK --json > FILE")
    found = schema.validate(Sizes, {key: value for key, value in content.items() if key != "diff"}, str(path))
    for memory in MEMORIES:
        total = sum(part.bytes for part in found.parts(memory))
        if total != found.total(memory):
            raise ConfigError(f"{path}: the parts of the {memory} add up to {total} bytes, not {found.total(memory)}")
    return found


def tree(memory: str, sizes: Sizes, before: Sizes | None = None) -> Node:
    """All parts of FLASH or RAM under one root of that name; before: what each is compared with."""
    entries: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0, 0])
    for column, firmware in enumerate((sizes, before)):
        for part in firmware.parts(memory) if firmware else ():
            entries[part.path][column] += part.bytes
    return _grown(memory, {path: (now, then) for path, (now, then) in entries.items()}, before is not None)


def _grown(name: str, entries: Mapping[tuple[str, ...], tuple[int, int]], compared: bool) -> Node:
    groups: dict[str, dict[tuple[str, ...], tuple[int, int]]] = defaultdict(dict)
    for path, pair in entries.items():
        groups[path[0] if path else name][path[1:]] = pair
    size, before = (sum(column) for column in zip(*entries.values(), strict=True)) if entries else (0, 0)
    is_leaf = set(entries) <= {()}
    children = [] if is_leaf else [_grown(child, inner, compared) for child, inner in groups.items()]
    children.sort(key=lambda node: (-max(node.size, node.before or 0), node.name))
    return Node(name, size, before if compared else None, tuple(children))


def rows(root: Node, depth: int) -> Iterator[tuple[int, Node]]:
    """(level, node) in the order of a printed tree, `depth` levels below the root. Where there is a comparison, only
    what changed."""
    yield 0, root
    if depth:
        for child in root.children:
            if child.before is None or _differs(child):
                yield from ((level + 1, node) for level, node in rows(child, depth - 1))


def _differs(node: Node) -> bool:
    return bool(node.change) or any(map(_differs, node.children))


def leaves(node: Node, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Node]]:
    """(path without the root's name, part) of every part below a node."""
    for child in node.children:
        below = (*path, child.name)
        if child.children:
            yield from leaves(child, below)
        else:
            yield below, child


def changed(root: Node) -> list[tuple[tuple[str, ...], Node]]:
    """(path, part) of every part that differs, the largest change first."""
    differing = [(path, part) for path, part in leaves(root) if part.change]
    return sorted(differing, key=lambda found: (-abs(found[1].change), found[0]))


def largest(root: Node, count: int = LARGEST) -> list[tuple[str, int]]:
    """(name, bytes) of the largest layers, functions and variables, two levels below the root."""
    parts = [
        (f"{group.name}: {part.name}", part.size) for group in root.children for part in group.children if part.size
    ]
    return sorted(parts, key=lambda part: (-part[1], part[0]))[:count]


def layers(sizes: Sizes) -> list[tuple[str, int, str, str]]:
    """(layer, bytes of flash, the C function that computes it, the last layer of its cascade or "") of every layer that
    is computed, the largest first."""
    flash: dict[str, int] = defaultdict(int)
    for part in sizes.flash:
        if part.path[0] == LAYERS and len(part.path) > 1:
            flash[part.path[1]] += part.bytes
    found = [(name, flash[name], kernel, sizes.cascades.get(name, "")) for name, kernel in sizes.kernels.items()]
    return sorted(found, key=lambda layer: (-layer[1], layer[0]))


def used(root: Node, limit: int, allowed: int | None = None) -> str:
    """Share of the board's memory, `limit` bytes, and of the budget, `allowed`, in words; "" where neither is known."""
    of_board = [f"{text.percent(root.size / limit)} of the board"] if limit else []
    of_budget = [f"{text.percent(root.size / allowed)} of the budget of {text.size(allowed)}"] if allowed else []
    return ", ".join(of_board + of_budget)


def numbers(sizes: Sizes, before: Sizes | None = None) -> dict[str, Any]:
    """The content of the JSON, every key described in docs/SIZE.md; "diff" only where there is a comparison."""
    content = sizes.model_dump(mode="json")
    if before is not None:
        content["diff"] = {"name": before.name, "board": before.board, **_changes(sizes, before)}
    return content


def _changes(sizes: Sizes, before: Sizes) -> dict[str, Any]:
    return {
        memory.lower(): [
            {"path": list(path), "bytes": part.size, "before_bytes": part.before, "change_bytes": part.change}
            for path, part in changed(tree(memory, sizes, before))
        ]
        for memory in MEMORIES
    }


def markdown(sizes: Sizes, before: Sizes | None = None, budget: Mapping[str, int] = UNLIMITED) -> str:
    """Tables for a pull request: bytes by group, with a comparison also every change. budget: bytes by memory."""
    lines = [f"### Size of {templates.cell(sizes.title)}", ""]
    if before is not None:
        lines += [f"Compared with {templates.cell(before.title)}.", ""]
    for memory in MEMORIES:
        root = tree(memory, sizes, before)
        lines += _group_table(root, used(root, sizes.limit(memory), budget.get(memory)))
        lines += _change_table(root)
    lines += [f"- {templates.cell(name)}: {UNSERVED}; {templates.cell(why)}" for name, why in sizes.unserved.items()]
    named = (f"{templates.cell(name)} {text.count(count)} by {kernel}" for name, count, kernel, _ in layers(sizes))
    lines += [f"- bytes of layers: {', '.join(named)}"] if sizes.kernels else []
    return "\n".join(lines)


def _group_table(root: Node, share: str) -> list[str]:
    compared = root.before is not None
    head = ["", "bytes", *(["before", "change"] if compared else ["share"])]
    body = [[f"**{root.name}**{f' ({share})' if share else ''}", *_cells(root, root.size)]]
    body += [[templates.cell(group.name), *_cells(group, root.size)] for group in root.children]
    return [*_table(head, body), ""]


def _cells(node: Node, whole: int) -> list[str]:
    if node.before is None:
        return [text.count(node.size), text.percent(node.size / whole if whole else None)]
    return [text.count(node.size), text.count(node.before), text.signed(node.change)]


def _change_table(root: Node) -> list[str]:
    """Every change of a part, the largest first."""
    found = changed(root)
    if not found:
        return []
    body = [[templates.cell(" / ".join(path)), *_cells(part, 0)] for path, part in found[:CHANGES]]
    if rest := found[CHANGES:]:
        others = Node(f"{len(rest)} more", sum(p.size for _, p in rest), sum(p.before or 0 for _, p in rest))
        body.append([others.name, *_cells(others, 0)])
    heading = f"<details><summary>parts of the {root.name} that differ: {len(found)}</summary>"
    return [heading, "", *_table(["part", "bytes", "before", "change"], body), "", "</details>", ""]


def _table(head: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    rule = "|" + "|".join(["---", *["---:"] * (len(head) - 1)]) + "|"
    return [f"| {' | '.join(head)} |", rule, *(f"| {' | '.join(cells)} |" for cells in body)]


@dataclass(frozen=True)
class Tile:
    """One rectangle of a treemap."""

    place: Rectangle
    """Its place."""
    label: str
    """What is written into it; "" where there is no room."""
    title: str
    """What is shown when it is pointed at."""
    group: int
    """Number of its group, from 0: its colour."""
    level: int
    """1: a group, 2: what is in it, and so on."""
    is_open: bool
    """Whether others lie in it."""


def tiles(root: Node) -> list[Tile]:
    """The treemap of a memory, every tile before those in it. Parts that are gone have no area."""
    return list(_tiles(root, PAGE, (), 0, 1))


def _tiles(node: Node, place: Rectangle, path: tuple[str, ...], group: int, level: int) -> Iterator[Tile]:
    children = [child for child in node.children if child.size]
    for number, (child, spot) in enumerate(
        zip(children, squarify([child.size for child in children], place), strict=True)
    ):
        mine = group if level > 1 else number
        below = (*path, child.name)
        inside = spot.inner(MARGIN, STRIP)
        is_open = bool(child.children) and inside.width > STRIP and inside.height > STRIP / 2
        yield Tile(spot, _label(child.name, spot), _title(below, child), mine, level, is_open)
        if is_open:
            yield from _tiles(child, inside, below, mine, level + 1)


def _label(name: str, spot: Rectangle) -> str:
    fits = spot.width > CHARACTER * len(name) + 2 * MARGIN and spot.height > STRIP
    return name if fits else ""


def _title(path: tuple[str, ...], node: Node) -> str:
    change = "" if node.before is None else f" ({text.signed(node.change)})"
    return f"{' / '.join(path)}: {text.count(node.size)} bytes{change}"


def page(sizes: Sizes, before: Sizes | None = None, budget: Mapping[str, int] = UNLIMITED) -> str:
    """The HTML page: a treemap and a table of each memory. It opens offline. budget: bytes by memory."""
    roots = [tree(memory, sizes, before) for memory in MEMORIES]
    return (
        templates.pages()
        .get_template("size.html.j2")
        .render(
            sizes=sizes,
            before=before,
            layers=layers(sizes),
            memories=[
                {
                    "root": root,
                    "limit": sizes.limit(root.name),
                    "allowed": budget.get(root.name),
                    "tiles": tiles(root),
                    "rows": list(rows(root, 3)),
                    "changed": changed(root),
                }
                for root in roots
            ],
            map=PAGE,
        )
    )
