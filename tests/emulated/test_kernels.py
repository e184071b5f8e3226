"""Optimized kernels on the cores they are for = NumPy specification, bit for bit: random layers side by side in one
image, every one executed and read back; worst-case inputs among the samples."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.codegen import cascading, select, trits
from pipeline.codegen.kernels import _dsp, conv2d_t2_dsp
from pipeline.config import board
from pipeline.config.board import Board
from pipeline.config.cores import kernel_families
from pipeline.config.job import FirmwareConfig
from pipeline.core.nouns import Int8Array, KernelCall, QLayer, QModel, Quantization, TensorSpec
from pipeline.device import session
from pipeline.device.session import Session
from pipeline.network import geometry, rescale, twin
from pipeline.stages import build, render
from tests.support import networks, single, tiny

LAYERS = 40
MACS = 60_000
pytestmark = [pytest.mark.toolchain, pytest.mark.emulator]


def core(board_name: str, core_name: str) -> Board:
    """The board; where its emulator runs the code of a lesser core too, that core's."""
    return board.load(board_name).model_copy(update={"core": core_name})


CORES = {
    "cortex-m0": core("mps2-an385", "cortex-m0"),
    "cortex-m3": core("mps2-an385", "cortex-m3"),
    "cortex-m4f": core("mps2-an386", "cortex-m4f"),
    "cortex-m7": core("mps2-an500", "cortex-m7"),
    "cortex-m55": core("mps3-an547", "cortex-m55"),
}


def many_layers(seed: int) -> QModel:
    """Layers of all kinds, densities and requantizations on one input."""
    random = np.random.default_rng(seed)
    shape = (int(random.integers(1, 12)), int(random.integers(1, 12)), int(random.integers(1, 24)))
    layers = []
    for i in range(LAYERS):
        density = float(random.choice([0.0, 0.3, 0.5, 1.0]))
        g = single.geometry(random, shape, MACS)
        layers.append(single.layer(g, random, density, bool(random.integers(2)), f"layer{i}"))
    return single.model(layers, shape, single.zero_point(random))


