"""A network as a folder for other tools: `tritmcu export`, and the same from Python."""

from __future__ import annotations

from pathlib import Path

from pipeline import datasets
from pipeline.stages import build, export
from pipeline.workflow.workflow import Workflow


def write(work: Workflow, folder: Path, form: str) -> str:
    """The shell command that builds what `folder` holds afterwards, run in it. form: one of export.FORMATS.

    ConfigError, before anything is made: the folder is not new or empty, the format is unknown, or has no place for the
    board. FitError: the board cannot hold the network.
    """
    plan = work.plan
    export.check(folder, form)
    export.check_board(plan.board, form)
    if form == export.LIBRARY:
        heard = datasets.front_end(plan.dataset) if plan.dataset else None
        return export.export_library(work.lower(), plan.board, folder, plan.kernels, plan.firmware, heard)
    sources = work.render()
    build.check_fit(sources, plan.board)
    return export.export(sources, plan.board, work.lower().name, folder, form)
