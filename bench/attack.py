"""What a step of a white-box attack costs: `make bench-attack`. ResNet-8 of MLPerf-Tiny, samples of CIFAR-10's shape.

Two routes take turns: the surrogate of the stored integers (cifar10_resnet8_at of the zoo), with a projected gradient
descent by sign steps on it, and the Adversarial Robustness Toolbox (ART) on a Keras model of the same shape, with
the job's quantizers and untrained weights: the cost of a step depends on neither weights nor samples. Figures are the
processor time, which does not include waiting for a core, of the fastest of several rounds.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bench.timing import fastest
from pipeline.config import job as jobs
from pipeline.core import paths, registry, store
from pipeline.core.nouns import Int8Array, QModel
from pipeline.robustness.losses import CrossEntropy
from pipeline.robustness.surrogate import Surrogate
from pipeline.training.keras_backend import compiled, keras
from pipeline.workflow import zoo

NETWORK = "cifar10_resnet8_at"
RESULT = paths.RESOURCES / "bench" / "results" / "attack.json"
SAMPLES, STEPS, ROUNDS = 64, 2, 3
EPS_STEPS = 8
"""Lattice steps; eps = 8/255."""
STEP_SIZE = 0.125
"""Of eps."""


def main() -> None:
    """Measures, prints a table and writes bench/results/attack.json."""
    random = np.random.default_rng(0)
    model = store.load(zoo.shelf() / NETWORK, QModel)
    x = random.integers(-128, 128, (SAMPLES, *model.input.shape)).astype(np.int8)
    y = random.integers(0, len(model.classes), SAMPLES)
    surrogate, by_art = Surrogate(model), art_route(model, x, y)
    best = fastest({"surrogate": lambda: pgd(surrogate, x, y), "ART + Keras, untrained": by_art}, ROUNDS)
    result = {
        "network": NETWORK,
        "samples": SAMPLES,
        "steps": STEPS,
        "load_average": round(os.getloadavg()[0], 1),
        "ms_per_image_and_step": {
            name: {"processor": round(1e3 * spent / SAMPLES / STEPS, 3), "wall": round(1e3 * wall / SAMPLES / STEPS, 3)}
            for name, (wall, spent) in best.items()
        },
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    sys.stdout.write(table(result))


def pgd(surrogate: Surrogate, x: Int8Array, y: Any) -> Int8Array:
    """Samples after STEPS sign steps inside EPS_STEPS around x, on the lattice."""
    clean = x.astype(np.float32)
    low, high = np.maximum(clean - EPS_STEPS, -128), np.minimum(clean + EPS_STEPS, 127)
    moved, loss = clean, CrossEntropy()
    for _ in range(STEPS):
        found = surrogate.gradient(np.rint(moved).astype(np.int8), y, loss)
        moved = np.clip(moved + STEP_SIZE * EPS_STEPS * np.sign(found.gradient), low, high)
    return np.rint(moved).astype(np.int8)


def art_route(model: QModel, x: Int8Array, y: Any) -> Callable[[], object]:
    """The same attack by ART on an untrained Keras model of the network's job."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ART logs the frameworks that it does not find
        from art.attacks.evasion import ProjectedGradientDescentTensorFlowV2
        from art.estimators.classification import TensorFlowV2Classifier
    job = jobs.load(paths.shipped("jobs") / f"{NETWORK}.toml")
    build = registry.load("models", job.model.name).build
    network = build(model.input, len(model.classes), job.model, job.train)
    forward = compiled(lambda x: network(x, training=False), ((None, *model.input.shape), "float32"))
    classifier = TensorFlowV2Classifier(
        model=lambda x, training=False: forward(x),
        nb_classes=len(model.classes),
        input_shape=model.input.shape,
        loss_object=keras.losses.CategoricalCrossentropy(from_logits=True),
        clip_values=(0.0, 1.0),
    )
    eps = EPS_STEPS * model.input.quantization.scale
    attack = ProjectedGradientDescentTensorFlowV2(
        classifier, eps=eps, eps_step=STEP_SIZE * eps, max_iter=STEPS, batch_size=len(x), verbose=False
    )
    real = model.input.quantization.dequantize(x)
    return lambda: attack.generate(real, y)


def table(result: Mapping[str, Any]) -> str:
    """The result as text."""
    lines = [f"{'ms per image and step':<28}{'processor':>10}{'wall':>10}"]
    for name, found in result["ms_per_image_and_step"].items():
        lines.append(f"{name:<28}{found['processor']:>10.3f}{found['wall']:>10.3f}")
    lines.append(f"{result['network']}, {result['samples']} samples, load average {result['load_average']}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
