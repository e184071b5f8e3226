"""Whose a run folder is: that of the job or sweep file that first worked there. Two files of one name would otherwise
take turns in overwriting hours of training."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import job as jobs
from pipeline.config.sweep import Trial
from pipeline.core import schema, store
from pipeline.core.digest import digest_of
from pipeline.core.errors import ConfigError

FILE = "job.json"
"""In a run folder: its job or sweep file, relative to the folder, so that both may be moved together, and the digest of
what that says."""


@dataclass(frozen=True)
class Owner:
    """Who works in a run folder."""

    file: Path
    """Of the job or the sweep."""
    digest: Callable[[], str]
    """Of what the file says."""


def of_job(file: Path) -> Owner:
    """A job."""
    return Owner(file, lambda: digest_of(jobs.load(file).model_dump(mode="json", exclude_defaults=True)))


def of_sweep(file: Path, trials: tuple[Trial, ...]) -> Owner:
    """A sweep with these trials."""
    return Owner(file, lambda: digest_of(*((trial.label, trial.key) for trial in trials)))


def check(folder: Path, owner: Owner) -> None:
    """ConfigError when another file's job or sweep has worked in the folder, unless both say the same. A file that was
    changed since is the same one."""
    path = folder / FILE
    if not path.exists():
        return
    known = schema.parse_json(schema.read_text(path), path)
    if not (isinstance(known, dict) and isinstance(known.get("file"), str)):
        raise ConfigError(f"{path}: names no job or sweep file", f"delete it to use the folder for {owner.file}")
    first = Path(os.path.normpath(folder.resolve() / known["file"]))
    if first != owner.file.resolve() and known.get("digest") != owner.digest():
        raise ConfigError(
            f"{folder}: holds the run of {first}, and {owner.file} is another job or sweep of that name",
            "give one of them another name, or keep this run elsewhere with --run-dir DIR",
        )


def take(folder: Path, owner: Owner) -> None:
    """Notes that the folder is this file's."""
    place = os.path.relpath(owner.file.resolve(), folder.resolve())
    store.write_text(folder / FILE, json.dumps({"file": place, "digest": owner.digest()}, indent=1) + "\n")
