"""tflite_writer: an int8 file of a network computes its integers, or the layer that cannot be said is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.core.errors import UnsupportedError
from pipeline.core.nouns import QLayer, QModel, Quantization, TensorSpec
from pipeline.importers import tflite, tflite_graph, tflite_scales, tflite_writer
from pipeline.network import arith, twin
from pipeline.stages import lower
from pipeline.workflow import zoo
from pipeline.workflow.plan import load_network
from tests.support import networks, tflite_models, tiny


def again(model: QModel, path: Path, gain: float = 1.0) -> QModel:
    """What is read of the file that is written of the network; both answer alike."""
    path.write_bytes(tflite_writer.contents(model, gain))
    read = tflite.import_model(path, model.name, model.classes)
    x = tiny.samples(model, 32)
    found = twin.run(read, x).reshape(32, -1)
    np.testing.assert_array_equal(twin.run(model, x).reshape(32, -1), found)
    assert len(np.unique(found)) > 5
    return read


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_a_lowered_network_is_the_same_in_the_file(tmp_path: Path, bits: int) -> None:
    b = tiny.Builder((7, 6, 3), bits)
    stem = b.activation(b.norm(b.weighted("stem", "conv2d", "input", (3, 2, 3, 5), bits, (2, 1)), 5))
    deep = b.activation(b.weighted("deep", "depthwise_conv2d", stem, (2, 3, 5, 2), bits), tiny.LINEAR)
    side = b.activation(b.weighted("side", "conv2d", stem, (1, 1, 5, 10), bits))
    joined = b.activation(b.add("joined", "concatenate", [deep, side]), tiny.LINEAR)
    both = b.activation(b.add("both", "add", [joined, joined]))
    most = b.add("most", "max_pool2d", [both], {"pool": (3, 2), "strides": (2, 2), "padding": "same"})
    mean = b.add("mean", "global_average_pool2d", [most])
    b.weighted("logits", "dense", mean, (20, 4), bits)
    model = lower.lower(b.model("net"))
    read = again(model, tmp_path / "net.tflite")
    assert {layer.weight_bits for layer in read.layers if layer.kind == "conv2d"} == {8}
    once_more = again(read, tmp_path / "again.tflite")
    assert [layer.kind for layer in once_more.layers] == [layer.kind for layer in read.layers]


def residual(steps: int) -> QModel:
    """An 8-bit network, read by an add and by a convolution, whose multipliers are up to `steps` from those of float32
    scales."""
    b = tiny.Builder((6, 6, 3), 4)
    stem = b.activation(b.weighted("stem", "conv2d", "input", (3, 3, 3, 12), 8))
    deep = b.activation(b.weighted("deep", "depthwise_conv2d", stem, (3, 3, 12, 1), 8), tiny.LINEAR)
    side = b.activation(b.weighted("side", "conv2d", deep, (1, 1, 12, 12), 8))
    both = b.activation(b.add("both", "add", [stem, side]))
    b.weighted("logits", "dense", b.add("mean", "global_average_pool2d", [both]), (12, 4), 8)
    model = lower.lower(b.model("net"))
    layers = []
    for layer in model.layers:
        if layer.multiplier is not None:
            moved = layer.multiplier + b.random.integers(-steps, steps + 1, len(layer.multiplier), dtype=np.int32)
            layer = replace(layer, multiplier=np.clip(moved, 1 << 30, arith.INT32_MAX).astype(np.int32))
        layers.append(layer)
    return replace(model, layers=tuple(layers))


def operators(path: Path) -> list[str]:
    return [operation.name for operation in tflite_graph.read(path).operations]


def test_multipliers_of_no_float32_scale_are_said_by_another_scale_of_the_output(tmp_path: Path) -> None:
    """What the add reads is put back on its lattice; a weighted layer reads the other scale as it is."""
    path, model = tmp_path / "net.tflite", residual(64)
    read = again(model, path)
    assert 1 <= operators(path).count("QUANTIZE") <= 2, "of stem and side, not of deep"
    pairs = zip(model.layers[:4], read.layers[:4], strict=True)
    moved = [abs(a.output.quantization.scale / b.output.quantization.scale - 1) for a, b in pairs]
    assert 1e-7 < max(moved) < 1 / 2048
    again(residual(0), path)
    assert "QUANTIZE" not in operators(path), "lowering makes multipliers of float32 scales"


def test_every_file_that_can_be_read_can_be_written(tmp_path: Path) -> None:
    for seed in range(60):
        (tmp_path / "net.tflite").write_bytes(tflite_models.random_model(seed))
        try:
            model = tflite.import_model(tmp_path / "net.tflite", "net")
        except UnsupportedError:
            continue
        (tmp_path / "again.tflite").write_bytes(tflite_writer.contents(model))
        x = tiny.samples(model, 4)
        read = tflite.import_model(tmp_path / "again.tflite", "net")
        np.testing.assert_array_equal(twin.run(model, x).reshape(4, -1), twin.run(read, x).reshape(4, -1), f"{seed}")


@pytest.mark.parametrize("name", ["digits_stq_jr", "kws_dscnn_stq", "cifar10_resnet8_float"])
def test_networks_of_the_zoo_are_exact(tmp_path: Path, name: str) -> None:
    again(load_network(zoo.find(Path(name))), tmp_path / "net.tflite")


def test_an_input_of_other_units_is_stated_in_its_own(tmp_path: Path) -> None:
    b = tiny.Builder((5, 5, 1))
    b.weighted("logits", "dense", b.add("flat", "flatten", ["input"]), (25, 4), 2)
    model = lower.lower(b.model("net"))
    scaled = again(model, tmp_path / "net.tflite").input.quantization
    assert scaled.scale == pytest.approx(model.input.quantization.scale)
    label = TensorSpec(model.input.shape, Quantization(0.5, 4))
    renamed = QLayer("units", "flatten", (0,), label)
    moved = tuple(replace(layer, inputs=tuple(t + 1 for t in layer.inputs)) for layer in model.layers)
    first = replace(moved[0], output=replace(moved[0].output, quantization=label.quantization))
    shifted = replace(model, layers=(renamed, first, *moved[1:]))
    x = tiny.samples(model, 8)
    specified = twin.specification(shifted, x)[-1]
    np.testing.assert_array_equal(twin.run(shifted, x).reshape(8, -1), specified.reshape(8, -1))
    read = again(shifted, tmp_path / "units.tflite")
    assert (read.input.quantization.scale, read.input.quantization.zero_point) == (0.5, 4)


def layer_of(**changes: Any) -> QModel:
    model = networks.imported(0)
    return replace(model, layers=tuple(replace(layer, **changes.get(layer.kind, {})) for layer in model.layers))


REFUSED = {
    "clamp": (
        lambda: layer_of(conv2d={"params": {"stride": (2, 2), "padding": (0, 0), "activation": (-7, 90)}}),
        r"layer 'stem': clamps to \(-7, 90\) of 8 bits",
    ),
    "mean": (lambda: networks.imported(0), "layer 'mean': "),
    "values": (lambda: networks.strange_concatenation(), "layer 'joined': joins a tensor of scale"),
    "scales": (lambda: narrow(300), r"layer 'c', channel \d+: no float32 scale of its weights gives its multiplier"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_operation_says_is_refused_by_layer(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(UnsupportedError, match=message):
        tflite_writer.contents(make())


def dense(multiplier: int, weights: Any) -> QLayer:
    """One channel of a convolution of 1 x 1 whose outputs fill the range."""
    total = int(np.abs(weights.astype(np.int64)).sum()) * 127
    _, shift = arith.quantize_multiplier(100 / total)
    spec, params = TensorSpec((1, 1, 1), Quantization(1.0, 0)), {"stride": (1, 1), "padding": (0, 0)}
    return QLayer(
        "c", "conv2d", (0,), spec, {**params, "activation": (-128, 127)}, weights, 8, np.zeros(1, np.int32),
        np.array([multiplier], np.int32), np.array([shift], np.int8),
    )  # fmt: skip


def narrow(channels: int) -> QModel:
    """A convolution of 8 bits whose many channels each leave their multiplier little room."""
    weights = np.full((channels, 1, 1, 16), 127, np.int8)
    layer = dense(0, weights[:1])
    multiplier = np.random.default_rng(0).integers(1 << 30, 1 << 31, channels).astype(np.int32)
    assert layer.shift is not None
    wide = replace(
        layer, weights=weights, bias=np.zeros(channels, np.int32), multiplier=multiplier,
        shift=np.repeat(layer.shift, channels), output=TensorSpec((1, 1, channels), layer.output.quantization),
    )  # fmt: skip
    return QModel("narrow", TensorSpec((1, 1, 16), Quantization(1.0, 0)), ("a",) * channels, (wide,))


def test_scales_count_as_found_where_every_accumulator_has_the_same_output() -> None:
    weights, verdicts = np.full((1, 1, 1, 16), 127, np.int8), set()
    for multiplier in range((1 << 30) + 12345, 1 << 31, (1 << 30) // 24):
        layer = dense(multiplier, weights)
        assert layer.multiplier is not None and layer.shift is not None
        found, exact = tflite_scales.find(layer, Quantization(1.0, 0), weights)
        accumulators = np.arange(-16 * 127 * 128, 16 * 127 * 127 + 1)
        wanted = arith.clamp(arith.requantize(accumulators, layer.multiplier, layer.shift), -128, 127)
        pair = tflite_scales.multipliers(1.0, found.scales, found.output)
        assert exact.all()
        assert np.array_equal(wanted, arith.clamp(arith.requantize(accumulators, *pair), -128, 127))
        verdicts.add((int(pair[0][0]) == multiplier, found.output == 1.0))
    assert {(False, True), (False, False)} <= verdicts, "a multiplier of 31 bits is rarely that of a float32 scale"


def test_small_weights_find_a_factor() -> None:
    weights = np.ones((1, 1, 1, 16), np.int8)
    for multiplier in range((1 << 30) + 12345, 1 << 31, (1 << 30) // 24):
        layer = dense(multiplier, weights)
        found, exact = tflite_scales.find(layer, Quantization(1.0, 0), weights)
        assert exact.all()
        widened, _ = tflite_scales.multiplied(layer, weights, found)
        assert set(np.unique(widened)) == {int(found.factors[0])}
