"""Timing of several tasks that take turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np


def fastest(tasks: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """(wall clock, processor time) of the fastest of `rounds` runs of each task, seconds; a first run warms it up."""
    best = dict.fromkeys(tasks, (np.inf, np.inf))
    for number in range(rounds + 1):
        for name, task in tasks.items():
            wall, spent = time.perf_counter(), time.process_time()
            task()
            took = (time.perf_counter() - wall, time.process_time() - spent)
            if number:
                best[name] = (min(best[name][0], took[0]), min(best[name][1], took[1]))
    return best
