"""What the import of TensorFlow Lite models refuses, and by which name; no interpreter is loaded here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.core import paths
from pipeline.core.errors import ConfigError, UnsupportedError
from pipeline.core.nouns import QModel
from pipeline.importers import flatbuffer, tflite, tflite_graph, tflite_schema
from pipeline.network import arith, twin, validity
from tests.support import tflite_models
from tests.support.tflite_models import Builder


def builder(shape: tuple[int, ...] = (1, 6, 6, 2)) -> Builder:
    return Builder(shape, np.random.default_rng(0))


def conv(b: Builder, filters: Any = None, scale: Any = 0.01, out: Any = None, **options: Any) -> Builder:
    """A 3 x 3 convolution to three channels, "same", stride 1."""
    filters = np.ones((3, 3, 3, 2), np.int8) if filters is None else filters
    source, values = b.last, b.constant(filters, scale)
    plain = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    b.operation("CONV_2D", [source, values], out or b.activation((1, 6, 6, 3), 0.1), "Conv2DOptions", **plain | options)
    return b


def load(b: Builder, folder: Path, outputs: int = 108) -> QModel:
    return from_bytes(b.finish(), folder, outputs)


def from_bytes(data: bytes, folder: Path, outputs: int = 108) -> QModel:
    path = folder / "model.tflite"
    path.write_bytes(data)
    return tflite.import_model(path, "imported", [str(i) for i in range(outputs)])


def test_the_plain_convolution_is_imported(tmp_path: Path) -> None:
    model = load(conv(builder()), tmp_path)
    assert [layer.kind for layer in model.layers] == ["conv2d"]
    assert model.layers[0].params == {"stride": (1, 1), "padding": (1, 1), "activation": (-128, 127)}
    assert model.layers[0].bias.tolist() == [0, 0, 0], "no bias is a bias of zero"


def test_a_bias_left_out_by_a_negative_number_is_zero(tmp_path: Path) -> None:
    b = conv(builder())
    b.graph.operators[0].inputs.append(-1)
    assert load(b, tmp_path).layers[0].bias.tolist() == [0, 0, 0]


def weights(value: int, shape: tuple[int, ...] = (3, 3, 3, 2)) -> Any:
    return np.full(shape, value, np.int8)


def with_zero_point(b: Builder) -> Builder:
    b.graph.tensors[1].quantization.zeroPoint = [3]
    return b


def tensor_type(kind: str) -> Callable[[Builder], Builder]:
    def change(b: Builder) -> Builder:
        b.graph.tensors[0].type = getattr(b.s.TensorType, kind)
        return b

    return change


def operation(name: str, table: str = "", **options: Any) -> Builder:
    b = builder()
    b.operation(name, [b.last], b.activation((1, 6, 6, 2), b.scale, b.zero_point), table, **options)
    return b


def added(shape: tuple[int, ...]) -> Builder:
    b = builder()
    source, other = b.last, b.activation(shape, 0.1)
    b.operation("RELU", [source], other)
    b.operation("ADD", [source, other], b.activation((1, 6, 6, 2), 0.1), "AddOptions")
    return b


def padded(amounts: list[list[int]], shape: tuple[int, ...]) -> Builder:
    b = builder()
    source, scale, zero = b.last, b.scale, b.zero_point
    values = b.constant(np.array(amounts, np.int32))
    b.operation("PAD", [source, values], b.activation(shape, scale, zero), "PadOptions")
    return b


def mean(axes: list[int], shape: tuple[int, ...]) -> Builder:
    b = builder()
    source, values = b.last, b.constant(np.array(axes, np.int32))
    b.operation("MEAN", [source, values], b.activation(shape, 0.1), "ReducerOptions", keepDims=False)
    return b


def early_softmax() -> Builder:
    b = builder((1, 8))
    b.softmax()
    b.dense()
    return b


def early_sigmoid() -> Builder:
    b = builder((1, 8))
    b.operation("LOGISTIC", [b.last], b.activation((1, 8), 1 / 256, -128))
    b.dense()
    return b


def any_size() -> Builder:
    b = conv(builder())
    b.graph.tensors[0].shapeSignature = [1, -1, 6, 2]
    return b


def ended_by(kind: str, moved: int = 0) -> Builder:
    """A convolution between two operations that quantize inputs of that type and bring outputs back to it. moved: of
    the zero point of the outer input, from that of the same lattice."""
    b = conv(builder())
    number = getattr(b.s.TensorType, kind)
    for end, last in (("in", 0), ("out", b.last)):
        inner = b.graph.tensors[last].quantization
        zero = [inner.zeroPoint[0] + 128 + moved] if kind == "UINT8" else None
        outer = b.tensor(b.graph.tensors[last].shape, number, inner.scale if zero else None, zero)
        b.graph.tensors[outer].name = end.encode()
        real = "DEQUANTIZE" if kind == "FLOAT32" and end == "out" else "QUANTIZE"
        b.operation(real, *(([outer], last) if end == "in" else ([last], outer)))
        if end == "in":
            b.graph.operators.insert(0, b.graph.operators.pop())
            b.graph.inputs = [outer]
    return b


def two_inputs() -> Builder:
    b = conv(builder())
    b.graph.inputs = [0, 0]
    return b


def with_input_zero_point(zero: int) -> Builder:
    b = conv(builder())
    b.graph.tensors[0].quantization.zeroPoint = [zero]
    return b


def squeezed_scalar() -> Builder:
    b = builder((1, 4))
    scalar = b.tensor((), b.s.TensorType.INT8, 0.1, 0)
    b.operation("SQUEEZE", [scalar], b.activation((1, 4), 0.1, 0), "SqueezeOptions", squeezeDims=[0])
    return b


def with_bias_zero_point() -> Builder:
    b = conv(builder())
    bias = b.constant(np.zeros(3, np.int32), 0.001)
    b.graph.operators[0].inputs = [*b.graph.operators[0].inputs[:2], bias]
    b.graph.tensors[bias].quantization.zeroPoint = [5]
    return b


def without_output() -> Builder:
    """Two operands and nothing made of them, of the types of an operation that quantizes the input."""
    b = builder((1, 4))
    real = b.tensor((1, 4), b.s.TensorType.FLOAT32)
    b.operation("QUANTIZE", [real, b.last], b.last, "QuantizeOptions")
    b.graph.operators[0].outputs, b.graph.inputs = [], [real]
    return b


DAMAGED = {
    "above int8": (lambda: with_input_zero_point(128), "tensor 0 of type int8 has the zero point 128"),
    "below int8": (lambda: with_input_zero_point(-129), "tensor 0 of type int8 has the zero point -129"),
    "the least of all": (
        lambda: with_input_zero_point(-(1 << 63)),
        "tensor 0 of type int8 has the zero point -9223372036854775808",
    ),
    "of a bias": (with_bias_zero_point, r"tensor \d of type int32 has the zero point 5"),
    "no output": (without_output, r"operation 0 \(QUANTIZE\) has 2 operands and writes tensors \(\)"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_no_converter_writes_is_damaged(name: str, tmp_path: Path) -> None:
    make, message = DAMAGED[name]
    with pytest.raises(ConfigError, match=f"damaged, {message}"):
        load(make(), tmp_path)


REFUSED = {
    "scalar": (squeezed_scalar, r"tensor 1 \('t1'\) has shape \(\)"),
    "dilation": (lambda: conv(builder(), dilationHFactor=2), r"operation 0 \(CONV_2D\): dilation \(2, 1\)"),
    "groups": (lambda: conv(builder(), weights(1, (3, 3, 3, 1))), r"\(CONV_2D\): filters of 1 of 2 channels"),
    "fused": (lambda: conv(builder(), fusedActivationFunction=4), r"\(CONV_2D\): fused activation TANH"),
    "weight": (lambda: conv(builder(), weights(-128)), r"weight 0 is -128"),
    "zero point": (lambda: with_zero_point(conv(builder())), r"\(CONV_2D\): weights with 1 scales .* zero points"),
    "accumulator": (
        lambda: conv(builder((1, 6, 6, 2)), weights(127), 1e7),
        r"\(CONV_2D\): (its accumulators could overflow 32 bits|multiplier .* left shift)",
    ),
    "float": (lambda: tensor_type("FLOAT32")(conv(builder())), r"tensor 0 \('t0'\) is float32, not int8"),
    "uint8": (lambda: tensor_type("UINT8")(conv(builder())), r"tensor 0 \('t0'\) is uint8, not int8"),
    "another lattice": (lambda: ended_by("UINT8", moved=1), r"tensor 3 \('in'\) is uint8, not int8"),
    "any size": (any_size, r"tensor 0, its input, of the shape \(1, -1, 6, 2\)"),
    "sigmoid": (early_sigmoid, r"\(LOGISTIC\): a sigmoid that is not the last operation"),
    "batch": (lambda: operation_on((2, 6, 6, 2)), r"has shape \(2, 6, 6, 2\)"),
    "unknown": (lambda: operation("HARD_SWISH"), r"operation 0 \(HARD_SWISH\): no layer computes it"),
    "add": (lambda: added((1, 1, 1, 2)), r"makes shape|adds shapes"),
    "pad": (lambda: padded([[0, 0], [0, 0], [0, 0], [1, 0]], (1, 6, 6, 3)), r"\(PAD\): padding of .*\[1, 0\]"),
    "mean": (lambda: mean([3], (1, 6, 6)), r"\(MEAN\): axes \[3\]"),
    "softmax": (early_softmax, r"\(SOFTMAX\): a softmax that is not the last"),
    "inputs": (two_inputs, r"2 inputs"),
}


def operation_on(shape: tuple[int, ...]) -> Builder:
    b = builder(shape)
    b.operation("RELU", [b.last], b.activation(shape, 0.1))
    return b


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_kernel_computes_is_refused_by_name(name: str, tmp_path: Path) -> None:
    make, message = REFUSED[name]
    with pytest.raises((UnsupportedError, ConfigError), match=message) as caught:
        load(make(), tmp_path)
    assert name in ("add", "weight") or isinstance(caught.value, UnsupportedError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "hint"), [("HARD_SWISH", "train it with ReLU or ReLU6; known: "), ("CUMSUM", "known: ")]
)
def test_the_hint_is_what_comes_nearest(name: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=rf"\({name}\): no layer computes it") as caught:
        load(operation(name), tmp_path)
    assert caught.value.hint.startswith(hint) and "CONV_2D" in caught.value.hint


@pytest.mark.parametrize("kind", ["FLOAT32", "UINT8"])
def test_inputs_and_outputs_of_another_type_are_those_on_its_int8_side(kind: str, tmp_path: Path) -> None:
    """As TFLiteConverter makes them without inference_input_type, or with tf.uint8."""
    plain, outer = conv(builder()), ended_by(kind)
    model, same = load(outer, tmp_path), load(plain, tmp_path)
    assert (model.input, model.output, len(model.layers)) == (same.input, same.output, 1)
    (tmp_path / "outer.tflite").write_bytes(outer.finish())
    read = tflite_graph.read(tmp_path / "outer.tflite")
    (tmp_path / "inner.tflite").write_bytes(read.contents())
    again = tflite_graph.read(tmp_path / "inner.tflite")
    assert ([op.name for op in again.operations], again.input) == (["CONV_2D"], read.input), "what an interpreter gets"


def single(closed: bool) -> Builder:
    """One dense unit on eight inputs, and a sigmoid."""
    b = builder((1, 8))
    values = b.constant(np.arange(-4, 4, dtype=np.int8).reshape(1, 8), 0.01)
    options = {"fusedActivationFunction": 0, "weightsFormat": 0, "keepNumDims": False}
    b.operation("FULLY_CONNECTED", [b.last, values], b.activation((1, 1), 0.01), "FullyConnectedOptions", **options)
    if closed:
        b.operation("LOGISTIC", [b.last], b.activation((1, 1), 1 / 256, -128))
    return b


def test_one_sigmoid_for_two_classes_is_two_logits(tmp_path: Path) -> None:
    model = load(single(closed=True), tmp_path, 2)
    x = np.random.default_rng(1).integers(-128, 128, (50, 8)).astype(np.int8)
    (tmp_path / "one.tflite").write_bytes(single(closed=False).finish())
    one = tflite.import_model(tmp_path / "one.tflite", "one", ["positive"])
    logits, zero = twin.run(model, x), model.output.quantization.zero_point
    assert (logits[:, 0] == zero).all() and np.array_equal(logits[:, 1:], twin.run(one, x))
    validity.require(model)
    assert len(set(logits[:, 1].tolist())) > 5
    assert load(single(closed=False), tmp_path, 2).layers[-1].output.shape == (2,)


def test_a_softmax_of_one_unit_says_nothing_of_two_classes(tmp_path: Path) -> None:
    b = single(closed=False)
    b.operation("SOFTMAX", [b.last], b.activation((1, 1), 1 / 256, -128), "SoftmaxOptions", beta=1.0)
    with pytest.raises(ConfigError, match="1 outputs, 2 classes"):
        load(b, tmp_path, 2)


def test_an_image_without_an_axis_for_its_channel_gets_one(tmp_path: Path) -> None:
    b = builder((1, 4, 2))
    shape = b.constant(np.array([1, 8], np.int32))
    b.operation("RESHAPE", [b.last, shape], b.activation((1, 8), b.scale, b.zero_point), "ReshapeOptions")
    assert load(b, tmp_path, 8).input.shape == (4, 2, 1)


def test_a_padding_becomes_that_of_the_convolution(tmp_path: Path) -> None:
    b = padded([[0, 0], [1, 0], [0, 1], [0, 0]], (1, 7, 7, 2))
    b.shape = (1, 7, 7, 2)
    filters = b.constant(weights(1, (3, 3, 3, 2)), 0.01)
    source = 2
    out = b.activation((1, 5, 5, 3), 0.1)
    options = {"padding": b.s.Padding.VALID, "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    b.operation("CONV_2D", [source, filters], out, "Conv2DOptions", **options)
    layer = load(b, tmp_path, 75).layers[0]
    assert (layer.kind, layer.params["padding"], layer.output.shape) == ("conv2d", (1, 0), (5, 5, 3))


def test_a_wrong_number_of_classes_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="108 outputs, 3 classes"):
        load(conv(builder()), tmp_path, 3)


def test_a_setting_of_a_newer_schema_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this version knew one field less of the convolution's settings than the file has."""
    fields = tflite_schema.TABLES["Conv2DOptions"]
    data = conv(builder(), quantizedBiasType=2).finish()
    monkeypatch.setitem(tflite_schema.TABLES, "Conv2DOptions", fields[:-1])
    with pytest.raises(UnsupportedError, match=r"settings that are not known here \(slots 6\)"):
        from_bytes(data, tmp_path)


