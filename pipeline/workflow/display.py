"""Who watches a workflow, and nobody."""

from __future__ import annotations

from typing import Protocol


class Display(Protocol):
    """Who watches; only the command line draws. A stage starts and finishes, or is skipped."""

    def start(self, stage: str) -> None:
        """The stage of that name begins to work."""

    def progress(self, what: str, done: int, total: int, info: str = "") -> None:
        """`done` of `total` is finished; `what` names one bar, info is a few words next to it. Called often."""

    def finish(self, stage: str, seconds: float, note: str) -> None:
        """The stage is done; note: what it made, in a few words."""

    def skip(self, stage: str, note: str) -> None:
        """What the stage would make is stored and up to date."""


class _Quiet:
    """Shows nothing."""

    def start(self, stage: str) -> None: ...

    def progress(self, what: str, done: int, total: int, info: str = "") -> None: ...

    def finish(self, stage: str, seconds: float, note: str) -> None: ...

    def skip(self, stage: str, note: str) -> None: ...


QUIET: Display = _Quiet()
"""A Display that shows nothing."""
