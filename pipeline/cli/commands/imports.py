"""`tritmcu import`: a network or a board from another tool's file; the kind of the file decides which."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from pipeline.cli.command import Command, Option

FILE = Option(
    "file",
    "Keras or QKeras network (.keras, .h5), TensorFlow Lite network (int8 .tflite), or PlatformIO board (.json)",
    {"type": Path, "metavar": "FILE"},
)
MADE = Option(
    "--name", "name of the stored network or board; by default the file's", {"metavar": "NAME", "default": ""}
)
DATASET = Option("--dataset", "data set that the network was trained on", {"metavar": "NAME", "default": ""})
INPUT_RANGE = Option(
    "--input-range",
    "lowest and highest real input of the network, where it differs from the data set's: 0 255 for pixels",
    {"nargs": 2, "type": float, "metavar": ("LOW", "HIGH")},
)
NETWORKS_ONLY = (DATASET, INPUT_RANGE)
UNITS_OR_CLASSES = (
    "note: no better than guessing. Does the network take its inputs in other units (for pixels --input-range 0 255, "
    "or -1 1)? Does it number its classes in another order?"
)
OTHERS: Mapping[str, str] = {
    **dict.fromkeys((".onnx", ".pb", ".pt", ".pth", ".safetensors"), "convert it to an int8 .tflite"),
    "": "if it is a SavedModel, convert it to an int8 .tflite with tf.lite.TFLiteConverter.from_saved_model",
}
"""What to do with files of other tools, by their suffix."""


def _board(arguments: argparse.Namespace) -> int:
    from pipeline.cli import console
    from pipeline.config import platformio
    from pipeline.core.errors import ConfigError

    for option in NETWORKS_ONLY:
        if option.given(arguments):
            raise ConfigError(f"{option.flag}: is for networks, {arguments.file} describes a board", "omit it")
    path = platformio.import_board(arguments.file, name=arguments.name)
    console.stderr(f"{path}: written; next: tritmcu export --format arduino --board {path.stem}")
    return 0


def _network(arguments: argparse.Namespace) -> int:
    from pipeline.cli import console
    from pipeline.core import text
    from pipeline.workflow import imports, notes

    given = arguments.input_range
    request = imports.Request(arguments.file, arguments.name, arguments.dataset, tuple(given) if given else None)
    with closing(console.display()) as display:
        made = imports.network(request, progress=display.progress)
    console.stderr(f"{made.folder}: {notes.network(made.model)}, {len(made.model.classes)} classes")
    if made.agreement:
        console.agreement(made.agreement)
    command = f"tritmcu run --model {made.model.name}"
    if made.judged:
        share = text.percent(made.right / made.judged)
        before = "" if made.original is None else f", {text.percent(made.original / made.judged)} in floating point"
        console.stderr(f"{arguments.dataset}: {share} of {made.judged} test samples correct{before}; next: {command}")
        if made.guesses:
            console.stderr(UNITS_OR_CLASSES)
    else:
        console.stderr(f"no data set is named: render, build and export need none; next: {command} --dataset random")
    return 0


KINDS: Mapping[str, tuple[str, Callable[[argparse.Namespace], int]]] = {
    ".tflite": ("int8 network of TensorFlow Lite", _network),
    ".keras": ("network of Keras or QKeras", _network),
    ".h5": ("network of Keras or QKeras", _network),
    ".hdf5": ("network of Keras or QKeras", _network),
    ".json": ("board description of PlatformIO", _board),
}
"""By the file's suffix: what such a file is, and what is done with it."""


class Import(Command):
    """Dispatches by the suffix of the file."""

    NAME = "import"
    HELP = "import a network (Keras, TensorFlow Lite) or a board (PlatformIO)"
    OPTIONS = (FILE, MADE, DATASET, INPUT_RANGE)

    def invoke(self, arguments: argparse.Namespace) -> int:
        from pipeline.core.errors import ConfigError

        suffix = arguments.file.suffix.lower()
        if suffix not in KINDS:
            supported = ", ".join(f"{known} ({what})" for known, (what, _) in KINDS.items())
            nearest = f"{OTHERS[suffix]}; " if suffix in OTHERS else ""
            what = f"{arguments.file}: cannot import a file of kind {suffix!r}"
            raise ConfigError(what, f"{nearest}supported: {supported}")
        return KINDS[suffix][1](arguments)