def test_missing_huge_and_strange_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        tflite_graph.read(tmp_path / "none.tflite")
    (tmp_path / "endless.tflite").symlink_to("/dev/zero")
    for path in (tmp_path, tmp_path / "endless.tflite"):
        with pytest.raises(ConfigError, match="not a file"):
            tflite_graph.read(path)
    huge = tmp_path / "huge.tflite"
    with huge.open("wb") as file:
        file.truncate(tflite_graph.MOST_BYTES + 1)
    with pytest.raises(UnsupportedError, match="more than"):
        tflite_graph.read(huge)


def test_a_vector_that_claims_two_gigabytes_is_refused_before_room_is_made(tmp_path: Path) -> None:
    schema = flatbuffer.schema("Top: a:[i]")
    data = bytearray(flatbuffer.write({"a": np.arange(4)}, "Top", schema, b"TEST"))
    at = data.index(np.arange(4, dtype="<i4").tobytes()) - 4
    for count, said in ((1 << 25, "bytes .* are named"), ((1 << 31) - 1, "more elements"), ((1 << 32) - 1, "more")):
        data[at : at + 4] = count.to_bytes(4, "little")
        with pytest.raises(ConfigError, match=f"file damaged: it .*{said}"):
            flatbuffer.Reader(bytes(data), schema, "file").root("Top", b"TEST")


