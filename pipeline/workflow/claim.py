"""Whose a run folder is: that of the job file that first worked there. Two job files of one name would otherwise take
turns in overwriting hours of training."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pipeline.config import job as jobs
from pipeline.core import schema, store
from pipeline.core.digest import digest_of
from pipeline.core.errors import ConfigError

FILE = "job.json"
"""In a run folder: its job file, relative to the folder, so that both may be moved together, and that job's digest."""


def check(folder: Path, job_file: Path) -> None:
    """ConfigError when another job file has worked in the folder, unless both say the same. A job file that was changed
    since is the same one."""
    path = folder / FILE
    if not path.exists():
        return
    known = schema.parse_json(schema.read_text(path), path)
    if not (isinstance(known, dict) and isinstance(known.get("file"), str)):
        raise ConfigError(f"{path}: names no job file", f"delete it to use the folder for {job_file}")
    first = Path(os.path.normpath(folder.resolve() / known["file"]))
    if first != job_file.resolve() and known.get("digest") != _digest(job_file):
        raise ConfigError(
            f"{folder}: holds the run of {first}, and {job_file} is another job of that name",
            "give one of them another name, or keep this run elsewhere with --run-dir DIR",
        )


def take(folder: Path, job_file: Path) -> None:
    """Notes that the folder is this job file's."""
    place = os.path.relpath(job_file.resolve(), folder.resolve())
    store.write_text(folder / FILE, json.dumps({"file": place, "digest": _digest(job_file)}, indent=1) + "\n")


def _digest(job_file: Path) -> str:
    return digest_of(jobs.load(job_file).model_dump(mode="json", exclude_defaults=True))
