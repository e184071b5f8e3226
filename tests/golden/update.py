"""Writes the golden files anew from the current templates: `python -m tests.golden.update`. Read the diff it makes."""

from __future__ import annotations

from pathlib import Path

from pipeline.config import board
from pipeline.stages import render
from tests.golden import commands, sizes
from tests.support import tiny

if __name__ == "__main__":
    files = render.render(tiny.qmodel(), board.load("host"), "reference").files
    for name in ("model.c", "model.h"):
        Path(__file__).with_name(name).write_text(files[f"generated/{name}"])
    Path(__file__).with_name("commands.txt").write_text("\n".join(commands.lines()) + "\n")
    sizes.FILE.write_text("\n".join(sizes.lines()) + "\n")  # last: it alone takes the Arm compiler
