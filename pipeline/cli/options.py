"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.cli.command import Option


def positive(value: str) -> int:
    """The positive integer in decimal digits."""
    number = int(value) if value.isascii() and value.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{value!r} is not a positive integer")
    return number


def seed(value: str) -> int:
    """The integer in [0, 2^31) in decimal digits."""
    if not (value.isascii() and value.isdigit() and int(value) < 1 << 31):
        raise argparse.ArgumentTypeError(f"{value!r} is not an integer from 0 up to below 2^31")
    return int(value)


WHAT, WHERE, HOW = "what to run", "where", "how"
"""Headings."""

JOB = Option("job", "job file, or name of a job in jobs/; by default digits", {"nargs": "?", "metavar": "JOB"}, WHAT)
MODEL = Option(
    "--model",
    "network of the zoo or imported one, by name, or folder of a stored one, instead of a job",
    {"type": Path, "metavar": "NETWORK"},
    WHAT,
)
DATASET = Option(
    "--dataset",
    "data set for a --model: its name, or a TOML file with [dataset]; random: random inputs",
    {"metavar": "NAME"},
    WHAT,
)
EPOCHS = Option("--epochs", "train for N epochs instead of the job's", {"type": positive, "metavar": "N"}, WHAT)
SEED = Option("--seed", "seed of every random draw, instead of the job's", {"type": seed, "metavar": "N"}, WHAT)
LIMIT = Option("--limit", "use only N test samples, evenly from all classes", {"type": positive, "metavar": "N"}, WHAT)

BOARD = Option("--board", "board instead of the job's; `tritmcu boards` lists them", {"metavar": "NAME"}, WHERE)
PORT = Option(
    "--port",
    "serial port of a real board; by default the one in rig.toml, or the only one",
    {"metavar": "PORT"},
    WHERE,
)
UNIT = Option(
    "--unit",
    "which of several boards in rig.toml: its name or USB serial number",
    {"metavar": "NAME", "default": ""},
    WHERE,
)
RUNNER = Option("--runner", "flash with this one of the board's tools", {"metavar": "TOOL"}, WHERE)
RUN_DIR = Option("--run-dir", "keep everything in DIR instead of runs/NAME", {"type": Path, "metavar": "DIR"}, WHERE)

KERNELS = Option(
    "--kernels",
    "instead of the job's: the fastest of ours for the core (auto, the default), the portable ones (reference), or "
    "those of an already built CMSIS-NN in CMSIS_NN_ROOT and ours for what it lacks (cmsis-nn)",
    {"choices": ("auto", "reference", "cmsis-nn")},
    HOW,
)
TRITS = Option(
    "--trits-per-byte",
    "ternary weights per byte of flash, instead of the job's; 5 only where the arena has room to expand them",
    {"type": int, "choices": (4, 5)},
    HOW,
)
BUDGET = Option(
    "--budget",
    "what it may cost, besides the job's [budget]: flash=40KiB,ram=36KiB; exit code 3 when it costs more",
    {"metavar": "PARTS"},
    HOW,
)
RESUME = Option(
    "--resume",
    "continue an earlier training of the same recipe, also one of fewer epochs",
    {"action": "store_true"},
    HOW,
    selects=False,
)
FRESH = Option("--fresh", "repeat what is up to date", {"action": "store_true"}, HOW, selects=False)
JSON = Option("--json", "print JSON and nothing else to standard output", {"action": "store_true"}, selects=False)

SUITE = Option(
    "--suite",
    "a suite of attacks instead of the job's: quick, or strict (AutoAttack's)",
    {"choices": ("quick", "strict")},
    WHAT,
)
ATTACK = Option("--attack", "one attack instead of the job's, by the name of its module", {"metavar": "NAME"}, WHAT)
EPS = Option(
    "--eps",
    "budgets of --suite or --attack, in real input units or as --eps-unit says: 8/255, or several",
    {"nargs": "+", "metavar": "EPS"},
    WHAT,
)
NORM = Option("--norm", "of the budgets; linf by default", {"choices": ("linf", "l2"), "default": "linf"}, WHAT)
EPS_UNIT = Option(
    "--eps-unit",
    "of the budgets: real (the default), sigma; of recordings snr (dB, with --norm l2) or int16 (steps)",
    {"choices": ("real", "sigma", "snr", "int16"), "default": "real"},
    WHAT,
)
STEPS = Option("--steps", "steps of an iterative --attack", {"type": positive, "metavar": "N"}, WHAT)
QUERIES = Option("--queries", "answers that a black-box --attack may ask for", {"type": positive, "metavar": "N"}, WHAT)
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
    "who answers: the integer network on this computer (twin, the default), or the board, to black-box attacks",
    {"choices": ("twin", "device"), "default": "twin"},
    WHERE,
)
DEVICES = Option(
    "--devices",
    "boards that answer: so many emulators, or units in rig.toml",
    {"type": positive, "metavar": "N", "default": 1},
    WHERE,
)
CLUSTER = Option(
    "--cluster",
    "boards of a Ray cluster at ADDRESS; without ADDRESS a local one is started",
    {"nargs": "?", "const": "local", "metavar": "ADDRESS"},
    WHERE,
)
ON_DEVICE = (KERNELS, TRITS, DEVICES, PORT, UNIT, CLUSTER)
"""Options of an attack that --oracle device alone gives a meaning."""

TRAINING = (JOB, EPOCHS, SEED, RUN_DIR)
"""Which training is meant."""
FIRMWARE = (JOB, MODEL, DATASET, EPOCHS, SEED, BOARD, RUN_DIR, KERNELS, TRITS)
"""Which firmware is meant."""
