"""tritmcu: train robust ternary networks, pack them at 2 bits, measure them on the microcontroller.

What a program may use is imported when it is first asked for: `import pipeline` itself loads nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.api import Network, boards, compare, import_network, load, networks
    from pipeline.core.errors import (
        BudgetError,
        ConfigError,
        DeviceError,
        FitError,
        MismatchError,
        PipelineError,
        ToolError,
        UnsupportedError,
    )
    from pipeline.workflow.display import QUIET, Display

__version__ = "0.2.0"
__all__ = [
    "QUIET",
    "BudgetError",
    "ConfigError",
    "DeviceError",
    "Display",
    "FitError",
    "MismatchError",
    "Network",
    "PipelineError",
    "ToolError",
    "UnsupportedError",
    "boards",
    "compare",
    "import_network",
    "load",
    "networks",
]
_HOMES = {
    "pipeline.api": ("Network", "boards", "compare", "import_network", "load", "networks"),
    "pipeline.workflow.display": ("QUIET", "Display"),
}
"""Modules that hold names of __all__; the others are errors."""


def __getattr__(name: str) -> Any:
    """A name of __all__, from its module."""
    if name not in __all__:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    home = next((module for module, names in _HOMES.items() if name in names), "pipeline.core.errors")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
