"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.cli.command import Option
from pipeline.core import names


def positive(value: str) -> int:
    """The positive integer in decimal digits."""
    number = int(value) if value.isascii() and value.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{value!r} is not a positive integer")
    return number


def seed(value: str) -> int:
    """The integer in [0, 2^31) in decimal digits."""
    if not (value.isascii() and value.isdigit() and int(value) < 1 << 31):
        raise argparse.ArgumentTypeError(f"{value!r} is not an integer from 0 to 2^31 - 1")
    return int(value)


def place(value: str) -> str:
    """The name of a port or unit, as it is. An empty one, as of a shell variable that is not set, would mean none."""
    if not value:
        raise argparse.ArgumentTypeError("'' names nothing: is a variable of the shell not set?")
    try:
        return names.LABEL(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


WHAT, WHERE, HOW = "what to run", "where", "how"
"""Headings."""

JOB = Option("job", "job file, or name of a job in jobs/; by default digits", {"nargs": "?", "metavar": "JOB"}, WHAT)
MODEL = Option(
    "--model",
    "stored network instead of a job: its name (zoo or imported), its folder, or that of a run",
    {"type": Path, "metavar": "NETWORK"},
    WHAT,
)
DATASET = Option(
    "--dataset",
    "data set for a stored network: its name, an .npz file, a folder, a TOML file with [dataset], or random",
    {"metavar": "NAME"},
    WHAT,
)
EPOCHS = Option("--epochs", "train for N epochs instead of the job's", {"type": positive, "metavar": "N"}, WHAT)
SEED = Option("--seed", "seed of every random draw, instead of the job's", {"type": seed, "metavar": "N"}, WHAT)
LIMIT = Option(
    "--limit",
    "use only N test samples, drawn evenly from all classes; by default all",
    {"type": positive, "metavar": "N"},
    WHAT,
)

BOARD = Option("--board", "board instead of the job's; `tritmcu boards` lists them", {"metavar": "NAME"}, WHERE)
PORT = Option(
    "--port",
    "serial port of a real board; by default the one in rig.toml, or the only one",
    {"type": place, "metavar": "PORT"},
    WHERE,
)
UNIT = Option(
    "--unit",
    "which of several boards in rig.toml, by its name or USB serial number",
    {"type": place, "metavar": "NAME"},
    WHERE,
)
RUNNER = Option("--runner", "flashing tool, one of those that the board file names", {"metavar": "TOOL"}, WHERE)
RUN_DIR = Option("--run-dir", "keep everything in DIR instead of runs/NAME", {"type": Path, "metavar": "DIR"}, WHERE)

KERNELS = Option(
    "--kernels",
    "auto: tritmcu's fastest for the core; reference: its portable ones; cmsis-nn: those of an already built CMSIS-NN "
    "in CMSIS_NN_ROOT, and auto for what it lacks; best: auto or cmsis-nn for each layer, whichever takes the board "
    "fewer ticks; by default the job's, else auto",
    {"choices": ("auto", "reference", "cmsis-nn", "best")},
    HOW,
)
TRITS = Option(
    "--trits-per-byte",
    "ternary weights per byte of flash, instead of the job's; 5 for the layers that the arena has room to expand",
    {"type": int, "choices": (4, 5)},
    HOW,
)
BUDGET = Option(
    "--budget",
    "limits that override those of the job's [budget]: flash=40KiB,ram=36KiB; exit code 3 if exceeded",
    {"metavar": "PARTS"},
    HOW,
)
RESUME = Option(
    "--resume",
    "continue an earlier training of the same recipe, even one of fewer epochs",
    {"action": "store_true"},
    HOW,
    selects=False,
)
FRESH = Option("--fresh", "redo stages that are up to date", {"action": "store_true"}, HOW, selects=False)
JSON = Option("--json", "print JSON and nothing else to standard output", {"action": "store_true"}, selects=False)

SUITE = Option(
    "--suite",
    "suite of attacks instead of the job's attacks: quick, or strict (AutoAttack)",
    {"choices": ("quick", "strict")},
    WHAT,
)
ATTACK = Option("--attack", "one attack instead of the job's, by its name", {"metavar": "NAME"}, WHAT)
EPS = Option(
    "--eps",
    "budgets of --suite or --attack, such as 8/255, in the unit that --eps-unit names",
    {"nargs": "+", "metavar": "EPS"},
    WHAT,
)
NORM = Option(
    "--norm",
    "norm of the budgets; by default l2 for --eps-unit snr, else linf",
    {"choices": ("linf", "l2"), "default": None},
    WHAT,
)
EPS_UNIT = Option(
    "--eps-unit",
    "unit of the budgets: real (input units), sigma (standard deviations of each input element), or of recordings snr "
    "(dB) or int16 (steps); by default real",
    {"choices": ("real", "sigma", "snr", "int16"), "default": "real"},
    WHAT,
)
STEPS = Option("--steps", "steps of an iterative --attack; by default 20", {"type": positive, "metavar": "N"}, WHAT)
QUERIES = Option(
    "--queries",
    "most answers per sample for a black-box --attack; by default 1000",
    {"type": positive, "metavar": "N"},
    WHAT,
)
SOURCE = Option(
    "--source",
    "network whose gradients --attack transfer follows",
    {"metavar": "NETWORK"},
    WHAT,
)
ATTACKS = (SUITE, ATTACK, EPS, NORM, EPS_UNIT, STEPS, QUERIES, SOURCE)
"""What a network is attacked with."""

ORACLE = Option(
    "--oracle",
    "who answers: the integer network on this computer (twin), or the board, to black-box attacks (device); by default "
    "twin",
    {"choices": ("twin", "device"), "default": "twin"},
    WHERE,
)
DEVICES = Option(
    "--devices",
    "number of boards that answer: emulators, or units in rig.toml; by default 1",
    {"type": positive, "metavar": "N", "default": 1},
    WHERE,
)
CLUSTER = Option(
    "--cluster",
    "use the boards of the Ray cluster at ADDRESS; without ADDRESS a local one is started",
    {"nargs": "?", "const": "local", "metavar": "ADDRESS"},
    WHERE,
)
ON_DEVICE = (KERNELS, TRITS, DEVICES, PORT, UNIT, CLUSTER)
"""Options of an attack that --oracle device alone gives a meaning."""

TRAINING = (JOB, EPOCHS, SEED, RUN_DIR)
"""Which training is meant."""
FIRMWARE = (JOB, MODEL, DATASET, EPOCHS, SEED, BOARD, RUN_DIR, KERNELS, TRITS)
"""Which firmware is meant."""
