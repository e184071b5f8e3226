"""budget: what is over it, by how much, and what costs most; what the device does not count cannot be checked."""

from __future__ import annotations

import pytest

from pipeline.analysis import budget
from pipeline.config.budget import CostBudget
from pipeline.core.errors import BudgetError, ConfigError
from tests.unit.analysis.test_size import NOW, sizes


def test_within_the_budget_nothing_happens():
    budget.check_sizes(CostBudget(flash=1000, ram=10), sizes(NOW))
    budget.check_ticks(CostBudget(instructions=7), "instructions", 7, {"conv": 7})
    budget.check_ticks(CostBudget(), "us", 1 << 40, {})
    budget.check_known(CostBudget(flash=5), {"flash": {"tables": 5}, "RAM": {"arena": 100}})


def test_every_broken_part_is_named_with_its_largest():
    with pytest.raises(BudgetError) as caught:
        budget.check_sizes(CostBudget(flash=999, ram=4), sizes(NOW))
    flash, ram = str(caught.value).split("; RAM")
    assert flash == (
        "flash: 1\u202f000, 1 over the budget of 999; largest parts: layers: conv 700, kernels: nn_a 280, "
        "layers: model_layers 20"
    )
    assert ram == ": 10, 6 over the budget of 4; largest parts: stack: reserved 10"
    assert caught.value.EXIT_CODE == 3
    assert "tritmcu size" in caught.value.hint


def test_before_building_only_what_is_known_counts():
    with pytest.raises(BudgetError, match="RAM, at least: 30, 5 over the budget of 25; largest parts: the arena 20"):
        budget.check_known(CostBudget(ram=25), {"flash": {}, "RAM": {"the arena": 20, "the stack": 10}})


def test_the_slowest_layers_are_named():
    with pytest.raises(BudgetError, match=r"cycles: 11, 1 over the budget of 10; largest parts: b 8, a 3$"):
        budget.check_ticks(CostBudget(cycles=10), "cycles", 11, {"a": 3, "b": 8})


@pytest.mark.parametrize(("unit", "hint"), [("cycles", "use cycles instead"), ("us", "leave it out")])
def test_what_the_board_does_not_count_cannot_be_checked(unit, hint):
    with pytest.raises(ConfigError, match=f"budget: instructions: the board counts {unit}") as caught:
        budget.check_ticks(CostBudget(instructions=10), unit, 1, {})
    assert hint in caught.value.hint