@contextlib.contextmanager
def running(
    model: QModel,
    target: Board,
    folder: Path,
    kernels: select.Kernels = "auto",
    firmware: FirmwareConfig = select.DEFAULT,
) -> Iterator[Session]:
    sources = render.render(model, target, kernels, firmware)
    build.build(sources, target, folder)
    with session.connect(target, folder) as device:
        device.hello()
        yield device


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", CORES)
def test_same_bits(name: str, seed: int, tmp_path: Path) -> None:
    model = many_layers(seed)
    assert_same_bits(model, CORES[name], single.inputs(model, np.random.default_rng(seed)), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kernels"), [*((core, "auto") for core in CORES), ("cortex-m0", "reference")])
def test_same_bits_at_five_trits_a_byte(name: str, kernels: select.Kernels, tmp_path: Path) -> None:
    """Every filter that is one of 2-bit fields is kept so, whatever the arena grows to."""
    model = many_layers(3)
    plain = select.calls(model, CORES[name], kernels)
    firmware = FirmwareConfig(layer_trits_per_byte={
        layer.name: 5 for layer, call in zip(model.layers, plain, strict=True) if call and shrinks(layer, call)
    })  # fmt: skip
    assert len(firmware.layer_trits_per_byte) > LAYERS // 4
    x = single.inputs(model, np.random.default_rng(3))
    assert_same_bits(model, CORES[name], x, tmp_path, kernels, firmware)


WIDE = 20
"""Layers in a test of wider weights."""


def wide_layers(seed: int, *kinds: str) -> QModel:
    """Layers of those kinds with weights of 8, 4 and 3 bits, of all densities and requantizations on one input."""
    random = np.random.default_rng(seed)
    shape = (int(random.integers(3, 9)), int(random.integers(3, 9)), int(random.choice([3, 4, 5, 8, 17])))
    layers: list[QLayer] = []
    while len(layers) < WIDE:
        g = single.geometry(random, shape, MACS)
        if g.kind in kinds:
            density, name = float(random.choice([0.0, 0.5, 1.0])), f"layer{len(layers)}"
            bits = int(random.choice([8, 8, 4, 3]))
            layers.append(single.layer(g, random, density, bool(random.integers(2)), name, bits))
    return single.model(layers, shape, single.zero_point(random))


@pytest.mark.parametrize(
    ("name", "seed", "kinds"),
    [
        ("cortex-m4f", 0, ("conv2d",)),
        ("cortex-m7", 1, ("conv2d",)),
        ("cortex-m4f", 0, ("depthwise_conv2d",)),
        ("cortex-m4f", 1, ("dense",)),
        ("cortex-m0", 0, ("conv2d", "depthwise_conv2d", "dense")),
        ("cortex-m55", 2, ("conv2d", "depthwise_conv2d", "dense")),
        pytest.param("cortex-m3", 1, ("conv2d", "depthwise_conv2d", "dense"), marks=pytest.mark.slow),
    ],
)
def test_same_bits_of_wider_weights(name: str, seed: int, kinds: tuple[str, ...], tmp_path: Path) -> None:
    """Random shapes, strides, paddings and odd channels; all weights the largest, all inputs -128 or 127."""
    model = wide_layers(seed, *kinds)
    family = kernel_families(CORES[name].core)[0]
    functions = [call.function for call in select.calls(model, CORES[name]) if call is not None]
    for kind in kinds:
        ours = [f for f in functions if f in (f"nn_{kind}_s_{family}", f"nn_{kind}_s_rows_{family}")]
        assert len(ours) >= WIDE // 3 / len(kinds)
    assert_same_bits(model, CORES[name], single.inputs(model, np.random.default_rng(seed), 1), tmp_path)


def fitted_layers() -> QModel:
    """Convolutions of all widths of weights whose requantization is fitted, with every shift of a fit, behind a ReLU
    and not."""
    random = np.random.default_rng(0)
    shape, layers = (5, 7, 6), []
    for channels, kernel, bits, highest in (
        (6, (3, 3), 8, -9), (5, (3, 2), 8, -5), (3, (1, 1), 8, -3), (5, (3, 3), 4, -3), (4, (2, 3), 3, -3)
    ):  # fmt: skip
        for zero_point in (-128, 0):
            g = single.Geometry("conv2d", shape, channels, kernel)
            layer = single.layer(g, random, name=f"layer{len(layers)}", bits=bits)
            assert layer.shift is not None
            shift = np.full_like(layer.shift, highest)
            shift[1::2] -= 1
            bias = random.integers(-60, 60, channels).astype(np.int32)
            output = TensorSpec(layer.output.shape, Quantization(1.0, zero_point))
            layers.append(replace(layer, bias=bias, shift=shift, output=output))
    return single.model(layers, shape, -5)


@pytest.mark.parametrize("name", ["cortex-m4f", pytest.param("cortex-m7", marks=pytest.mark.slow)])
def test_same_bits_of_wider_weights_with_a_fit(name: str, tmp_path: Path) -> None:
    model = fitted_layers()
    calls = [call.args[1].fields["write"] for call in select.calls(model, CORES[name]) if call]  # type: ignore[union-attr]
    for write in ("lanes_15", "lanes_ties_15", "lanes_12", "lanes_9", "s_9", "s_ties_9"):
        assert f"nn_dsp_write_{write}" in calls
    assert_same_bits(model, CORES[name], single.inputs(model, np.random.default_rng(0), 2), tmp_path)


def depthwise_rows(channels: int) -> QModel:
    """Depthwise layers with a fit, of 3x3: rows of 13 outputs down to 1, both strides of columns and of rows, behind a
    ReLU and not, with all shifts and widths of weights; at last some that may overwrite their input."""
    random = np.random.default_rng(0)
    layers: list[QLayer] = []
    settings = itertools.cycle(itertools.product((-9, -5, -3), (8, 8, 4, 3, 2), (1, 2)))
    for width, column_stride, zero_point in itertools.product(range(13, 0, -1), (1, 2), (-128, 0)):
        highest, bits, row_stride = next(settings)
        columns = (width - 1) * column_stride + 3
        narrow = single.Geometry("conv2d", (6, 28, 3), channels, (1, 29 - columns), padding="valid")
        layers.append(single.layer(narrow, random, name=f"layer{len(layers)}"))
        g = single.Geometry(
            "depthwise_conv2d", (6, columns, channels), channels, (3, 3), (row_stride, column_stride), "valid"
        )
        layer = single.layer(g, random, name=f"layer{len(layers)}", bits=bits)
        assert layer.shift is not None
        shift = random.integers(highest - 1, highest, channels, endpoint=True).astype(np.int32)
        output = TensorSpec(layer.output.shape, Quantization(1.0, zero_point))
        bias = random.integers(-60, 60, channels).astype(np.int32)
        layers.append(replace(layer, inputs=(len(layers),), bias=bias, shift=shift, output=output))
    for width in (5, 28):  # the last one takes most of the arena: so it is placed on its input
        narrow = single.Geometry("conv2d", (6, 28, 3), channels, (1, 29 - width), padding="valid")
        layers.append(single.layer(narrow, random, name=f"layer{len(layers)}"))
        g = single.Geometry("depthwise_conv2d", (6, width, channels), channels, (3, 3))
        layer = single.layer(g, random, name=f"layer{len(layers)}", bits=8)
        layers.append(_behind_relu(layer, len(layers), -9))
    return single.model(layers, (6, 28, 3), -5)


@pytest.mark.parametrize("name", ["cortex-m4f", pytest.param("cortex-m7", marks=pytest.mark.slow)])
@pytest.mark.parametrize("strip_bytes", [_dsp.STRIP_BYTES, 1])
def test_depthwise_rows_with_wider_weights(
    name: str, strip_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code for every number of outputs, stride, shift and kind of fit that there is; all rows at a time, or one."""
    monkeypatch.setattr(_dsp, "STRIP_BYTES", strip_bytes)
    model = depthwise_rows(5)
    tensors = select.program(model, CORES[name]).memory.tensor_offsets
    assert tensors[-1] == tensors[-2], "the last layer overwrites its input"
    params = [call.args[1].fields for call in select.calls(model, CORES[name]) if call]  # type: ignore[union-attr]
    names = {str(fields[part]) for fields in params for part in ("six", "last") if part in fields}
    parts = [name.removeprefix("nn_dsp_wide_rows") for name in names if "wide_rows" in name]
    assert {part.split("_")[0] + part.split("_")[1] for part in parts} == {
        f"{count}by{stride}" for count in range(1, 7) for stride in (1, 2)
    }
    for piece in ("adjacent_9", "adjacent_12", "adjacent_15", "ties_9", "ties_12", "ties_15"):
        assert any(part.endswith(piece) for part in parts), piece
    assert_same_bits(model, CORES[name], single.inputs(model, np.random.default_rng(0), 1)[:2], tmp_path)


def shrinks(layer: QLayer, call: KernelCall) -> bool:
    table = call.tables["filter"]
    packed = trits.pack_trits(table) if layer.weight_bits == 2 else None
    return packed is not None and packed[0].nbytes < table.nbytes


def assert_same_bits(
    model: QModel,
    target: Board,
    x: Int8Array,
    folder: Path,
    kernels: select.Kernels = "auto",
    firmware: FirmwareConfig = select.DEFAULT,
) -> None:
    """Every layer's output on the core is that of the specification."""
    expected = twin.specification(model, x)
    with running(model, target, folder, kernels, firmware) as device:
        for number, (layer, outputs) in enumerate(zip(model.layers, expected, strict=True), 1):
            results = device.run((s.tobytes() for s in x), layers=number, output_bytes=layer.output.size_bytes)
            for result, output in zip(results, outputs, strict=True):
                assert np.array_equal(result.output, output.ravel()), f"{layer.name} {layer.kind} {layer.params}"


@pytest.mark.parametrize(
    "name", ["cortex-m4f", *(pytest.param(name, marks=pytest.mark.slow) for name in ("cortex-m0", "cortex-m55"))]
)
def test_cascades(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many layers as can be are computed together in stripes, whatever that costs."""
    monkeypatch.setattr(cascading, "LARGEST_SHARE", 100.0)
    monkeypatch.setattr(cascading, "LEAST_BYTES", 1)
    model = networks.early(1)
    cascades = select.program(model, CORES[name]).memory.cascades
    assert sum(len(c.stripes) * len(c.layers) for c in cascades) > 10
    x = tiny.samples(model, 4)
    with running(model, CORES[name], tmp_path) as device:
        outputs = [result.output for result in device.run(sample.tobytes() for sample in x)]
    assert np.array_equal(outputs, twin.specification(model, x)[-1].reshape(len(x), -1))


def every_requantization(shape: single.Shape) -> QModel:
    """Layers with shifts to the right, some 0 and some to the left, each with a ReLU's zero point, 0 and another."""
    random = np.random.default_rng(0)
    kinds = [
        single.Geometry("conv2d", shape, 9, (3, 3)),
        single.Geometry("conv2d", shape, 6, (1, 1)),
        single.Geometry("depthwise_conv2d", shape, shape[2], (3, 3)),
        single.Geometry("depthwise_conv2d", shape, shape[2], (3, 3), padding="valid"),
        single.Geometry("depthwise_conv2d", shape, shape[2], (5, 2), (2, 1)),
        single.Geometry("dense", shape, 11),
    ]
    layers = []
    for g in kinds:
        for highest in (-1, 0, 2):
            for zero_point in (-128, 0, 3):
                layer = single.layer(g, random, name=f"layer{len(layers)}")
                assert layer.shift is not None
                shift = layer.shift.copy()
                shift[1::2] = np.arange(len(shift[1::2])) % 2 + highest - 1
                bias = random.integers(-60, 60, g.channels).astype(np.int32)  # few outputs are saturated
                output = TensorSpec(layer.output.shape, Quantization(1.0, zero_point))
                layers.append(replace(layer, bias=bias, shift=shift, output=output))
    return single.model(layers, shape, -5)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(30, 13, 6), (25, 5, 8)], ids=["wide", "narrow"])
def test_shifts_of_every_direction_on_cores_with_dsp(shape: single.Shape, tmp_path: Path) -> None:
    model, target = every_requantization(shape), CORES["cortex-m4f"]
    calls = [select.kernel(layer, model.input_specs(layer), target) for layer in model.layers]
    assert all(call is not None and call.function.endswith("_dsp") for call in calls)
    assert_same_bits(model, target, single.inputs(model, np.random.default_rng(0), 1), tmp_path)


def rows_of_any_width(shape: single.Shape) -> QModel:
    """1x1 convolutions, whose rows are cut or joined, and larger ones, whose windows are gathered where they have few
    channels; with single channels after whole blocks of them."""
    random = np.random.default_rng(0)
    layers: list[QLayer] = []
    larger: tuple[tuple[tuple[int, int], str], ...] = (((3, 3), "same"), ((3, 3), "valid"))
    if shape[2] != 3:
        larger = (((1, 1), "valid"), ((5, 2), "same"), ((3, 2), "valid"), ((4, 3), "same"))
    for stride in ((1, 1), (2, 2), (1, 2), (2, 1), (3, 3), (3, 1)):
        for channels in (3, 8, 21):
            for filter_, padding in larger:
                g = single.Geometry("conv2d", shape, channels, filter_, stride, padding)
                layers.append(single.layer(g, random, name=f"layer{len(layers)}"))
    return single.model(layers, shape, -5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "gathered"),
    [
        pytest.param((11, 9, 1), {0, "nn_dsp_gather_4"}, id="one"),
        pytest.param((10, 13, 2), {0, "nn_dsp_gather_4"}, id="two"),
        pytest.param((8, 11, 3), {"nn_dsp_gather_3x9"}, id="three"),
        pytest.param((7, 16, 16), {0}, id="sixteen"),
    ],
)
def test_rows_of_any_width_on_cores_with_dsp(shape: single.Shape, gathered: set[int | str], tmp_path: Path) -> None:
    model, target = rows_of_any_width(shape), CORES["cortex-m4f"]
    calls = [conv2d_t2_dsp.call(layer, model.input_specs(layer)) for layer in model.layers]
    assert any(call.args[1].fields["joined"] > 1 for call in calls) == (shape[2] != 3)
    assert {call.args[1].fields["gather_code"] for call in calls} == gathered
    assert any(call.args[1].fields["last_width"] for call in calls) or shape[2] == 16
    assert_same_bits(model, target, single.inputs(model, np.random.default_rng(0), 1), tmp_path)


