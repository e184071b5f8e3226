"""`tritmcu convert`: a stored network becomes a file of another tool."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.cli import options
from pipeline.cli.command import Command, Option
from pipeline.cli.commands.audit import NETWORK

TO = Option("--to", "format of the file: tflite (int8)", {"metavar": "FORMAT", "required": True}, options.HOW)
OUTPUT = Option("--output", "file to write; by default NAME.FORMAT", {"type": Path, "metavar": "FILE"}, options.WHERE)


class Convert(Command):
    """Checked against the twin before it is kept."""

    NAME = "convert"
    HELP = "write a stored network as an int8 TensorFlow Lite file"
    OPTIONS = (NETWORK, TO, OUTPUT)

    def invoke(self, arguments: argparse.Namespace) -> int:
        from pipeline.cli import console, runs
        from pipeline.workflow import conversion

        plan = runs.subject(arguments.network, argparse.Namespace(**vars(arguments), board=None))
        model = runs.make_one(plan, "lower")
        output = arguments.output or Path(f"{model.name}.{arguments.to}")
        samples = conversion.convert(model, arguments.to, output)
        widened = any(layer.weights is not None and layer.weight_bits < 8 for layer in model.layers)
        note = "; weights of fewer bits are int8 there, which makes the file larger" if widened else ""
        console.stderr(f"{output}: 0 differing logits on {samples} random inputs{note}")
        return 0
