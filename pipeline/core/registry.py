"""The file system is the registry: what lies in a plug-in folder exists, under its file's name."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType

from pipeline.core import paths
from pipeline.core.errors import ConfigError

FOLDERS: Mapping[str, str] = {
    "datasets": "datasets",
    "models": "training/models",
    "attacks": "robustness/attacks",
    "layers": "network/layers",
    "kernels": "codegen/kernels",
    "runners": "device/runners",
    "links": "device/links",
}
"""Where plug-ins of a kind lie in the package."""


def names(package: str) -> tuple[str, ...]:
    """Sorted module names in pipeline/<package>/, those starting with an underscore left out; imports nothing."""
    return tuple(sorted(p.stem for p in (paths.PACKAGE / FOLDERS[package]).glob("*.py") if not p.stem.startswith("_")))


def path(package: str, name: str) -> Path:
    """The file of a plug-in."""
    return paths.PACKAGE / FOLDERS[package] / f"{name}.py"


def load(package: str, name: str) -> ModuleType:
    """The module pipeline.<package>.<name>. An unknown name is a ConfigError that lists what exists."""
    known = names(package)
    if name not in known:
        kind = {"datasets": "dataset", "models": "model", "attacks": "attack", "runners": "runner", "links": "link"}
        raise ConfigError(*unknown(kind.get(package, "layer kind"), name, known))
    return importlib.import_module(f"pipeline.{FOLDERS[package].replace('/', '.')}.{name}")


def unknown(what: str, name: str, known: Iterable[str]) -> tuple[str, str]:
    """(message, hint) for a name that does not exist: what it was, the nearest match, everything there is."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    guess = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown {what} {name!r}{guess}", f"known: {', '.join(known) or 'none'}"