def test_weights_that_are_not_integers_name_the_way_to_quantize(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="operand 1 is not a constant of type int8") as caught:
        load(float_weights(builder()), tmp_path)
    assert "representative_dataset" in caught.value.hint


def float_weights(b: Builder) -> Builder:
    """A convolution of an int8 input whose filters are real values."""
    made = conv(b)
    made.graph.tensors[made.graph.operators[0].inputs[1]].type = made.s.TensorType.FLOAT32
    return made


def test_offsets_to_one_table_over_and_over_are_refused() -> None:
    """A hundred kilobytes whose tables would be a million: 1,000 offsets to one table of 1,000 tables."""
    schema = flatbuffer.schema("Top: a:[Mid]\nMid: b:[Leaf]\nLeaf: c:i")
    small, large = {"b": None}, {"b": [{"c": 1}] * 1000}
    data = bytearray(flatbuffer.write({"a": [small] * 999 + [large]}, "Top", schema, b"TEST"))
    reader = flatbuffer.Reader(bytes(data), schema, "file")
    assert len(reader.root("Top", b"TEST")["a"][-1]["b"]) == 1000
    first = reader._follow(reader._slots(reader._follow(0))[0]) + 4
    last = reader._follow(first + 4 * 999)
    for at in range(first, first + 4000, 4):
        data[at : at + 4] = (last - at).to_bytes(4, "little")
    with pytest.raises(ConfigError, match="more tables than any network has"):
        flatbuffer.Reader(bytes(data), schema, "file").root("Top", b"TEST")


