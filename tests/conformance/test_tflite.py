"""An imported int8 TensorFlow Lite model computes the same integers as the interpreter's reference kernels."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pipeline import tflite, twin
from pipeline.errors import ConfigError, UnsupportedError

DATA = Path(os.environ.get("TRITMCU_DATA", "missing")) / "mlperf_tiny"
needs_models = pytest.mark.skipif(not DATA.exists(), reason="TRITMCU_DATA holds no mlperf_tiny folder")


@pytest.mark.data
@needs_models
@pytest.mark.parametrize(("file", "classes"), [("pretrainedResnet_quant.tflite", 10), ("kws_ref_model.tflite", 12)])
def test_mlperf_tiny_models_are_bit_exact(file: str, classes: int) -> None:
    """Logits (before the softmax) of random inputs, all equal."""
    if not tflite.backend().startswith("tflite_runtime 2.14"):
        pytest.skip("other interpreters round differently in 0.1 % of the logits (see docs/ARITHMETIC.md)")
    path = DATA / file
    model = tflite.import_model(path, "imported", [str(i) for i in range(classes)])
    x = np.random.default_rng(0).integers(-128, 128, (64, *model.input.shape)).astype(np.int8)
    ops = tflite.interpreter(path)._get_ops_details()
    logits = next(op["inputs"][0] for op in ops if op["op_name"] == "SOFTMAX")
    expected = tflite.predict(path, x, logits)
    assert len(np.unique(expected)) > 20
    assert np.array_equal(twin.run(model, x), expected)


@pytest.mark.data
@needs_models
def test_a_float_model_is_refused_by_tensor() -> None:
    with pytest.raises(UnsupportedError, match="is float32, not int8"):
        tflite.import_model(DATA / "kws_ref_model_float32.tflite", "float", ["a"])


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"not a flatbuffer at all")
    with pytest.raises(ConfigError, match=r"model\.tflite: no TensorFlow Lite model"):
        tflite.import_model(path, "x", ["a"])