def fits_of_halves(channels: int) -> QModel:
    """Layers behind a ReLU: depthwise ones whose rows are of 12 outputs down to 1, with small factors and large ones;
    convolutions with and without flushes, again with small factors and large ones."""
    random = np.random.default_rng(0)
    layers: list[QLayer] = []
    shape = (4, 14, 16)
    for width in range(12, 0, -1):
        narrow = single.Geometry("conv2d", shape, channels, (1, 13 - width), padding="valid")
        layers.append(_behind_relu(single.layer(narrow, random, name=f"layer{len(layers)}"), 0, -5))
        source = len(layers)
        for shift in (-2, 5):
            g = single.Geometry("depthwise_conv2d", (4, width + 2, channels), channels, (3, 3), padding="valid")
            layers.append(_behind_relu(single.layer(g, random, name=f"layer{len(layers)}"), source, shift))
    for density, shift in ((0.3, -3), (0.9, -3), (0.3, 1), (0.9, 1)):
        g = single.Geometry("conv2d", shape, 70, (3, 3))
        layers.append(_behind_relu(single.layer(g, random, density, name=f"layer{len(layers)}"), 0, shift))
    return single.model(layers, shape, -5)


def _behind_relu(layer: QLayer, source: int, shift: int) -> QLayer:
    """The layer of another source and with that shift; few of its outputs are saturated."""
    assert layer.shift is not None and layer.bias is not None
    output = TensorSpec(layer.output.shape, Quantization(1.0, -128))
    shifts, bias = np.full_like(layer.shift, shift), (layer.bias % 400).astype(np.int32)
    return replace(layer, inputs=(source,), output=output, shift=shifts, bias=bias)


