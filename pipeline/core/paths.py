"""Where the package and what it ships with lie: the only module that knows."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
"""The folder of the import package `pipeline`."""


RESOURCES = PACKAGE.parent
"""The folder that holds firmware, templates, boards, jobs and zoo."""
