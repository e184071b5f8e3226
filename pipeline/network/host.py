"""C of this machine: the portable kernels of firmware/nn, and what else shares their headers."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

from pipeline.core import paths, processor, shell

PORTABLE = ("reference", "swar")
"""Folders of firmware/nn that any compiler for 32 bits or more takes."""
FLAGS = ("-std=c11", "-O3", "-march=native", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror")


def library(name: str, sources: Sequence[Path], flags: Sequence[str] = ()) -> ctypes.CDLL:
    """C sources, which may include the headers of firmware/nn, as a shared library for this machine: built once per
    state of sources, headers, compiler and CPU into the user's cache."""
    folders = portable_folders()
    headers = [path.read_bytes() for folder in folders for path in sorted(folder.glob("*.h"))]
    options = (*FLAGS, *(f"-I{folder}" for folder in folders), *flags)
    return ctypes.CDLL(str(shell.compiled(name, sources, options, also=(headers, processor.lines()))))


def portable_folders() -> list[Path]:
    """Where the portable kernels and their headers are."""
    kernels = paths.shipped("firmware") / "nn"
    return [kernels, *(kernels / family for family in PORTABLE)]
