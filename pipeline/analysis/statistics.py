"""Statistics of counted outcomes."""

from __future__ import annotations

import math
from fractions import Fraction

LEVEL = 0.05
"""Of significance: one minus the confidence of the intervals."""


def wilson(successes: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % confidence interval of a proportion, in [0, 1]; (0, 1) for n = 0. Wilson (1927), JASA 22:209-212."""
    if n == 0:
        return 0.0, 1.0
    p = successes / n
    centre = p + z * z / (2 * n)
    spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low, high = (centre - spread) / scale, (centre + spread) / scale
    return max(0.0, min(p, low)), min(1.0, max(p, high))  # rounding would leave p outside at 0 and at n


def fair_coin_limit(flips: int, level: float = LEVEL) -> int:
    """Largest number of heads in so many flips of a fair coin that chance explains: as many or more have a probability
    above `level`. The one-sided sign test; of pairs of answers McNemar (1947), Psychometrika 12:153-157, made exact."""
    heads, ways, tail = flips, 1, 1  # ways to see exactly so many heads, and at least so many
    most = Fraction(level) * 2**flips
    while tail <= most and heads > 0:
        ways = ways * heads // (flips - heads + 1)
        heads, tail = heads - 1, tail + ways
    return heads
