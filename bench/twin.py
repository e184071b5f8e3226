"""What an answer of the twin costs on this computer: `make bench-twin`. MLPerf-Tiny's int8 ResNet-8, imported.

Three take turns on the same images: the twin (batch.c), the portable kernels of firmware/nn that define it, and the
interpreter of TensorFlow Lite with its optimized kernels (XNNPACK, one thread). Figures are the processor time, which
does not include waiting for a core, of the fastest of several rounds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from bench.timing import fastest
from pipeline.core import paths
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Int8Array
from pipeline.importers import tflite, tflite_interpreter
from pipeline.network import twin

SAMPLES, ROUNDS = 256, 5


def main() -> None:
    """Measures and prints a table."""
    path = reference_model()
    model = tflite.import_model(path, "resnet8")
    x = np.random.default_rng(0).integers(-128, 128, (SAMPLES, *model.input.shape)).astype(np.int8)
    ready = twin.Twin(model)
    tasks: dict[str, Callable[[], object]] = {
        "twin": lambda: ready.run(x),
        "portable kernels": lambda: twin.trace(model, x)[-1],
        tflite_interpreter.backend(): interpreted(path, x),
    }
    sys.stdout.write(table(fastest(tasks, ROUNDS)))


def reference_model() -> Path:
    """MLPerf-Tiny's int8 ResNet-8. ConfigError: it is not there."""
    folder = paths.data_folder()
    path = (folder or Path()) / "mlperf_tiny" / "pretrainedResnet_quant.tflite"
    if folder is None or not path.exists():
        raise ConfigError(f"{path.name} is not in TRITMCU_DATA", "name the folder that holds mlperf_tiny there")
    return path


def interpreted(path: Path, x: Int8Array) -> Callable[[], object]:
    """Answers x by the interpreter's optimized kernels."""
    engine = tflite_interpreter.interpreter(path, reference=False)
    source = engine.get_input_details()[0]

    def answer() -> None:
        for sample in x:
            engine.set_tensor(source["index"], sample[None])
            engine.invoke()

    return answer


def table(best: Mapping[str, tuple[float, float]]) -> str:
    """The result as text."""
    (_, own), *_ = best.values()
    lines = [f"{'':<24}{'ms per image':>14}{'images per s':>14}{'twin is':>10}"]
    for name, (_, spent) in best.items():
        each = spent / SAMPLES
        lines.append(f"{name:<24}{1e3 * each:>14.3f}{1 / each:>14.0f}{spent / own:>9.2f}x")
    return "\n".join([*lines, "processor time, one core"]) + "\n"


if __name__ == "__main__":
    main()
