"""Locks on folders, held by a process and gone with it, however it ends (flock): no process is refused because of one
that is dead. A file system that knows no locks has none."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.errors import ConfigError

FILE = ".lock"
"""In a locked folder; says which process holds it, or held it last."""


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Keeps others out of the folder, which is made, as long as the block. ConfigError, which names the other process,
    when one is working there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _locked(descriptor):
            raise ConfigError(
                f"{folder}: {_holder(path)} is using it", "wait until it ends, or keep this run in another --run-dir"
            )
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()} {' '.join(sys.argv)}\n".encode(errors="replace"))
        yield
    finally:
        os.close(descriptor)


@contextmanager
def holding(folder: Path) -> Iterator[bool]:
    """Locks an existing folder itself, without a file in it, as long as the block; yields whether no other process
    holds it. Where the file system knows no locks, that is not known: False."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield _locked(descriptor, without_locks=False)
    finally:
        os.close(descriptor)


def is_alive(pid: int) -> bool:
    """Whether a process of this number runs on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _locked(descriptor: int, *, without_locks: bool = True) -> bool:
    """Whether the lock is ours now; without_locks: the answer where the file system knows none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return without_locks
    return True


def _holder(path: Path) -> str:
    """Who wrote the file, in words."""
    number, _, command = path.read_text(encoding="utf-8", errors="replace").strip().partition(" ")
    command = "".join(filter(str.isprintable, command))
    return f"process {number} ({command})" if number.isdigit() else "another process"
