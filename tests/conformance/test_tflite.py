"""An imported int8 TensorFlow Lite model computes the same integers as the interpreter's reference kernels.

The interpreter runs in a process of its own: tflite-runtime and TensorFlow in one process share symbols and crash.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.core import paths, shell
from pipeline.core.errors import ConfigError, PipelineError, UnsupportedError
from pipeline.core.nouns import QModel
from pipeline.importers import tflite, tflite_graph, tflite_interpreter, tflite_writer
from pipeline.network import twin
from pipeline.workflow import zoo
from pipeline.workflow.plan import load_network
from tests.support import tflite_models

DATA = (paths.data_folder() or Path("missing")) / "mlperf_tiny"
needs_models = pytest.mark.skipif(not DATA.exists(), reason="TRITMCU_DATA holds no mlperf_tiny folder")
ROUNDS_TWICE = "tflite_runtime 2.14"
"""The interpreter whose rounding is meant (docs/ARITHMETIC.md)."""


def apart(call: str, *arguments: object) -> None:
    """Runs this module's function `call` in a fresh interpreter; its failure fails the test."""
    program = f"from tests.conformance import test_tflite; test_tflite.{call}(*{tuple(map(str, arguments))!r})"
    done = shell.run([sys.executable, "-c", program], cwd=paths.RESOURCES, check=False, timeout_s=600)
    if done.output.strip().endswith("other interpreter"):
        pytest.skip("other interpreters round differently in some of the logits (see docs/ARITHMETIC.md)")
    assert done.returncode == 0, done.output


def other_interpreter() -> bool:
    if tflite_interpreter.backend().startswith(ROUNDS_TWICE):
        return False
    print("other interpreter")
    return True


def imported(path: Path) -> QModel:
    graph = tflite_graph.read(path)
    logits = graph.operations[-1].inputs[0] if graph.operations[-1].name == "SOFTMAX" else graph.output
    return tflite.import_model(path, "imported", [str(i) for i in range(graph.spec(logits).size_bytes)])


def inputs(model: QModel, n: int, seed: int = 0) -> Any:
    x = np.random.default_rng(seed).integers(-128, 128, (n, *model.input.shape)).astype(np.int8)
    x[0], x[-1] = -128, 127
    return x