@pytest.mark.slow
def test_fits_of_halves_on_cores_with_dsp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions take the finer shift where their factors allow it, so that both are used."""
    monkeypatch.setattr(conv2d_t2_dsp, "HALF_SHIFTS", (15, 12))
    model, target = fits_of_halves(5), CORES["cortex-m4f"]
    codes = {
        str(call.args[1].fields[part])
        for call in select.calls(model, target) if call
        for part in ("six", "last", "finish2", "finish3") if part in call.args[1].fields
    }  # fmt: skip
    rows = {
        f"nn_dsp_rows{outputs}{adjacent}_{shift}"
        for outputs in range(1, 7) for adjacent in ("", "_adjacent") for shift in (8, 12)
    }  # fmt: skip
    ends = {
        f"nn_dsp_half{pixels}_{end}_{shift}"
        for pixels in (2, 3) for end in ("first", "more") for shift in (12, 15)
    }  # fmt: skip
    assert rows | ends <= codes
    assert_same_bits(model, target, single.inputs(model, np.random.default_rng(0), 1)[:2], tmp_path)


def sums_and_pools(seed: int) -> QModel:
    """Sums, means and maxima of layers with all kinds of scales, zero points, limits, windows and channels."""
    random = np.random.default_rng(seed)
    layers: list[QLayer] = []
    for i, channels in enumerate((3, 8, 21, 32)):
        shape = (int(random.integers(1, 12)), int(random.integers(1, 12)), channels)
        layers += _sum(random, f"{i}", len(layers), shape)
        sum_ = len(layers)
        for kind in ("average_pool2d", "max_pool2d"):
            window = (int(random.integers(1, shape[0] + 1)), int(random.integers(1, shape[1] + 1)))
            layers.append(_pool(random, kind, sum_, layers[sum_ - 1].output, window, (1, 1), "valid"))
            layers.append(_pool(random, kind, len(layers), layers[-1].output, (3, 2), (2, 2), "same"))
    return single.model(layers, (12, 12, 6), -128)


def _limits(random: np.random.Generator) -> tuple[int, int]:
    low, high = sorted(random.integers(-128, 128, 2).tolist())
    return (-128, 127) if random.integers(2) else (low, high)


def _sum(random: np.random.Generator, name: str, at: int, shape: single.Shape) -> list[QLayer]:
    """Two convolutions of the model's input to that shape and their sum; `at`: layers before them."""

    def spec(shape: tuple[int, ...]) -> TensorSpec:
        return TensorSpec(shape, Quantization(float(np.exp(random.uniform(-3, 3))), int(random.integers(-128, 128))))

    terms = []
    for part in "ab":
        g = single.Geometry("conv2d", (12, 12, 6), shape[2], (13 - shape[0], 13 - shape[1]), padding="valid")
        terms.append(replace(single.layer(g, random, 0.1, name=name + part), output=spec(shape)))
    total = spec(shape)
    params = rescale.add_params(*(t.output.quantization for t in terms), total.quantization)
    return [*terms, QLayer(name + "sum", "add", (at + 1, at + 2), total, {**params, "activation": _limits(random)})]


