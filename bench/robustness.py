"""How well an integer network withstands attacks: what the ablation and the cards of the zoo rest on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.analysis import statistics
from pipeline.codegen import select
from pipeline.config.job import AttackConfig, Job
from pipeline.core import registry
from pipeline.core.nouns import Dataset, Progress, QModel, no_progress
from pipeline.network import twin
from pipeline.stages import attack

STEPS, STEP_SIZE = 20, 0.125
"""PGD-20 from a random start, infinity norm; a step is an eighth of eps."""


def measure(
    qmodel: QModel,
    keras_folder: Path,
    dataset: Dataset,
    job: Job,
    eps: Sequence[str],
    samples: int | None = None,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Plain JSON values: `clean` over the whole test split and `robust`, one entry per eps over its first `samples`,
    each accuracy with its 95 % Wilson interval and n; `weights_bytes` of the packed weights, `tables_bytes` with
    biases and requantization.

    The twin answers; gradients are those of the Keras model in keras_folder, whose weights qmodel has.
    """
    config = AttackConfig(name="pgd", eps=tuple(eps), steps=STEPS, step_size=STEP_SIZE, samples=samples)
    limited = job.model_copy(update={"attacks": (config,)})
    clean, *attacked = attack.attack(limited, keras_folder, dataset, progress=progress)
    robust = [{"eps": d.attack.eps_label, **_accuracy(qmodel, d, progress)} for d in attacked if d.attack]
    return {"clean": _accuracy(qmodel, clean, progress), "robust": robust, **sizes(qmodel)}


def sizes(qmodel: QModel) -> dict[str, int]:
    """Bytes of the constant tables of all layers, by the portable kernels."""
    weights = tables = 0
    for layer in qmodel.layers:
        call = registry.load("layers", layer.kind).kernel(layer, qmodel.input_specs(layer))
        bytes_of = {name: table.nbytes for name, table in call.tables.items()} if call else {}
        tables += sum(bytes_of.values())
        weights += bytes_of.get(select.FILTER, 0)
    return {"weights_bytes": weights, "tables_bytes": tables}


def _accuracy(qmodel: QModel, dataset: Dataset, progress: Progress) -> dict[str, Any]:
    split = dataset.splits["test"]
    hits = int(np.sum(twin.run(qmodel, split.x, progress).argmax(axis=1) == split.y))
    return {"accuracy": hits / len(split), "interval": list(statistics.wilson(hits, len(split))), "n": len(split)}