def answers(data: bytes, x: Any, softmax: bool) -> Any:
    """What the interpreter says to the file as it is, before its closing softmax."""
    module = tflite_interpreter._module()
    engine = module.Interpreter(
        model_content=data,
        experimental_op_resolver_type=module.OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    engine.allocate_tensors()
    wanted = engine._get_ops_details()[-1]["inputs"][0] if softmax else engine.get_output_details()[0]["index"]
    source = engine.get_input_details()[0]
    out = []
    for sample in x:
        engine.set_tensor(source["index"], sample.reshape(source["shape"]))
        engine.invoke()
        out.append(engine.get_tensor(wanted)[0].copy())
    return np.asarray(out)


def compare(path: Path, n: int) -> QModel:
    """All outputs to n random inputs, equal in the interpreter, in the C kernels and in the NumPy specification."""
    model = imported(path)
    x = inputs(model, n)
    softmax = tflite_graph.read(path).operations[-1].name == "SOFTMAX"
    expected = answers(path.read_bytes(), x, softmax).reshape(n, *model.output.shape)
    assert np.array_equal(twin.run(model, x), expected)
    assert np.array_equal(twin.specification(model, x[:8])[-1], expected[:8])
    return model


def compare_file(path: str) -> None:
    if not other_interpreter():
        model = compare(Path(path), 1000)
        assert len(np.unique(twin.run(model, inputs(model, 1000)))) > 20
        assert np.array_equal(
            tflite_interpreter.predict(Path(path), inputs(model, 3)), twin.run(model, inputs(model, 3))
        )


def compare_random(folder: str, kind: str, count: str) -> None:
    if other_interpreter():
        return
    path = Path(folder) / "model.tflite"
    seen = set()
    for seed in range(int(count)):
        make = {"network": tflite_models.random_model, "steps": tflite_models.steps_model}.get(kind)
        data = make(seed) if make else tflite_models.single(kind, seed)
        path.write_bytes(data)
        try:
            seen |= {layer.kind for layer in compare(path, 8).layers}
        except AssertionError as error:
            raise AssertionError(f"{kind}, seed {seed}") from error
    if kind == "network":
        assert len(seen) == 10, seen


def compare_decisive(folder: str, kind: str, bias: str) -> None:
    if other_interpreter():
        return
    path = Path(folder) / "model.tflite"
    data, x = tflite_models.decisive(kind, bias == "True")
    path.write_bytes(data)
    model = imported(path)
    x = x.reshape(1, *model.input.shape)
    assert np.array_equal(twin.run(model, x), answers(data, x, False).reshape(1, *model.output.shape))


def survive(folder: str, first: str, count: str) -> None:
    """Damaged files, named or computed right: never a traceback, never a crash of the interpreter."""
    if other_interpreter():
        return
    path = Path(folder) / "model.tflite"
    fates = {"refused": 0, "right": 0}
    for seed in range(int(first), int(first) + int(count)):
        random = np.random.default_rng(seed)
        make = tflite_models.random_model if seed % 4 else tflite_models.steps_model
        path.write_bytes(tflite_models.mutated(make(seed % 97), random))
        try:
            model = imported(path)
            x = inputs(model, 2, seed)
            right = np.array_equal(
                tflite_interpreter.predict(path, x).reshape(2, *model.output.shape), twin.run(model, x)
            )
        except (ConfigError, UnsupportedError) as error:
            assert str(error).startswith(str(path)) or "layer" in str(error), error
            fates["refused"] += 1
            continue
        assert right, f"seed {seed}"
        fates["right"] += 1
    assert min(fates.values()) > 0, fates


def compare_written(folder: str) -> None:
    """Files that are written of networks of our own say the same to the interpreter."""
    if other_interpreter():
        return
    path = Path(folder) / "model.tflite"
    for network in [load_network(zoo.find(Path(name))) for name in ("digits_stq_jr", "kws_dscnn_float")]:
        path.write_bytes(tflite_writer.contents(network))
        x = inputs(network, 16)
        assert np.array_equal(
            answers(path.read_bytes(), x, False).reshape(16, -1), twin.run(network, x).reshape(16, -1)
        )


def refuse_float(path: str) -> None:
    for call in (
        lambda: tflite.import_model(Path(path), "float", ["a"]),
        lambda: tflite_interpreter.interpreter(Path(path)),
    ):
        with pytest.raises(UnsupportedError, match="is float32, not int8") as caught:
            call()
        assert "representative_dataset" in caught.value.hint


def refuse_foreign(path: str) -> None:
    for call in (
        lambda: tflite.import_model(Path(path), "x", ["a"]),
        lambda: tflite_interpreter.interpreter(Path(path)),
    ):
        with pytest.raises(PipelineError, match=r"model\.tflite: not a TensorFlow Lite model"):
            call()


@pytest.mark.data
@pytest.mark.slow
@needs_models
@pytest.mark.parametrize("file", ["pretrainedResnet_quant.tflite", "kws_ref_model.tflite"])
def test_mlperf_tiny_models_are_bit_exact(file: str) -> None:
    apart("compare_file", DATA / file)


@pytest.mark.slow
def test_random_networks_are_bit_exact(tmp_path: Path) -> None:
    apart("compare_random", tmp_path, "network", 300)


@pytest.mark.parametrize(
    "kind",
    (
        *sorted(set(tflite_models.ON_IMAGES)),
        "dense",
        "mean",
        "maximum",
        "quantize",
        "reshape",
        "computed_reshape",
        "steps",
    ),
)
def test_every_operation_is_bit_exact(kind: str, tmp_path: Path) -> None:
    apart("compare_random", tmp_path, kind, 80)


def test_files_that_are_written_are_bit_exact(tmp_path: Path) -> None:
    apart("compare_written", tmp_path)


@pytest.mark.parametrize(("kind", "bias"), [("CONV_2D", True), ("FULLY_CONNECTED", True), ("FULLY_CONNECTED", False)])
def test_multipliers_are_equal_to_the_last_bit(kind: str, bias: bool, tmp_path: Path) -> None:
    apart("compare_decisive", tmp_path, kind, bias)


def test_damaged_files_are_refused_or_right(tmp_path: Path) -> None:
    apart("survive", tmp_path, 0, 1000)


@pytest.mark.data
@needs_models
def test_a_float_model_is_refused_by_tensor() -> None:
    apart("refuse_float", DATA / "kws_ref_model_float32.tflite")


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"not a flatbuffer at all")
    apart("refuse_foreign", path)
