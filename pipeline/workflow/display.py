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


class Labelled:
    """Passes everything on to another Display; each stage also says which of several runs it belongs to."""

    def __init__(self, display: Display, label: str) -> None:
        self._display = display
        self._label = label

    def _named(self, stage: str) -> str:
        return f"{stage} ({self._label})"

    def start(self, stage: str) -> None:
        self._display.start(self._named(stage))

    def progress(self, what: str, done: int, total: int, info: str = "") -> None:
        self._display.progress(self._named(what), done, total, info)

    def finish(self, stage: str, seconds: float, note: str) -> None:
        self._display.finish(self._named(stage), seconds, note)

    def skip(self, stage: str, note: str) -> None:
        self._display.skip(self._named(stage), note)


class _Quiet:
    """Shows nothing."""

    def start(self, stage: str) -> None: ...

    def progress(self, what: str, done: int, total: int, info: str = "") -> None: ...

    def finish(self, stage: str, seconds: float, note: str) -> None: ...

    def skip(self, stage: str, note: str) -> None: ...


QUIET: Display = _Quiet()
"""A Display that shows nothing."""
