"""`tritmcu size`: what every byte of a firmware is, and what changed."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli import options
from pipeline.cli.command import Command, Option

if TYPE_CHECKING:
    from pipeline.analysis.size import Sizes
    from pipeline.config.budget import CostBudget

SUBJECT = Option(
    "network",
    "network of the zoo, job, folder of a run or of a stored network, or a file that --json wrote",
    {"metavar": "NETWORK"},
    options.WHAT,
)
DIFF = Option(
    "--diff", "show the difference from another one, named in the same ways", {"metavar": "OTHER"}, options.WHAT
)
DEPTH = Option("--depth", "levels of the tree that are printed; by default 2", {"type": options.positive, "default": 2,
               "metavar": "N"}, options.HOW)  # fmt: skip
MARKDOWN = Option("--markdown", "print Markdown for a pull request", {"action": "store_true"}, selects=False)
HTML = Option(
    "--html",
    "HTML page; by default size.html in the folder of the run",
    {"type": Path, "metavar": "FILE"},
    selects=False,
)


class Size(Command):
    """Builds where there is no image yet; a run's image is taken as it is."""

    NAME = "size"
    HELP = "show what every byte of a firmware is, or what changed since another one"
    OPTIONS = (
        SUBJECT, DIFF, options.BOARD, options.KERNELS, options.TRITS, options.BUDGET, DEPTH, options.JSON, MARKDOWN,
        HTML,
    )  # fmt: skip

    def invoke(self, arguments: argparse.Namespace) -> int:
        from pipeline.analysis import budget, size
        from pipeline.cli import console, runs
        from pipeline.core import store

        given = runs.given_budget(arguments)
        sizes, page, of_job = _sizes(arguments.network, arguments)
        allowed = budget.of_memories(of_job.with_parts(given))
        before = _sizes(arguments.diff, arguments)[0] if arguments.diff else None
        page = arguments.html or (None if arguments.json or arguments.markdown else page)
        if arguments.json:
            console.stdout(json.dumps(size.numbers(sizes, before), indent=1))
        elif arguments.markdown:
            console.stdout(size.markdown(sizes, before, allowed))
        else:
            for memory in size.MEMORIES:
                root = size.tree(memory, sizes, before)
                share = size.used(root, sizes.limit(memory), allowed.get(memory))
                console.sizes(root, list(size.rows(root, arguments.depth)), share)
            console.layers(size.layers(sizes))
            console.unserved(sizes.unserved)
        if page is not None:
            store.write_text(page, size.page(sizes, before, allowed))
            console.stderr(str(page))
        budget.check_sizes(of_job.with_parts(given), sizes)
        return 0


def _sizes(word: str, arguments: argparse.Namespace) -> tuple[Sizes, Path | None, CostBudget]:
    """What the named firmware occupies; where its page belongs, None where that is nobody's folder; its job's
    budget."""
    from pipeline.analysis import size
    from pipeline.cli import runs
    from pipeline.config import board as boards
    from pipeline.config.budget import NO_BUDGET
    from pipeline.workflow import subjects

    path = Path(word)
    if path.suffix == ".json":
        return size.load(path), None, NO_BUDGET
    if (built := subjects.built_image(word, arguments.board)) is not None:
        image, folder = built
        name, board = folder.resolve().parent.name, boards.load(image.board)
        budget = subjects.stored_budget(folder.parent)
    else:
        plan = runs.subject(word, arguments)
        # Over its budget or not: it is to be seen first.
        image = runs.make_one(replace(plan, budget=NO_BUDGET), "build")
        name, board, budget, folder = plan.name, plan.board, plan.budget, plan.device_folder / subjects.IMAGE
    memory = board.memory
    return size.of_image(image, name, memory.flash.length, memory.ram.length), folder.parent / "size.html", budget