def test_the_import_loads_neither_interpreter_nor_tensorflow() -> None:
    code = (
        "import sys; from pathlib import Path; from pipeline.importers import tflite\n"
        "try: tflite.import_model(Path('none'), 'x', [])\nexcept Exception: pass\n"
        "print(*(m for m in sys.modules if m in ('tensorflow', 'tflite_runtime', 'ai_edge_litert')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=paths.RESOURCES, env=os.environ
    )
    assert done.stdout.strip() == "", done.stderr


def snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


@pytest.mark.parametrize("table", tflite_schema.TABLES)
def test_the_schema_is_tensorflows(table: str) -> None:
    """Fields in the order of their slots, with their defaults; all of them in tables of settings."""
    theirs = tflite_models.schema()
    made = getattr(theirs, table + "T")()
    slots = {
        int(number): snake(name)
        for name, number in re.findall(
            rf"def {table}Add(\w+)\(builder, \w+\):\n.*?Slot\((\d+)", Path(theirs.__file__).read_text()
        )
    }
    fields = tflite_schema.TABLES[table]
    assert [f.name for f in fields] == [slots[i] for i in range(len(fields))]
    for f in fields:
        default = getattr(made, next(n for n in vars(made) if snake(n[0].upper() + n[1:]) == f.name))
        if len(f.type) == 1:
            assert (default or 0) == f.default, f.name
    if table in tflite_schema.OPTIONS:
        assert len(fields) == len(slots), f"TensorFlow knows more settings: {slots}"
        assert getattr(theirs.BuiltinOptions, table) == tflite_schema.OPTIONS[table]


def test_the_names_are_tensorflows() -> None:
    s = tflite_models.schema()
    assert all(getattr(s.BuiltinOperator, name) == i for i, name in enumerate(tflite_schema.OPERATORS))
    assert all(getattr(s.TensorType, name.upper()) == i for i, name in enumerate(tflite_schema.TYPES))
    assert all(getattr(s.ActivationFunctionType, n) == i for i, n in enumerate(tflite_schema.ACTIVATIONS))
    assert [s.Padding.SAME, s.Padding.VALID] == [0, 1]


@pytest.mark.parametrize("count", [1, 2, 3, 25, 49, 64, 125])
def test_a_multiplier_divided_by_a_count(count: int) -> None:
    multiplier, shift = arith.divide_multiplier(*arith.quantize_multiplier(0.7), count)
    assert multiplier * 2.0 ** (shift - 31) == pytest.approx(0.7 / count, rel=1e-8)
