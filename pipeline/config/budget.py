"""CostBudget: what a firmware may cost, [budget] of a job or --budget."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator

from pipeline.core import schema
from pipeline.core.errors import ConfigError
from pipeline.core.registry import unknown
from pipeline.core.schema import Strict

BYTES: Mapping[str, int] = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "kB": 1000, "MB": 1_000_000}
COUNTS: Mapping[str, int] = {"": 1, "k": 1000, "M": 1_000_000, "G": 1_000_000_000}
"""Units by name."""
LARGEST = 1 << 53
INSTRUCTIONS = "instructions"
LEAST_RATIO, LARGEST_RATIO = 1, 4
"""Of a layer-wise choice's bytes to the ternary network's: 2 bits a weight, and 8."""
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:[eE]\+?[0-9]{1,2})?) ?([A-Za-z]*)", re.ASCII)


def _quantity(value: object, units: Mapping[str, int], example: str) -> int:
    """A whole number above 0, from a number or a text with a unit."""
    found = _QUANTITY.fullmatch(str(value)) if isinstance(value, (int, float, str)) else None
    if found is None or isinstance(value, bool):
        raise ValueError(f"must be a positive number, or one with a unit such as {example!r}")
    if found[2] not in units:
        what = f"unknown unit {found[2]!r}" if found[2] else "has no unit"
        raise ValueError(f"{what}; known: {', '.join(filter(None, units))}")
    amount = Fraction(found[1]) * units[found[2]]
    if amount.denominator != 1 or not 0 < amount < LARGEST:
        raise ValueError(f"must be a positive integer, not {found[0]}")
    return int(amount)


def layer_budget(value: object) -> float | str:
    """What a layer-wise choice may cost, as it is written: 1 to 4 times the bytes of the ternary network, or a text
    that `layer_amount` reads."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not LEAST_RATIO <= value <= LARGEST_RATIO:
            raise ValueError(f"must be {LEAST_RATIO} to {LARGEST_RATIO} times the all-ternary network's bytes")
        return float(value)
    if not isinstance(value, str):
        raise ValueError('must be a number, or a text such as "24 KiB" or "9 M instructions"')
    layer_amount(value)
    return value


def layer_amount(words: str) -> tuple[str, int]:
    """("bytes" or INSTRUCTIONS, how many) of a text such as "24 KiB" or "9 M instructions". ValueError: another
    unit."""
    amount, _, unit = words.strip().rpartition(" ")
    if unit == INSTRUCTIONS:
        return INSTRUCTIONS, _quantity(amount, COUNTS, "9 M instructions")
    return "bytes", _quantity(words, {name: size for name, size in BYTES.items() if name}, "24 KiB")


Bytes = Annotated[int, BeforeValidator(lambda value: _quantity(value, BYTES, "40 KiB"))]
Count = Annotated[int, BeforeValidator(lambda value: _quantity(value, COUNTS, "9 M"))]


class CostBudget(Strict):
    """What a firmware may cost. A part that is left out may cost anything."""

    flash: Bytes | None = None
    """Of the image: bytes, or a text such as "40 KiB"."""
    ram: Bytes | None = None
    """Variables and reserved stack: bytes, or a text such as "36 KiB"."""
    instructions: Count | None = None
    """Executed in one inference, where the board counts them (an emulated Cortex-M does): 9e6, or a text such as
    "9 M"."""
    cycles: Count | None = None
    """Of the core in one inference, where the board counts them."""

    def with_parts(self, other: CostBudget) -> CostBudget:
        """The same, with every part that the other one names."""
        return self.model_copy(update=other.model_dump(exclude_none=True))


NO_BUDGET = CostBudget()
"""Anything may cost anything."""


def parse(words: str) -> CostBudget:
    """The budget that --budget gives: "flash=40KiB,ram=36KiB". ConfigError: an unknown part or unit, a part twice."""
    parts: dict[str, Any] = {}
    for word in words.split(","):
        name, equals, amount = (piece.strip() for piece in word.partition("="))
        if name not in CostBudget.model_fields:
            message, hint = unknown("part of a budget", name, CostBudget.model_fields)
            raise ConfigError(f"--budget {words}: {message}", f"{hint}; as in flash=40KiB,ram=36KiB")
        if not equals or name in parts:
            why = "is named twice" if name in parts else "has no amount"
            raise ConfigError(
                f"--budget {words}: {name} {why}", f"as in {name}={'9e6' if name != 'flash' else '40KiB'}"
            )
        parts[name] = amount
    return schema.validate(CostBudget, parts, "--budget")
