"""Checkpoints: one .npz file with a few plain facts and a list of arrays, written whole or not at all."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ConfigError, ToolError

FORMAT = 1
Arrays = Sequence[NDArray[Any]]


def save(path: Path, key: str, facts: Mapping[str, Any], arrays: Arrays) -> None:
    """Writes a temporary file and moves it into place: a full disk (ToolError) leaves the previous one intact."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{os.getpid()}.{path.name}")
    meta = json.dumps({"format": FORMAT, "key": key, **facts})
    content = io.BytesIO()  # a zip file on a full disk would complain once more when it is collected
    np.savez(content, meta=np.array(meta), **{str(i): value for i, value in enumerate(arrays)})
    try:
        fresh.write_bytes(content.getbuffer())
        fresh.replace(path)
    except OSError as error:
        raise ToolError(
            f"{path}: cannot be written ({error.strerror or error})", "make room; --resume continues"
        ) from error
    finally:
        fresh.unlink(missing_ok=True)


def load(path: Path, key: str) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """(facts, arrays) as saved with this key. ConfigError: a damaged file, another key or another format."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            meta = json.loads(str(archive["meta"]))
            arrays = [archive[str(i)] for i in range(len(archive.files) - 1)]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path}: damaged checkpoint ({error})", "delete it to start over") from error
    if meta.get("format") != FORMAT or meta.get("key") != key:
        what = f"{path}: the checkpoint of another job, data set or version"
        raise ConfigError(what, "delete it, or train without --resume, to start over")
    return meta, arrays