def _pool(
    random: np.random.Generator,
    kind: str,
    tensor: int,
    spec: TensorSpec,
    window: tuple[int, int],
    stride: tuple[int, int],
    padding: str,
) -> QLayer:
    """Means or maxima of that tensor."""
    sizes = zip(spec.shape[:2], window, stride, strict=True)
    (height, top), (width, left) = (geometry.extent(n, k, s, padding) for n, k, s in sizes)
    output = TensorSpec((height, width, spec.shape[2]), spec.quantization)
    params = {"pool": window, "stride": stride, "padding": (top, left), "activation": _limits(random)}
    return QLayer(f"pool{tensor}_{kind}", kind, (tensor,), output, params)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cortex-m4f", "cortex-m55"])
def test_sums_and_pools(name: str, tmp_path: Path) -> None:
    """The other core with DSP runs the same kernels as this one."""
    model = sums_and_pools(1)
    functions = {call.function for call in select.calls(model, CORES[name]) if call}
    family = "mve" if name == "cortex-m55" else "dsp"
    assert {f"nn_average_pool2d_{family}", f"nn_max_pool2d_{family}", f"nn_add_{family}"} < functions
    x = single.inputs(model, np.random.default_rng(1), 1)
    assert_same_bits(model, CORES[name], x, tmp_path, firmware=FirmwareConfig(cascades=False))


