"""`tritmcu ternarize`: a float Keras network becomes a ternary one."""

from __future__ import annotations

import argparse
import json
import shlex
from dataclasses import replace
from pathlib import Path

from pipeline.cli import options
from pipeline.cli.command import Command, Option
from pipeline.cli.commands.imports import INPUT_RANGE

FILE = Option("file", "trained Keras network (.keras, .h5)", {"type": Path, "metavar": "MODEL"}, options.WHAT)
DATASET = Option(
    "--dataset",
    "data set that it is trained on: its name, an .npz file, a folder, or a TOML file with [dataset]",
    {"metavar": "NAME", "required": True},
    options.WHAT,
)
RECIPE = Option(
    "--recipe",
    "job whose [train] and bits are taken; by default 20 epochs of stochastic ternary training",
    {"metavar": "JOB", "default": ""},
    options.WHAT,
)
MADE = Option(
    "--name",
    "name of the new network; by default the file's with _ternary",
    {"metavar": "NAME", "default": ""},
    options.WHAT,
)
WIDTHS = (1, 2, 3, 4, 8)
FIRST_BITS = Option(
    "--first-bits",
    "bits of the first layer's weights; by default the recipe's, else 2",
    {"type": int, "choices": WIDTHS},
    options.WHAT,
)
LAST_BITS = Option(
    "--last-bits",
    "bits of the last layer's weights; by default the recipe's, else 2",
    {"type": int, "choices": WIDTHS},
    options.WHAT,
)
EPS = Option(
    "--eps",
    "budget of the attack on both networks, in real input units; by default the recipe's largest, else 8/255",
    {"metavar": "EPS", "default": ""},
    options.WHAT,
)


EPOCHS = replace(options.EPOCHS, help="train for N epochs instead of the recipe's")
SEED = replace(options.SEED, help="seed of every random draw, instead of the recipe's")
BOARD = replace(options.BOARD, help="board instead of the recipe's, else netduinoplus2; `tritmcu boards` lists them")


class Ternarize(Command):
    """Trained on from the file's weights, taught by the file's network."""

    NAME = "ternarize"
    HELP = "make a float Keras network ternary, and compare it with the original"
    OPTIONS = (
        FILE, DATASET, RECIPE, MADE, FIRST_BITS, LAST_BITS, INPUT_RANGE, EPS, EPOCHS, SEED, options.LIMIT,
        BOARD, options.RUN_DIR, options.KERNELS, options.RESUME, options.FRESH, options.JSON,
    )  # fmt: skip

    def invoke(self, arguments: argparse.Namespace) -> int:
        from contextlib import closing

        from pipeline.analysis import compare
        from pipeline.cli import console, runs
        from pipeline.workflow import ternarization

        plan = runs.ternary_plan(arguments)
        with closing(console.display()) as display:
            found = ternarization.ternarize(plan, runs.RUNS, display)
        if arguments.json:
            console.stdout(json.dumps(compare.numbers(found), indent=1))
        else:
            console.comparison(compare.columns(found), list(compare.rows(found)), list(compare.layer_rows(found)))
        where = [word for option in (BOARD, options.KERNELS) for word in option.cli_args(arguments)]
        words = ["tritmcu", "run", "--model", str(plan.folder / "qmodel"), *where]
        console.stderr(f"next: {shlex.join(words)}")
        return 0
