"""Whether a network goes with its board and its budget, as far as that is known before time is spent on it."""

from __future__ import annotations

from pipeline.analysis import budget
from pipeline.codegen import fit, select
from pipeline.core.nouns import FLASH, QModel, Sources
from pipeline.stages import build
from pipeline.workflow.plan import RunPlan


def require_possible(model: QModel, plan: RunPlan) -> None:
    """FitError, BudgetError: whatever the weights of a network of these shapes and widths are, they do not go with the
    plan's board and budget. Only kernels chosen by "auto" are known to take a least number of instructions."""
    parts = {FLASH: {"the weights": select.least_weights_bytes(model)}}
    fit.require(parts, plan.board)
    budget.check_known(plan.budget, parts)
    if plan.budget.instructions is not None and plan.kernels == "auto":
        calls = select.calls(model, plan.board, plan.kernels, plan.firmware)
        functions = [call.function if call else None for call in calls]
        budget.check_least(plan.budget, select.least_instructions(model, functions))


def require_affordable(model: QModel, sources: Sources, plan: RunPlan) -> None:
    """FitError, BudgetError: the network as it is does not go with the plan's board and budget, as its sources tell.
    Passing is no promise: the code comes on top, and instructions that are not products."""
    build.check_fit(sources, plan.board)
    budget.check_known(plan.budget, build.known_parts(sources, plan.board))
    functions = [layer.kernel for layer in sources.layers]
    budget.check_least(plan.budget, select.least_instructions(model, functions))
