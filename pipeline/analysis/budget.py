"""Whether a firmware keeps to its budget, and what costs most where it does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.analysis import latency, size
from pipeline.analysis.size import Sizes
from pipeline.config.budget import CostBudget
from pipeline.core import text
from pipeline.core.errors import BudgetError, ConfigError
from pipeline.core.nouns import FLASH, RAM, QModel, Trace

TICKS = ("instructions", "cycles")
"""Parts of a budget that only running can count."""
LARGEST = 3
"""Parts that an error names."""
SMALLER = "a smaller network ([model] width in the job), or a larger budget"


def check_known(budget: CostBudget, parts: Mapping[str, Mapping[str, int]]) -> None:
    """BudgetError when what is known before building breaks the budget. parts: bytes of FLASH and RAM by owner."""
    _require(
        _exceeded(f"{memory}, at least", sum(owners.values()), allowed, owners)
        for memory, owners in parts.items()
        if (allowed := _allowed(budget, memory)) is not None
    )


def check_units(budget: CostBudget, unit: str) -> None:
    """ConfigError: the budget names instructions or cycles, and the board counts something else. unit: what it
    counts."""
    for name in TICKS:
        if getattr(budget, name) is not None and name != unit:
            counted = f"use {unit} instead" if unit in TICKS else "leave it out on this board"
            raise ConfigError(f"budget: {name}: the board counts {unit}", counted)


def check_least(budget: CostBudget, instructions: Mapping[str, int]) -> None:
    """BudgetError when the instructions that an inference takes at the least break the budget. instructions: by
    layer."""
    if budget.instructions is not None:
        least = sum(instructions.values())
        _require([_exceeded("instructions, at least", least, budget.instructions, instructions)], SMALLER)


def check_sizes(budget: CostBudget, sizes: Sizes) -> None:
    """BudgetError when the image is larger than the budget."""
    _require(
        _exceeded(memory, sizes.total(memory), allowed, dict(size.largest(size.tree(memory, sizes))))
        for memory, allowed in of_memories(budget).items()
    )


def of_memories(budget: CostBudget) -> dict[str, int]:
    """Bytes that the budget allows, by FLASH and RAM; without those it does not limit."""
    return {memory: allowed for memory in (FLASH, RAM) if (allowed := _allowed(budget, memory)) is not None}


def check_ticks(budget: CostBudget, unit: str, ticks: int, layers: Mapping[str, int]) -> None:
    """BudgetError when one inference takes more than the budget. unit: what the device counts; ticks, layers: of the
    slowest sample, and of each layer. ConfigError: as check_units."""
    check_units(budget, unit)
    allowed = getattr(budget, unit) if unit in TICKS else None
    if allowed is not None:
        _require([_exceeded(unit, ticks, allowed, layers)])


def check_trace(budget: CostBudget, trace: Trace, model: QModel) -> None:
    """BudgetError, ConfigError: as check_ticks, of the clean samples that a device has answered."""
    ticks, layer_ticks = latency.undisturbed(trace)
    layers = {layer.name: int(most) for layer, most in zip(model.layers, layer_ticks.max(axis=0), strict=True)}
    check_ticks(budget, trace.device.tick_unit, int(ticks.max()), layers)


def check_report(budget: CostBudget, report: Mapping[str, Any]) -> None:
    """BudgetError, ConfigError: as check_ticks, of what a report says. report: the content of report.json."""
    found, unit = report["latency"], report["latency"]["unit"]
    layers = {layer["name"]: layer[unit]["max"] for layer in found["per_layer"]}
    check_ticks(budget, unit, found[unit]["max"], layers)


def _allowed(budget: CostBudget, memory: str) -> int | None:
    return budget.flash if memory == FLASH else budget.ram


def _exceeded(what: str, needed: int, allowed: int, parts: Mapping[str, int]) -> str:
    """What is over the budget, in words; "" where nothing is."""
    if needed <= allowed:
        return ""
    ranked = sorted(parts.items(), key=lambda part: (-part[1], part[0]))[:LARGEST]
    most = ", ".join(f"{name} {text.count(amount)}" for name, amount in ranked)
    over = f"{text.count(needed - allowed)} over the budget of {text.count(allowed)}"
    return f"{what}: {text.count(needed)}, {over}; largest parts: {most}"


def _require(problems: Iterator[str] | Sequence[str], hint: str = "every part: `tritmcu size`") -> None:
    """BudgetError unless every problem is empty."""
    if found := list(filter(None, problems)):
        raise BudgetError("; ".join(found), hint)
