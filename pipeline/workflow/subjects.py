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
from pipeline.workflow import zoo
from pipeline.workflow.plan import RunPlan, load_network, plan_job, plan_model, stored_job

IMAGE, QMODEL = "image", "qmodel"
"""Folders of a run."""


def plan(word: str, board: str | None, runs: Path, dataset: str | None = None, **options: Any) -> RunPlan:
    """How to build and run what is named: the folder of a stored network or of a run, a network of the zoo, a job by
    its name or file, or a run by its name in `runs`; the first of these that there is. ConfigError lists them all."""
    place = stored(word, runs)
    named = (word,) if place is None else ("--model", as_model(word, runs))
    if place is None:
        return _of_job(word, board, runs, {"named": named, **options})
    return plan_model(network_of(place), dataset, board, runs, **{"named": named, **options})


def stored(word: str, runs: Path) -> Path | None:
    """The folder of the stored network or of the run that is named, as for `plan`; None: a job is."""
    place = Path(word)
    if place.suffix == ".toml":
        return None
    if place.exists():
        return place
    if word in registry.names("zoo") or place.parent == Path("zoo"):
        return zoo.find(place)
    if word in registry.names("jobs"):
        return None
    if (runs / word).exists():
        return runs / word
    raise ConfigError(*registry.unknown("network, run or job", word, known(runs)))


def as_model(word: str, runs: Path) -> str:
    """What --model takes for a word that names a stored network."""
    return str(runs / word) if stored(word, runs) == runs / word else word


def known(runs: Path) -> set[str]:
    """Everything that has a name of its own."""
    kept = (path.name for path in runs.iterdir() if path.is_dir()) if runs.is_dir() else ()
    return {*registry.names("zoo"), *registry.names("jobs"), *kept}


def built_image(word: str, board: str | None) -> tuple[Image, Path] | None:
    """The image that a run holds, and its folder, where `word` is the folder of a run or of an image; None for anything
    else, and where the image is for another board than the one asked for."""
    for folder in (Path(word) / IMAGE, Path(word)):
        meta: dict[str, Any] = store.read_meta(folder) if (folder / store.META).is_file() else {"noun": ""}
        if meta["noun"] == Image.__name__:
            if "parts" not in meta["value"]:
                again = ["--run-dir", word] if (Path(word) / QMODEL).is_dir() else []
                named = ["--model", word, "--board", str(meta["value"].get("board", board)), *again]
                raise ConfigError(
                    f"{folder}: was built by an earlier version",
                    f"build it again: `{shlex.join(['tritmcu', 'build', *named])}`",
                )
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
    return plan_job(job, boards.load(board or job.board), runs, **{"job_file": file, **options})
