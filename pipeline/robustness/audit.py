"""The audit: can the robust accuracy of a network be believed?

Gradient attacks fail on a robust network, and also on one whose gradients lead nowhere. The checks tell the two apart;
most are the signs of obfuscated gradients of Athalye et al. 2018 (arXiv 1802.00420, section 3.1) and of Carlini et al.
2019 (arXiv 1902.06705). Each compares a value with the largest one that an honest network can show: what chance or the
interval of the robust accuracy explains at this number of samples, or zero where integers leave no room.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import cast

import numpy as np

from pipeline.analysis.statistics import wilson
from pipeline.core.nouns import AuditCheck, AuditResult, Dataset, DatasetTrace, Int8Array, Progress, Trace, no_progress
from pipeline.robustness import losses
from pipeline.robustness.budget import Budget
from pipeline.robustness.campaign import OracleFor
from pipeline.robustness.evidence import STEPS, Duel, Evidence, Fooled, Keep, anew, union
from pipeline.robustness.oracle import GradientOracle
from pipeline.robustness.waveform import Sound

LOSSES = ("cross_entropy", "margin", "dlr")
SCALED = ("softened", "cross_entropy", "scaled")
"""The cross-entropy of a tenth of the logits, of the logits, and of ten times the logits."""
VARIANTS = ("relu", "identity", "smooth")
"""Of the backward pass, besides "clip" (robustness/straight_through.py)."""
SHARES = (0.25, 0.5)
"""Of eps, below it."""
MORE_STEPS, RESTARTS, QUERIES = 5 * STEPS, 5, 500
COMPARISONS = len(SHARES) + 2 + 1 + len(SCALED) + len(LOSSES)
"""Sign tests in an audit: eps against eps, one step against many, noise, and each loss against noise."""

Numbers = tuple[float | None, float | None, str]
"""Value, threshold, why; no value: not measured."""


def audit(
    oracle_for: OracleFor,
    clean: Dataset,
    budget: Budget,
    seed: int,
    *,
    network: str = "",
    sources: tuple[str, ...] = (),
    trace: Trace | None = None,
    sound: Sound | None = None,
    progress: Progress = no_progress,
    keep: Keep = anew,
) -> AuditResult:
    """Every check of the network that oracle_for asks, on the whole test split of `clean`. budget: the eps whose robust
    accuracy is in question. network: its digest. sources: networks for the same samples, to
    transfer from. trace: a device's answers to clean and attacked samples, for the checks that need one. sound: the
    recordings of the samples, for a budget of waveforms. keep: see Evidence, for attacks that an interrupted audit has
    done."""
    evidence = Evidence(oracle_for, clean, budget, seed, sources, trace, sound, keep=keep)
    checks = []
    for number, (name, check) in enumerate(CHECKS.items()):

        def told(what: str, done: int, total: int, info: str = "", number: int = number, name: str = name) -> None:
            progress("audit", number * total + done, len(CHECKS) * total, f"{name}: {info}")

        evidence.progress = told
        checks.append(_answered(name, *check(evidence)))
    samples = len(clean.splits["test"])
    label = budget.label if budget.norm == "linf" else f"{budget.label} ({budget.norm})"
    return AuditResult(verdict(checks), tuple(checks), network, clean.name, label, samples)


def verdict(checks: Iterable[AuditCheck]) -> str:
    """ "masked": the robust accuracy is not to be believed; "suspicious": it is not settled; "clean". An attack that
    cannot be told from noise settles nothing: too few samples, or too small an eps."""
    passed = {check.name: check.passed for check in checks}
    failed = {name for name, answer in passed.items() if answer is False}
    if failed & MASKING:
        return "masked"
    return "suspicious" if failed or passed["noise"] is None else "clean"


def _answered(name: str, value: float | None, threshold: float | None, why: str) -> AuditCheck:
    passed = None if value is None or threshold is None else value <= threshold
    return AuditCheck(name, passed, value, threshold, why)


def _repeat_inference(e: Evidence) -> Numbers:
    backwards = e.judge.logits(e.x[::-1])[::-1]
    value = _unlike(e.judge.logits(e.x), backwards)
    return value, 0.0, "share of samples whose logits change when they are asked again; with integers none may"


def _surrogate(e: Evidence) -> Numbers:
    oracle = cast(GradientOracle, e.oracle)
    answers = oracle.gradient(e.x, e.clean.splits["test"].y, losses.LOSSES["cross_entropy"]).answers
    why = "share of samples for which the network that gives gradients differs from the deployed one; none may"
    return _unlike(answers, e.judge.logits(e.x)), 0.0, why


def _eps_zero(e: Evidence) -> Numbers:
    fooled = e.pgd(budget=e.scaled(0), steps=2).fooled
    return float(np.mean(fooled)), 0.0, "share of samples fooled at eps 0, where nothing changes; none may"


def _monotone(e: Evidence) -> Numbers:
    budgets = [budget for budget in map(e.scaled, SHARES) if budget.radius.any()] + [e.budget, e.whole_range()]
    fooled = [e.pgd(budget=budget).fooled for budget in budgets]
    duels = [Duel.of(large, small, COMPARISONS) for small, large in itertools.pairwise(fooled)]
    labels = ", ".join(budget.label for budget in budgets)
    why = f"largest increase of robust accuracy along eps ({labels}); chance explains up to this"
    return *_worst((duel.lead, duel.by_chance) for duel in duels), why


def _unbounded(e: Evidence) -> Numbers:
    whole, n = e.whole_range(), len(e.x)
    value = e.robust(union(e.pgd(loss, whole) for loss in LOSSES))
    chance = 1 / e.judge.classes
    threshold = max(hits for hits in range(n + 1) if wilson(hits, n)[0] <= chance) / n
    return (
        value,
        threshold,
        f"accuracy when every input is allowed; guessing gives {chance:.3g}, whose interval reaches up to this",
    )


def _one_step(e: Evidence) -> Numbers:
    duel = Duel.of(e.pgd().fooled, e.run("fgsm").fooled, COMPARISONS)
    return duel.lead, duel.by_chance, "share that one step fools more than many steps; chance explains up to this"


def _more_steps(e: Evidence) -> Numbers:
    few, many = e.pgd(), e.pgd(steps=MORE_STEPS)
    return _gain(e, few.fooled, many.fooled, f"{MORE_STEPS} steps instead of {STEPS}")


def _restarts(e: Evidence) -> Numbers:
    return _gain(e, e.pgd().fooled, e.pgd(restarts=RESTARTS).fooled, f"{RESTARTS} random starts instead of one")


def _noise(e: Evidence) -> Numbers:
    duel = Duel.of(e.pgd().fooled, _random(e), COMPARISONS)
    if duel.least_ahead > duel.first_alone + duel.second_alone:
        return (
            None,
            None,
            f"too few samples fooled to tell PGD from noise: {duel.first_alone} against {duel.second_alone}",
        )
    return (
        duel.lead,
        -duel.beyond_chance,
        "share that random points at the edge of the budget fool more than PGD; chance explains anything above this",
    )


def _zero_gradients(e: Evidence) -> Numbers:
    found = e.pgd()
    standing = found.attacked & ~found.fooled
    asked = int(found.gradients[standing].sum())
    value = float(found.zero_gradients[standing].sum() / asked) if asked else 0.0
    threshold = e.slack(found.fooled) / e.robust(found.fooled) if standing.any() else 0.0
    why = "share of zero gradients among the samples not fooled; the interval of robust accuracy leaves room for this"
    return value, threshold, why


def _backward(e: Evidence) -> Numbers:
    found = union(e.pgd(backward=variant) for variant in VARIANTS)
    return _gain(e, _white_box(e), found, f"other backward passes ({', '.join(VARIANTS)})")


def _scaled_logits(e: Evidence) -> Numbers:
    return _blindest(e, SCALED, "the cross-entropy of 1/10, 1 and 10 times the logits")


def _losses(e: Evidence) -> Numbers:
    return _blindest(e, LOSSES, ", ".join(LOSSES))


def _black_box(e: Evidence) -> Numbers:
    return _gain(e, _white_box(e), e.run("square", queries=QUERIES).fooled, f"Square with {QUERIES} queries")


def _transfer(e: Evidence) -> Numbers:
    if not e.sources:
        return None, None, "no other stored network for these samples; name one with --source"
    found = union(e.run("transfer", source=source, steps=STEPS) for source in e.sources)
    return _gain(e, _white_box(e), found, f"transfer from {', '.join(e.sources)}")


def _device(e: Evidence) -> Numbers:
    if e.trace is None:
        return None, None, "no board was asked; name one with --board"
    unlike = [_unlike(data.logits, data.twin_logits) for data in e.trace.datasets]
    return max(unlike), 0.0, f"share of samples for which {e.trace.device.board} and the twin differ; none may"


def _instructions(e: Evidence) -> Numbers:
    if e.trace is None or e.trace.device.tick_unit != "instructions":
        what = "no board was asked" if e.trace is None else f"{e.trace.device.board} counts {e.trace.device.tick_unit}"
        return None, None, f"{what}; name a board that counts instructions with --board"
    clean, *attacked = e.trace.datasets
    why = (
        "share of samples whose attacked copy takes another number of instructions; none may, or timing reveals attacks"
    )
    return max(_other_ticks(clean, data) for data in attacked), 0.0, why


CHECKS: Mapping[str, Callable[[Evidence], Numbers]] = {
    "repeat_inference": _repeat_inference,
    "surrogate": _surrogate,
    "eps_zero": _eps_zero,
    "monotone": _monotone,
    "unbounded": _unbounded,
    "one_step": _one_step,
    "more_steps": _more_steps,
    "restarts": _restarts,
    "noise": _noise,
    "zero_gradients": _zero_gradients,
    "backward": _backward,
    "scaled_logits": _scaled_logits,
    "losses": _losses,
    "black_box": _black_box,
    "transfer": _transfer,
    "device": _device,
    "instructions": _instructions,
}
"""In the order in which they are made and reported."""
MASKING = CHECKS.keys() - {"surrogate", "more_steps", "restarts", "instructions"}
"""Where one fails, gradients mislead or answers vary. The others say that the attack or its subject is not settled."""


def _white_box(e: Evidence) -> Fooled:
    """Everything that follows the gradients as they are."""
    outcomes = [e.pgd(loss) for loss in dict.fromkeys(SCALED + LOSSES)]
    return union([*outcomes, e.run("fgsm"), e.pgd(steps=MORE_STEPS), e.pgd(restarts=RESTARTS)])


def _random(e: Evidence) -> Fooled:
    """What noise fools that asks as often as PGD."""
    return e.run("noise", queries=STEPS + 1).fooled


def _gain(e: Evidence, before: Fooled, more: Fooled, what: str) -> Numbers:
    """How much robust accuracy falls by samples that only `more` fooled."""
    value = e.robust(before) - e.robust(before | more)
    return value, e.slack(before), f"drop of robust accuracy by {what}; up to this it stays within its 95 % interval"


def _blindest(e: Evidence, names: tuple[str, ...], what: str) -> Numbers:
    """What the loss misses that follows its gradient worst. A loss may be weak; but where it misses more than the
    interval explains, it must beat noise beyond chance."""
    white, random = _white_box(e), _random(e)
    pairs = []
    for name in names:
        found = e.pgd(name).fooled
        missed = e.standing(found) - e.standing(white)
        allowed = e.standing(random) - e.standing(white) - Duel.of(random, found, COMPARISONS).least_ahead
        pairs.append((missed / len(e.x), max(e.slack(white), allowed / len(e.x))))
    return *_worst(
        pairs
    ), f"robust accuracy that the weakest of {what} misses; the interval, or what noise misses, allows up to this"


def _worst(pairs: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """The (value, threshold) that comes nearest to failing, or fails most."""
    return max(pairs, key=lambda pair: pair[0] - pair[1])


def _unlike(first: Int8Array, second: Int8Array) -> float:
    """Share of the rows that differ."""
    return float(np.mean(np.any(first != second, axis=1)))


def _other_ticks(clean: DatasetTrace, attacked: DatasetTrace) -> float:
    """Share of the samples in both whose ticks differ."""
    _, here, there = np.intersect1d(attacked.index, clean.index, return_indices=True)
    return float(np.mean(attacked.ticks[here] != clean.ticks[there])) if len(here) else 0.0
