"""The tables of README.md and docs/BOARDS.md, from the zoo's cards, the stored bench and the board files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from bench import publish
from bench.measure import M4
from pipeline.analysis.trials import Accuracy
from pipeline.config import board as boards
from pipeline.core import paths, store, text
from pipeline.workflow import zoo

README = paths.RESOURCES / "README.md"
BOARDS = paths.RESOURCES / "docs" / "BOARDS.md"


def figures() -> str:
    """One row a network of the zoo: accuracy, bytes, and instructions on the Cortex-M4 beside CMSIS-NN's where the
    bench has measured that network."""
    measured = publish.read()["networks_by_core"][M4]
    head = ("network", "clean", "under PGD-20", "worst case", "bytes", "CMSIS-NN int8", "instructions", "CMSIS-NN int8")
    return publish.markdown(head, (_network(zoo.card(name), measured.get(name, {})) for name in zoo.names()))


def _network(card: zoo.Card, row: publish.Row) -> Iterable[str]:
    yield f"[`{card.name}`](zoo/{card.name}/README.md)"
    yield _percent(card.clean)
    yield ", ".join(f"{_percent(point)} at {point.eps}" for point in card.robust[:1]) or "–"
    yield ", ".join(f"{_percent(point)} at {point.eps}, {point.suite}" for point in card.worst[-1:]) or "–"
    yield text.count(card.tables_bytes)
    for key in ("cmsis_nn_table_bytes", "instructions", "cmsis_nn_instructions"):
        yield text.count(row[key]) if row.get(key) else "–"


def _percent(point: Accuracy) -> str:
    return f"{100 * point.accuracy:.1f} %"


def board_table() -> str:
    """The table of boards, as described in their files."""
    lines = ["| board | MCU | core | flash | RAM | runs | tried on silicon |", "|---|---|---|---|---|---|---|"]
    return "\n".join([*lines, *_board_rows()])


def _board_rows() -> Iterator[str]:
    for name in boards.names():
        b = boards.load(name)
        runs = "on this computer" if b.is_host else "emulated here" if b.emulator else "built here"
        memory = [f"{region.length // 1024} KiB" for region in (b.memory.flash, b.memory.ram)]
        tried = "–" if b.is_host else "yes" if b.silicon_tested else "no"
        cells = [f"`{name}`", b.mcu, b.core, *(["–", "–"] if b.is_host else memory)]
        yield f"| {' | '.join([*cells, runs if b.build_programs else 'exported', tried])} |"


TABLES = ((README, "figures", figures), (BOARDS, "boards", board_table))
"""File, marker in it, what stands between the markers."""


def updated(path: Path) -> str:
    """The text of a file with its generated tables up to date."""
    content = path.read_text(encoding="utf-8")
    for place, marker, table in TABLES:
        if place == path:
            before, _, rest = content.partition(f"<!-- {marker} -->")
            content = (
                f"{before}<!-- {marker} -->\n{table()}\n<!-- /{marker} -->{rest.partition(f'<!-- /{marker} -->')[2]}"
            )
    return content


if __name__ == "__main__":
    for path in dict.fromkeys(path for path, _, _ in TABLES):
        store.write_text(path, updated(path))
