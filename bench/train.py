"""What a training step costs: `make bench-train`. ResNet-8 of MLPerf-Tiny on samples of CIFAR-10's shape, batch 128.

The samples are noise: the cost of a step does not depend on them. Variants take turns, so that other load on the
machine slows all of them alike; the ratios are of the fastest rounds. Processor time is given beside wall-clock time:
it does not include waiting for a core.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.results import COST
from bench.timing import fastest
from pipeline.config.dataset import DatasetConfig
from pipeline.config.job import Job, ModelConfig, TrainConfig
from pipeline.core.nouns import Dataset, Quantization, Split, TensorSpec
from pipeline.training.keras_backend import NAME, THREADS, to_numpy
from pipeline.training.run import Run

BATCH, ROUNDS = 128, 15
TRAINING, VALIDATION = 45000, 5000
"""Samples of an epoch and of its validation, as pipeline.datasets.cifar10 splits them."""
EPS = {"eps": "8/255"}
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "Jacobian, logits": {"jacobian_lambda": 1e-3},
    "Jacobian, a quarter of the batch": {"jacobian_lambda": 1e-3, "jacobian_share": 0.25},
    "Jacobian, block input": {"jacobian_lambda": 1e-3, "jacobian": "block_input"},
    "Jacobian, network input": {"jacobian_lambda": 1e-3, "jacobian": "network_input"},
    "Jacobian, network input, a quarter": {
        "jacobian_lambda": 1e-3,
        "jacobian": "network_input",
        "jacobian_share": 0.25,
    },
    "adversarial, fast FGSM": {"adversarial": {"method": "fast_fgsm", **EPS}},
    "adversarial, fast FGSM on half": {"adversarial": {"method": "fast_fgsm", "share": 0.5, **EPS}},
    "adversarial, PGD-7": {"adversarial": {"method": "pgd", **EPS}},
}


def main() -> None:
    """Measures, prints a table and writes bench/results/train.json."""
    runs = {name: run(**recipe) for name, recipe in VARIANTS.items()}
    batch = next(runs["plain"].batches(0))
    steps = fastest({name: lambda r=r: to_numpy(r.step(*batch)) for name, r in runs.items()}, ROUNDS)  # type: ignore[misc]
    plain = steps["plain"]
    result = {
        "backend": NAME,
        "threads": THREADS,
        "load_average": round(os.getloadavg()[0], 1),
        "batch": BATCH,
        "steps": {
            name: {
                "per_s": round(1 / wall, 2),
                "ratio": round(wall / plain[0], 2),
                "processor_ratio": round(spent / plain[1], 2),
            }
            for name, (wall, spent) in steps.items()
        },
        "shares": shares(runs["plain"], *plain),
    }
    COST.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(table(result))


def run(**recipe: Any) -> Run:
    """A training of one epoch with these options."""
    rng = np.random.default_rng(0)

    def split(n: int) -> Split:
        x = rng.integers(-128, 128, (n, 32, 32, 3)).astype(np.int8)
        return Split(x, rng.integers(0, 10, n), np.arange(n))

    splits = {"train": split(4 * BATCH), "validation": split(VALIDATION), "test": split(1)}
    spec = TensorSpec((32, 32, 3), Quantization(1 / 255, -128))
    data = Dataset("noise", spec, tuple("0123456789"), splits, augment="crop_flip")
    job = Job(
        name="bench",
        dataset=DatasetConfig(name="cifar10"),
        model=ModelConfig(name="resnet8"),
        train=TrainConfig(epochs=1, batch_size=BATCH, **recipe),
    )
    return Run(job, job.train, data, Path(os.devnull))


def shares(plain: Run, wall: float, spent: float) -> dict[str, float]:
    """Shares of an epoch's processor time, without Jacobian or attack: making batches, and validation with the settling
    of statistics before it."""
    count = TRAINING // BATCH
    parts = fastest({"batches": lambda: list(plain.batches(0)), "validation": plain.validate}, ROUNDS)
    batches, validation = parts["batches"][1] / plain.steps * count, parts["validation"][1]
    whole = count * spent + batches + validation
    return {"input": round(batches / whole, 4), "validation": round(validation / whole, 4)}


def table(result: Mapping[str, Any]) -> str:
    """The result as text."""
    lines = [f"{'step':<36}{'steps/s':>8}{'ratio':>8}{'ratio, processor time':>23}"]
    for name, found in result["steps"].items():
        lines.append(f"{name:<36}{found['per_s']:>8.2f}{found['ratio']:>8.2f}{found['processor_ratio']:>23.2f}")
    shares = result["shares"]
    lines.append(f"of an epoch: input {100 * shares['input']:.1f} %, validation {100 * shares['validation']:.1f} %")
    lines.append(f"{result['backend']}, {result['threads']} threads, load average {result['load_average']}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
