"""What a person names to look at: a network, a run or a job, in one word."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from pipeline.config import board as boards
from pipeline.config import job as jobs
from pipeline.config.budget import NO_BUDGET, CostBudget
from pipeline.core import registry, store
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Image
from pipeline.stages import STAGES
from pipeline.workflow import zoo
from pipeline.workflow.plan import RunPlan, load_network, plan_job, plan_model, stored_job

IMAGE, QMODEL = "image", "qmodel"
"""Folders of a run."""


def plan(word: str, board: str | None, runs: Path, dataset: str | None = None, **options: Any) -> RunPlan:
    """How to build and run what is named: the folder of a stored network or of a run, a network of the zoo, a job by
    its name or file, or a run by its name in `runs`; the first of these that there is. ConfigError lists them all."""
    place = Path(word)
    if place.suffix == ".toml":
        return _of_job(word, board, runs, options)
    if place.exists():
        return plan_model(network_of(place), dataset, board, runs, **options)
    if word in registry.names("zoo") or place.parent == Path("zoo"):
        return plan_model(zoo.find(place), dataset, board, runs, **options)
    if word in registry.names("jobs"):
        return _of_job(word, board, runs, options)
    if (runs / word).exists():
        return plan_model(network_of(runs / word), dataset, board, runs, **options)
    raise ConfigError(*registry.unknown("network, run or job", word, known(runs)))


def known(runs: Path) -> set[str]:
    """Everything that has a name of its own."""
    stored = (path.name for path in runs.iterdir() if path.is_dir()) if runs.is_dir() else ()
    return {*registry.names("zoo"), *registry.names("jobs"), *stored}


def built_image(word: str, board: str | None) -> tuple[Image, Path] | None:
    """The image that a run holds, and its folder, where `word` is the folder of a run or of an image; None for anything
    else, and where the image is for another board than the one asked for."""
    for folder in (Path(word) / IMAGE, Path(word)):
        meta = store.read_meta(folder) if (folder / store.META).is_file() else {"noun": ""}
        if meta["noun"] == Image.__name__:
            if "parts" not in meta["value"]:
                raise ConfigError(f"{folder}: was built by an earlier version", "build it again: tritmcu build")
            image = store.load(folder, Image)
            return (image, folder) if board in (None, image.board) else None
    return None


def stored_budget(run: Path) -> CostBudget:
    """The budget of the job that a run folder's network was trained by; an empty one where it keeps no network."""
    if not (run / QMODEL).is_dir():
        return NO_BUDGET
    known = stored_job(load_network(run / QMODEL), run / QMODEL)
    return known.budget if known else NO_BUDGET


def called(word: str) -> str:
    """The word without the folders that a path goes through: of two runs of one job, what tells one from the other.

    >>> called("runs/small/digits/8_bits-s1"), called("runs/digits/qmodel"), called("digits_stq_jr")
    ('8_bits-s1', 'digits', 'digits_stq_jr')
    """
    place = Path(word)
    return place.parent.name or place.name if place.name == QMODEL else place.name or word


def network_of(place: Path) -> Path:
    """The folder of the network that a run holds, or the place itself."""
    if (place / QMODEL).is_dir():
        return place / QMODEL
    if (place / IMAGE).is_dir():
        raise ConfigError(f"{place}: holds a firmware, not the network it was made from", "name that network")
    return place


def _of_job(word: str, board: str | None, runs: Path, options: dict[str, Any]) -> RunPlan:
    file = jobs.find(word)
    job = jobs.load(file)
    given = {"job_file": file, "cli_args": dict.fromkeys(STAGES, shlex.quote(word)), **options}
    return plan_job(job, boards.load(board or job.board), runs, **given)