def repeating() -> QModel:
    """Depthwise layers of several output channels an input channel: few and many of them, in groups of 16 that begin
    with any of them; filters larger than the input; every width; behind a ReLU and not, shifts to the left too."""
    random = np.random.default_rng(0)
    layers: list[QLayer] = []
    for channels, repeats in ((1, 2), (1, 66), (3, 7), (5, 3), (17, 2), (17, 16)):
        shape, picked = (5, 4, channels), len(layers)
        layers.append(single.layer(single.Geometry("conv2d", (5, 4, 3), channels), random, name=f"layer{picked}"))
        for filter_, stride, padding in (((3, 3), (1, 1), "same"), ((7, 6), (2, 3), "same"), ((5, 1), (1, 2), "valid")):
            for bits in (8, 4, 3, 2):
                for zero_point, left in ((-128, 0), (3, 1)):
                    g = single.Geometry("depthwise_conv2d", shape, channels * repeats, filter_, stride, padding)
                    layer = single.layer(
                        g, random, float(random.choice([0.5, 1])), name=f"layer{len(layers)}", bits=bits
                    )
                    assert layer.shift is not None
                    shift = np.where(np.arange(len(layer.shift)) % 5 == 3, left, layer.shift).astype(np.int8)
                    output = TensorSpec(layer.output.shape, Quantization(1.0, zero_point))
                    layers.append(replace(layer, inputs=(picked + 1,), shift=shift, output=output))
    return single.model(layers, (5, 4, 3), -5)


