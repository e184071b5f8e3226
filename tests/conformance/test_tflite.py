"""An imported int8 TensorFlow Lite model computes the same integers as the interpreter's reference kernels.

The interpreter runs in a process of its own: tflite-runtime and TensorFlow in one process share symbols and crash.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.core import paths, shell
from pipeline.core.errors import ConfigError, UnsupportedError
from pipeline.importers import tflite
from pipeline.network import twin

DATA = Path(os.environ.get("TRITMCU_DATA", "missing")) / "mlperf_tiny"
needs_models = pytest.mark.skipif(not DATA.exists(), reason="TRITMCU_DATA holds no mlperf_tiny folder")


def apart(call: str, *arguments: object) -> None:
    """Runs this module's function `call` in a fresh interpreter; its failure fails the test."""
    program = f"from tests.conformance import test_tflite; test_tflite.{call}(*{tuple(map(str, arguments))!r})"
    done = shell.run([sys.executable, "-c", program], cwd=paths.RESOURCES, check=False, timeout_s=300)
    if done.output.strip().endswith("other interpreter"):
        pytest.skip("other interpreters round differently in 0.1 % of the logits (see docs/ARITHMETIC.md)")
    assert done.returncode == 0, done.output


def compare_logits(path: str, classes: str) -> None:
    """Logits (before the softmax) of random inputs, all equal."""
    if not tflite.backend().startswith("tflite_runtime 2.14"):
        print("other interpreter")
        return
    model = tflite.import_model(Path(path), "imported", [str(i) for i in range(int(classes))])
    x = np.random.default_rng(0).integers(-128, 128, (64, *model.input.shape)).astype(np.int8)
    ops = tflite.interpreter(Path(path))._get_ops_details()
    logits = next(op["inputs"][0] for op in ops if op["op_name"] == "SOFTMAX")
    expected = tflite.predict(Path(path), x, logits)
    assert len(np.unique(expected)) > 20
    assert np.array_equal(twin.run(model, x), expected)


def refuse_float(path: str) -> None:
    with pytest.raises(UnsupportedError, match="is float32, not int8"):
        tflite.import_model(Path(path), "float", ["a"])


def refuse_foreign(path: str) -> None:
    with pytest.raises(ConfigError, match=r"model\.tflite: no TensorFlow Lite model"):
        tflite.import_model(Path(path), "x", ["a"])


@pytest.mark.data
@needs_models
@pytest.mark.parametrize(("file", "classes"), [("pretrainedResnet_quant.tflite", 10), ("kws_ref_model.tflite", 12)])
def test_mlperf_tiny_models_are_bit_exact(file: str, classes: int) -> None:
    apart("compare_logits", DATA / file, classes)


@pytest.mark.data
@needs_models
def test_a_float_model_is_refused_by_tensor() -> None:
    apart("refuse_float", DATA / "kws_ref_model_float32.tflite")


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"not a flatbuffer at all")
    apart("refuse_foreign", path)
