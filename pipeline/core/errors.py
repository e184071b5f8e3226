"""Errors sorted by who can fix them. Each carries a hint: the next command to type or the next thing to change."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class PipelineError(Exception):
    """Base of every expected failure. `str(error)` is one line; `hint` is the next step, "" when there is none."""

    EXIT_CODE: ClassVar[int] = 2
    """Exit code of a command that ends with this error."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(PipelineError):
    """The author of a job file, board file or command line can fix it."""


class DivergedError(ConfigError):
    """The author of a recipe can fix it: the loss of its training is not finite."""


class ToolError(PipelineError):
    """Whoever installs this machine can fix it: a program or package is missing, too old or failed."""


class UnsupportedError(PipelineError):
    """The model's author can fix it: no kernel for this layer, shape, scale or bit width."""


class FitError(PipelineError):
    """The network does not fit the board; the message names what it needs, what the board has, and the largest part."""


class BudgetError(PipelineError):
    """Whoever changed the network or set the budget can fix it: it fits the board and works, but costs more than the
    job's [budget] or --budget allows; the message names by how much, and the largest parts."""

    EXIT_CODE = 3


class DeviceError(PipelineError):
    """The person at the bench can fix it: port, cable, power, wrong or stale firmware."""


class MismatchError(PipelineError):
    """Our bug: device and twin disagree. `reproducer` is the folder with everything needed to reproduce it."""

    def __init__(self, message: str, hint: str = "", reproducer: Path | None = None) -> None:
        super().__init__(message, hint)
        self.reproducer = reproducer
