"""What this machine says of its processor."""

from __future__ import annotations

import os
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


def cores() -> int:
    """How many cores this process may use, at least 1: of a container or under taskset fewer than the machine has."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return allowed or 1
