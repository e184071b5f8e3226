"""Where the package and what it ships with lie: the only module that knows."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
"""The folder of the import package `pipeline`."""


RESOURCES = PACKAGE.parent
"""The folder that holds firmware, templates, boards, jobs and zoo."""

DATA_VARIABLE = "TRITMCU_DATA"
"""Environment variable that names the folder of the official data sets."""


def data_folder() -> Path | None:
    """The folder of the official data sets, None when TRITMCU_DATA names none. Whether it exists is not checked."""
    name = os.environ.get(DATA_VARIABLE)
    return Path(name) if name else None
