"""What a training step costs: ResNet-8 of MLPerf-Tiny on samples of CIFAR-10's shape, batch 128.

    python -m bench.train            # or make bench-train
    python -m bench.train "width 2"  # one of the parts alone: steps, width 1, width 2, shares

The samples are noise: the cost of a step does not depend on them. Variants take turns, so that other load on the
machine slows all of them alike; the ratios are of the fastest rounds. Processor time does not include waiting for a
core.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.results import COST
from bench.timing import fastest
from pipeline.config.dataset import DatasetConfig
from pipeline.config.job import Job, ModelConfig, TrainConfig
from pipeline.core.nouns import Dataset, Quantization, Split, TensorSpec
from pipeline.training.keras_backend import NAME, THREADS, has_bfloat16, keras, to_numpy
from pipeline.training.run import Run

BATCH, ROUNDS, WIDTH_ROUNDS = 128, 15, 7
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


WIDTHS = (1, 2)
N_FGSM = {"adversarial": {"method": "n_fgsm", **EPS}}
BFLOAT = {"precision": "bfloat16"}
FLOAT, FLOAT_N_FGSM = "float", "float, N-FGSM"
ROWS: Mapping[str, tuple[int, Mapping[str, Any], str]] = {
    "ternary": (2, {}, FLOAT),
    FLOAT: (32, {}, FLOAT),
    "ternary, bfloat16": (2, BFLOAT, FLOAT),
    "ternary, N-FGSM": (2, N_FGSM, FLOAT_N_FGSM),
    FLOAT_N_FGSM: (32, N_FGSM, FLOAT_N_FGSM),
    "ternary, N-FGSM, bfloat16": (2, {**N_FGSM, **BFLOAT}, FLOAT_N_FGSM),
}
"""Steps at each width: bits of the weights, options, and the row that its cost is a ratio to."""
KERAS = "float, Keras alone"
"""The row of `keras_step`, a ratio to FLOAT."""


def main() -> None:
    """Measures all parts or those named on the command line, prints tables and updates bench/results/train.json."""
    beside = {part(width): functools.partial(beside_float, width) for width in WIDTHS}
    parts = {"steps": steps, **beside, "shares": shares}
    known = json.loads(COST.read_text(encoding="utf-8")) if COST.exists() else {}
    loads = dict(known.get("load_average", {}))
    for name in sys.argv[1:] or parts:
        known[name] = parts[name]()
        loads[name] = round(os.getloadavg()[0], 1)
    ordered = {name: known[name] for name in parts if name in known}
    result = {"backend": NAME, "threads": THREADS, "load_average": loads, "batch": BATCH, **ordered}
    COST.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(table(result))


def steps() -> dict[str, dict[str, float]]:
    """By variant: steps/s, and ratios to the plain one."""
    runs = {name: run(**recipe) for name, recipe in VARIANTS.items()}
    found = fastest({name: step_of(r) for name, r in runs.items()}, ROUNDS)
    plain = found["plain"]
    return {
        name: {
            "per_s": round(1 / wall, 2),
            "ratio": round(wall / plain[0], 2),
            "processor_ratio": round(spent / plain[1], 2),
        }
        for name, (wall, spent) in found.items()
    }


def beside_float(width: int) -> dict[str, dict[str, float]]:
    """By row: ms of processor time at this width, and the ratio to the row's float step. Without rows in bfloat16 where
    the processor lacks it."""
    rows = {name: row for name, row in ROWS.items() if has_bfloat16() or not row[1].get("precision")}
    tasks = {name: step_of(run(width, bits, **recipe)) for name, (bits, recipe, _) in rows.items()}
    spent = {name: took for name, (_, took) in fastest({**tasks, KERAS: keras_step(width)}, WIDTH_ROUNDS).items()}
    to = {**{name: base for name, (_, _, base) in rows.items()}, KERAS: FLOAT}
    return {name: {"ms": round(1000 * took), "ratio": round(took / spent[to[name]], 2)} for name, took in spent.items()}


def part(width: int) -> str:
    """Name of the part that `beside_float` measures."""
    return f"width {width}"


def step_of(one: Run) -> Callable[[], object]:
    """Takes a step on one batch, always the same."""
    batch = next(one.batches(0))
    return lambda: to_numpy(one.step(*batch))


def keras_step(width: float) -> Callable[[], object]:
    """Takes a step of a network without any quantizer, as `fit` takes it with each batch."""
    model = plain_network(width)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(), loss, jit_compile=False)  # as our own steps: XLA is slower here
    rng = np.random.default_rng(0)
    x, y = rng.random((BATCH, 32, 32, 3), np.float32), rng.integers(0, 10, BATCH)
    return lambda: model.train_on_batch(x, y)


def plain_network(width: float) -> Any:
    """ResNet-8 of Keras' own layers, in float32: as pipeline/training/models/resnet8.py, without rounding."""

    def conv(x: Any, filters: int, kernel: int, strides: int = 1) -> Any:
        made = keras.layers.Conv2D(filters, kernel, strides=strides, padding="same", use_bias=False)
        return keras.layers.BatchNormalization()(made(x))

    inputs = keras.Input((32, 32, 3))
    x = keras.layers.ReLU()(conv(inputs, round(16 * width), 3))
    for base, strides in ((16, 1), (32, 2), (64, 2)):
        filters = round(base * width)
        y = conv(keras.layers.ReLU()(conv(x, filters, 3, strides)), filters, 3)
        x = conv(x, filters, 1, strides) if strides > 1 else x
        x = keras.layers.ReLU()(keras.layers.Add()([x, y]))
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(8)(x))
    return keras.Model(inputs, keras.layers.Dense(10)(x))


def run(width: float = 1.0, weight_bits: int = 2, **recipe: Any) -> Run:
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
        model=ModelConfig(name="resnet8", width=width, weight_bits=weight_bits),
        train=TrainConfig(epochs=1, batch_size=BATCH, **recipe),
    )
    return Run(job, job.train, data, Path(os.devnull))


def shares() -> dict[str, float]:
    """Shares of an epoch's processor time, without Jacobian or attack: making batches, and validation with the settling
    of statistics before it."""
    plain, count = run(), TRAINING // BATCH
    tasks = {"step": step_of(plain), "batches": lambda: list(plain.batches(0)), "validation": plain.validate}
    parts = {name: spent for name, (_, spent) in fastest(tasks, ROUNDS).items()}
    batches, validation = parts["batches"] / plain.steps * count, parts["validation"]
    whole = count * parts["step"] + batches + validation
    return {"input": round(batches / whole, 4), "validation": round(validation / whole, 4)}


def table(result: Mapping[str, Any]) -> str:
    """The result as text."""
    lines = [f"{'step':<36}{'steps/s':>8}{'ratio':>8}{'ratio, processor time':>23}"]
    for name, found in result["steps"].items():
        lines.append(f"{name:<36}{found['per_s']:>8.2f}{found['ratio']:>8.2f}{found['processor_ratio']:>23.2f}")
    for name in (name for name in map(part, WIDTHS) if name in result):
        lines.append(f"{name:<36}{'processor ms':>14}{'to float':>10}")
        lines += [f"{row:<36}{found['ms']:>14}{found['ratio']:>10.2f}" for row, found in result[name].items()]
    shares = result["shares"]
    lines.append(f"of an epoch: input {100 * shares['input']:.1f} %, validation {100 * shares['validation']:.1f} %")
    lines.append(f"{result['backend']}, {result['threads']} threads, load averages {result['load_average']}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
