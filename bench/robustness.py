"""How well an integer network withstands attacks: the basis of the ablation and of the cards of the zoo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.analysis import statistics
from pipeline.codegen import select
from pipeline.config.job import AttackConfig
from pipeline.core.nouns import Dataset, Progress, QModel, no_progress
from pipeline.network import twin
from pipeline.robustness import suites
from pipeline.robustness.surrogate import Surrogate
from pipeline.stages import attack

STEPS, STEP_SIZE = 20, 0.125
"""PGD-20 from a random start, infinity norm; a step is an eighth of eps."""
SUITE = "quick"
"""The suite whose worst case is reported beside PGD-20, at the largest eps."""


def measure(
    qmodel: QModel,
    dataset: Dataset,
    eps: Sequence[str],
    seed: int,
    samples: int | None = None,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Plain JSON values: `clean` over the whole test split and `robust`, one entry per eps over `samples` of it drawn
    evenly from all classes, each accuracy with its 95 % Wilson interval and n; `weights_bytes` of the packed weights,
    `tables_bytes` with biases and requantization.

    The integer network is attacked, by the gradients of its own integers, and its answers are counted: every sample
    that it classifies correctly when clean is attacked.
    """
    config = AttackConfig(name="pgd", eps=tuple(eps), steps=STEPS, step_size=STEP_SIZE, samples=samples)
    clean = replace(dataset, splits={"test": dataset.splits["test"]})
    datasets, _ = attack.attack(lambda _: Surrogate(qmodel), clean, (config,), seed, progress=progress)
    robust = [{"eps": d.attack.eps_label, **accuracy(qmodel, d, progress)} for d in datasets if d.attack]
    worst = worst_case(qmodel, clean, eps[-1], seed, samples, progress)
    return {
        "clean": accuracy(qmodel, clean, progress),
        "robust": robust,
        "worst": [worst],
        **select.table_bytes(qmodel),
        "attacks": suites.VERSION,
    }


def worst_case(
    qmodel: QModel, clean: Dataset, eps: str, seed: int, samples: int | None, progress: Progress
) -> dict[str, Any]:
    """What SUITE leaves at one eps: every attack in turn on the samples that those before it did not fool."""
    config = AttackConfig(name=SUITE, eps=(eps,), samples=samples)
    oracle_for = attack.oracles(qmodel, lambda _: qmodel)
    (_, attacked), _ = attack.attack(oracle_for, clean, (config,), seed, progress=progress)
    return {"suite": SUITE, "eps": eps, **accuracy(qmodel, attacked, progress)}


def accuracy(qmodel: QModel, dataset: Dataset, progress: Progress = no_progress) -> dict[str, Any]:
    """The twin's accuracy on the test split, with its 95 % Wilson interval and n."""
    split = dataset.splits["test"]
    hits = int(np.sum(twin.run(qmodel, split.x, progress).argmax(axis=1) == split.y))
    return {"accuracy": hits / len(split), "interval": list(statistics.wilson(hits, len(split))), "n": len(split)}