@pytest.mark.slow
def test_repeated_channels_on_the_core_with_vectors(tmp_path: Path) -> None:
    model, target = repeating(), CORES["cortex-m55"]
    codes = {str(call.args[1].fields["pixel"]) for call in select.calls(model, target)
             if call and call.function == "nn_depthwise_conv2d_s_mve"}  # fmt: skip
    assert codes == {f"nn_mve_repeated{bits}{relu}" for bits in (16, 32) for relu in ("", "_relu")}
    x = single.inputs(model, np.random.default_rng(0), 1)
    assert_same_bits(model, target, x, tmp_path, firmware=FirmwareConfig(cascades=False))


def all_pairs(limits: tuple[int, int]) -> tuple[QModel, Int8Array]:
    """Sums of the two channels of the input, with scales that every code of the core with vectors is for, and samples
    that hold all pairs of inputs."""
    layers: list[QLayer] = []
    for channel in (0, 1):
        weights = np.zeros((1, 1, 1, 2), np.int8)
        weights[..., channel] = 64  # times 2^-1 times 2^-5 is 1
        term = TensorSpec((16, 256, 1), Quantization(1.0, -5))
        params = {"stride": (1, 1), "padding": (0, 0), "activation": (-128, 127)}
        ones = np.array([1 << 30], np.int32), np.array([-5], np.int8)
        layers.append(QLayer(f"term{channel}", "conv2d", (0,), term, params, weights, 8, np.zeros(1, np.int32), *ones))
    for scales, zero_point in (((0.25, 0.5, 0.5), -128), ((0.0173, 0.0391, 0.0295), 11), ((0.5, 0.5, 1.0), 0),
                               ((40.0, 1.0, 1.0), 0), ((0.01, 10.0, 5.0), -77)):  # fmt: skip
        layer, _ = single.sum_layer(scales, (-5, -5, zero_point), limits, (16, 256, 1))
        layers.append(replace(layer, name=f"sum{len(layers)}", inputs=(1, 2)))
    pairs = np.stack(np.meshgrid(np.arange(-128, 128), np.arange(-128, 128)), axis=-1)
    return single.model(layers, (16, 256, 2), -5), pairs.reshape(-1, 16, 256, 2).astype(np.int8)


@pytest.mark.parametrize("limits", [(-128, 127), pytest.param((-100, 90), marks=pytest.mark.slow)], ids=str)
def test_sums_of_all_pairs_of_inputs_on_the_core_with_vectors(limits: tuple[int, int], tmp_path: Path) -> None:
    """The last sum overwrites one of its inputs."""
    model, x = all_pairs(limits)
    codes = [str(call.args[0].fields["code"]) for call in select.calls(model, CORES["cortex-m55"])[2:] if call]
    assert set(codes) == {"nn_mve_add16", "nn_mve_add32", "nn_mve_add_any"}
    assert_same_bits(model, CORES["cortex-m55"], x, tmp_path, firmware=FirmwareConfig(cascades=False))


