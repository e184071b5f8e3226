"""What is computed from files once and kept: one file per source and settings, replaced when a file has changed.

A changed file is told by path, size and the times of its last change (mtime, ctime), not by reading it: a hundred
thousand files are looked at in seconds. The ctime moves with every change, also where a copy keeps the mtime.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core import store
from pipeline.core.digest import digest_of
from pipeline.core.errors import ConfigError

KEY = "key"
"""Array of the file that holds the digest of what it was made from."""
Arrays = Mapping[str, NDArray[Any]]


def state(path: Path, hint: str = "") -> tuple[int, int, int]:
    """What tells one content of a file from another. ConfigError when there is no such file."""
    try:
        found = path.stat()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", hint) from error
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def kept(folder: Path, name: str, key: object, make: Callable[[], Arrays]) -> Arrays:
    """Arrays by name: those of folder/<name>.npz if they were made with this key, else make's, kept there."""
    path, digest = folder / f"{name}.npz", digest_of(key)
    try:
        with np.load(path, allow_pickle=False) as archive:
            if str(archive[KEY]) == digest:
                return {array: archive[array] for array in archive.files if array != KEY}
    except Exception:  # missing or truncated, which raises almost anything: it is made again
        pass
    made = make()
    store.write_file(path, lambda file: np.savez(file, **{KEY: np.array(digest)}, **made))
    return made


def states(folder: Path, names: Iterable[str], hint: str = "") -> list[tuple[int, int, int]]:
    """`state` of each of these files in the folder."""
    return [state(folder / name, hint) for name in names]
