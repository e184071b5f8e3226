"""What this machine says of its processor."""

from __future__ import annotations

import platform
from pathlib import Path

INFO = Path("/proc/cpuinfo")


def lines() -> list[str]:
    """Name and instruction sets of the first core, as Linux writes them; elsewhere what Python knows."""
    text = INFO.read_text(encoding="utf-8").split("\n\n")[0] if INFO.exists() else platform.processor()
    return [line for line in text.splitlines() if line.startswith(("flags", "Features", "model name"))]


def instruction_sets() -> frozenset[str]:
    """Their names, such as "avx512_bf16"; none where the system does not tell."""
    found = [line.partition(":")[2] for line in lines() if line.startswith(("flags", "Features"))]
    return frozenset(" ".join(found).split())