def sums_of_any_length() -> QModel:
    """By every code of the core with vectors."""
    random = np.random.default_rng(0)
    layers: list[QLayer] = []
    for length in (1, 2, 4, 5, 15, 16, 17, 31, 32, 33, 48):
        at = len(layers)
        for _ in range(2):
            g = single.Geometry("conv2d", (1, 48, 1), 1, (1, 49 - length), padding="valid")
            layers.append(single.layer(g, random, name=f"layer{len(layers)}"))
        zeros = [layer.output.quantization.zero_point for layer in layers[at:]]
        for scales in ((0.25, 0.5, 0.5), (0.0173, 0.0391, 0.0295), (40.0, 1.0, 1.0)):
            layer, _ = single.sum_layer(scales, (zeros[0], zeros[1], -128), _limits(random), (1, length, 1))
            layers.append(replace(layer, name=f"layer{len(layers)}", inputs=(at + 1, at + 2)))
    return single.model(layers, (1, 48, 1), 3)


def test_sums_of_any_length_on_the_core_with_vectors(tmp_path: Path) -> None:
    model = sums_of_any_length()
    codes = [str(call.args[0].fields["code"]) for call in select.calls(model, CORES["cortex-m55"])
             if call and call.function == "nn_add_mve"]  # fmt: skip
    assert set(codes) == {"nn_mve_add16", "nn_mve_add32", "nn_mve_add_any"}
    x = single.inputs(model, np.random.default_rng(0), 2)
    assert_same_bits(model, CORES["cortex-m55"], x, tmp_path, firmware=FirmwareConfig(cascades=False))


@pytest.mark.parametrize("name", CORES)
def test_most_layers_have_an_optimised_kernel(name: str) -> None:
    """The test above would prove nothing with reference kernels."""
    for seed in range(3):
        model = many_layers(seed)
        calls = select.calls(model, CORES[name])
        optimized = [call for call in calls if call is not None and call.function.endswith(("_swar", "_mve", "_dsp"))]
        assert len(optimized) >= 0.8 * len(calls)


AT_LEAST = {"cortex-m0": 1.5, "cortex-m3": 2.0, "cortex-m4f": 2.0, "cortex-m7": 2.0, "cortex-m55": 5.0}
"""Instructions of the reference kernel over those of the optimized one, with ternary weights."""
WIDER_AT_LEAST = {"cortex-m0": 1.9, "cortex-m3": 2.0}
"""The same with weights of 8, 4 and 3 bits, on cores that multiply one by one."""


@pytest.mark.parametrize("name", CORES)
def test_fewer_instructions_than_the_reference_kernels(name: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    shape = (16, 8, 16)
    geometries = [
        single.Geometry("conv2d", shape, 16, (3, 3)),
        single.Geometry("conv2d", shape, 32, (1, 1), (2, 2)),
        single.Geometry("depthwise_conv2d", shape, 16, (3, 3)),
        single.Geometry("dense", shape, 10),
    ]
    widths = (2, 8, 4, 3) if name in WIDER_AT_LEAST else (2,)
    model = single.model([single.layer(g, random, bits=bits) for bits in widths for g in geometries], shape, -128)
    x = single.inputs(model, random)[0]
    ticks = {}
    for kernels in ("auto", "reference"):
        with running(model, CORES[name], tmp_path / kernels, kernels) as device:
            ticks[kernels] = device.run_sample(x.tobytes()).layer_ticks.astype(float)
    times = ticks["reference"] / ticks["auto"]
    assert (times[: len(geometries)] >= AT_LEAST[name]).all(), ticks
    assert (times[len(geometries) :] >= WIDER_AT_LEAST.get(name, 1)).all(), ticks
