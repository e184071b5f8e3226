"""Where the package, what it ships with and a user's own files lie: the only module that knows."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pipeline.core.errors import ConfigError, ToolError

PACKAGE = Path(__file__).resolve().parents[1]
"""The folder of the import package `pipeline`."""

INSTALLED = PACKAGE / "resources"
"""Where a wheel puts the resources; a checkout has no such folder."""

RESOURCES = INSTALLED if INSTALLED.is_dir() else PACKAGE.parent
"""The folder that holds firmware, templates, boards, jobs and zoo: in a checkout, its root."""

USER_VARIABLE = "TRITMCU_PATH"
"""Environment variable that names further folders with a user's own boards/, jobs/, datasets/, models/, attacks/ and
zoo/, separated as in PATH. The current folder always counts as one."""

DATA_VARIABLE = "TRITMCU_DATA"
"""Environment variable that names the folder of the official data sets."""

PLAIN = re.compile(r"[\w ./+@=~-]+")
"""A path that every program of a build reads as it is: others take , ; $ " # or \\ in it for syntax."""


def shipped(name: str) -> Path:
    """The folder of that name among the resources. ToolError when this installation lacks it."""
    return _existing(RESOURCES / name)


def license_text() -> str:
    """The licence of the C files that exports hold. ToolError when this installation lacks it."""
    return _existing(RESOURCES / "LICENSE").read_text(encoding="utf-8")


def _existing(path: Path) -> Path:
    if not path.exists():
        raise ToolError(
            f"{path}: missing, tritmcu was installed without its {path.name}",
            "pip install --force-reinstall tritmcu, or work in a complete clone of its repository",
        )
    return path


def own(name: str) -> tuple[Path, ...]:
    """The user's own folders of that name that exist: in the current folder, then in those TRITMCU_PATH names.

    ConfigError when TRITMCU_PATH names something that is not a folder.
    """
    roots = [Path()]
    for entry in filter(None, os.environ.get(USER_VARIABLE, "").split(os.pathsep)):
        if not Path(entry).is_dir():
            raise ConfigError(
                f"{USER_VARIABLE}: {entry!r} is not a folder", f"folders, separated by {os.pathsep!r}; or unset it"
            )
        roots.append(Path(entry))
    return tuple(root / name for root in roots if (root / name).is_dir())


def data_folder() -> Path | None:
    """The folder of the official data sets, None when TRITMCU_DATA names none. Whether it exists is not checked."""
    name = os.environ.get(DATA_VARIABLE)
    return Path(name) if name else None
