from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench import networks
from pipeline.codegen import planner, select
from pipeline.config import board
from pipeline.config.cores import CORE_FLAGS, kernel_families
from pipeline.config.job import FirmwareConfig
from pipeline.core import paths, registry, store
from pipeline.core.errors import ConfigError, UnsupportedError
from pipeline.core.nouns import KernelCall, QLayer, QModel
from pipeline.stages import render
from tests.support import tiny, unpacking

M4 = board.load("netduinoplus2")
NN = paths.shipped("firmware") / "nn"
FIVE = FirmwareConfig(trits_per_byte=5)


def filter_bytes(calls: list[KernelCall | None]) -> int:
    return sum(call.tables["filter"].nbytes for call in calls if call is not None and "filter" in call.tables)


def test_five_trits_a_byte_where_the_arena_has_room() -> None:
    """ResNet-8 gets below 15.8 KiB of weights in the arena it has; what is expanded is what the kernel reads."""
    model = networks.resnet8()
    programs = [select.program(model, M4, firmware=firmware) for firmware in (FirmwareConfig(), FIVE)]
    assert programs[0].memory.arena_bytes == programs[1].memory.arena_bytes
    plain, packed = (list(program.calls) for program in programs)
    assert filter_bytes(packed) <= 15.8 * 1024 < filter_bytes(plain)
    more_room = select.program(model, M4, firmware=FIVE.model_copy(update={"cascades": False}))
    assert filter_bytes(list(more_room.calls)) <= 15.5 * 1024, "in an arena a third larger"
    for before, after in zip(plain, packed, strict=True):
        if before is None or after is None or after.trits is None:
            continue
        words = unpacking.unpack_trits(after.tables["filter"], after.trits.threes)
        table = before.tables["filter"]
        assert words.tobytes()[: table.nbytes] == table.tobytes()
        assert after.trits.offset >= before.scratch_bytes
        assert after.scratch_bytes == after.trits.offset + words.nbytes


def test_a_named_layer_is_kept_so_whatever_the_arena_grows_to() -> None:
    model = networks.resnet8()
    named = FirmwareConfig(layer_trits_per_byte={"stack1_conv1": 5})
    calls = select.calls(model, M4, firmware=named)
    assert [layer.name for layer, call in zip(model.layers, calls, strict=True) if call and call.trits] == [
        "stack1_conv1"
    ]
    assert planner.plan(model, calls).arena_bytes > planner.plan(model, select.calls(model, M4)).arena_bytes


def test_a_named_layer_is_left_as_it_is() -> None:
    model = networks.resnet8()
    firmware = FirmwareConfig(trits_per_byte=5, layer_trits_per_byte={"stack3_conv2": 4})
    calls = select.calls(model, M4, firmware=firmware)
    kept = {layer.name: call for layer, call in zip(model.layers, calls, strict=True)}["stack3_conv2"]
    assert kept is not None
    assert kept.trits is None


def test_an_unknown_layer_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="'stack3_conv9'; did you mean 'stack3_conv") as error:
        select.calls(networks.resnet8(), M4, firmware=FirmwareConfig(layer_trits_per_byte={"stack3_conv9": 5}))
    assert "stem" in error.value.hint


def test_only_ternary_weights_can_be_kept_so() -> None:
    model = tiny.qmodel()
    with pytest.raises(UnsupportedError, match="layer 'stem': no 8-bit weights of nn_conv2d_s_dsp at 5 trits per byte"):
        select.calls(model, M4, firmware=FirmwareConfig(layer_trits_per_byte={"stem": 5}))


def test_an_avr_has_no_room_to_expand() -> None:
    with pytest.raises(UnsupportedError, match="board 'uno': no weights at 5 trits per byte"):
        select.calls(tiny.qmodel(), board.load("uno"), firmware=FIVE)


def test_a_kernel_has_one_stem_in_python_and_c() -> None:
    """Every optimized C kernel, in the folder of a family, has its module, and every module its C file."""
    families = [folder.name for folder in NN.iterdir() if folder.is_dir() and folder.name != "reference"]
    shared = {f"nn_{family}.c" for family in families}
    found = [path for family in families for path in (NN / family).glob("nn_*.c") if path.name not in shared]
    assert sorted(path.stem for path in found) == sorted(f"nn_{name}" for name in registry.names("kernels"))
    for path in found:
        assert f"\nvoid {path.stem}(" in path.read_text()
        assert path.stem.endswith(f"_{path.parent.name}")


def test_every_called_function_has_the_stem_of_its_file() -> None:
    """On every core, of networks with every kind of layer: nn_conv2d_t2_dsp is in nn_conv2d_t2_dsp.c."""
    stems = {path.stem for path in NN.rglob("nn_*.c")}
    boards = [chosen for name in board.names() if not (chosen := board.load(name)).is_arduino]
    for model in (networks.resnet8(), networks.dscnn(), tiny.qmodel()):
        for chosen in boards:
            for call in filter(None, select.calls(model, chosen)):
                of_weights = call.function.rpartition("_")[0]  # the reference kernels of all weights share a file
                assert call.function in stems or of_weights in stems, call.function


@pytest.mark.parametrize(
    ("core", "families"),
    [
        ("host", ("swar", "reference")),
        ("cortex-m0", ("swar", "reference")),
        ("cortex-m4f", ("dsp", "swar", "reference")),
        ("cortex-m55", ("mve", "dsp", "swar", "reference")),
        ("atmega328p", ("reference",)),
    ],
)
def test_families_of_a_core_the_fastest_first(core: str, families: tuple[str, ...]) -> None:
    assert kernel_families(core) == families
    assert kernel_families(core, linked=True) == ("cmsis", *families), "before ours where CMSIS-NN is linked"


def test_every_folder_of_kernels_has_cores_that_execute_it() -> None:
    folders = {path.name for path in NN.iterdir() if path.is_dir()}
    assert folders == {family for core in CORE_FLAGS for family in kernel_families(core, linked=True)}


def test_a_layer_that_no_fast_kernel_computes_is_named_with_what_they_ask_for() -> None:
    model = tiny.qmodel()
    m3 = board.load("mps2-an385")
    large = {layer.name for layer in model.layers if (layer.kind, layer.weight_bits) == ("conv2d", 2)}
    shifted = replace(model, layers=tuple(_shifted(x) if x.name in large else x for x in model.layers))
    found = select.unserved(shifted, select.calls(shifted, m3), m3)
    assert large and large <= set(found)
    for name in large:
        assert "conv2d_t2_swar: it reads ternary weights, not 3 bits" in found[name]
        assert "conv2d_s_swar: shifted accumulators reach 2^30" in found[name]
    assert select.unserved(shifted, select.calls(shifted, m3, "reference"), m3, "reference") == {}, "as asked for"
    assert select.unserved(model, select.calls(model, M4), M4) == {}
    assert {row.name: row.unserved for row in render.render(shifted, m3).layers if row.unserved} == found


def _shifted(layer: QLayer) -> QLayer:
    """With weights of 3 bits, and one shift too far to the left for the fast kernels."""
    assert layer.shift is not None
    shift = layer.shift.copy()
    shift[0] = 27
    return replace(layer, weight_bits=3, shift=shift)


@pytest.mark.parametrize("bits", [8, 4, 3])
def test_every_wider_layer_of_a_small_core_has_a_fast_kernel(bits: int) -> None:
    model = tiny.qmodel()
    most = (1 << (bits - 1)) - 1
    wide = tuple(
        layer
        if layer.weights is None
        else replace(layer, weight_bits=bits, weights=np.clip(layer.weights, -most, most))
        for layer in model.layers
    )
    small = board.load("mps2-an385").model_copy(update={"core": "cortex-m0plus"})
    calls = select.calls(replace(model, layers=wide), small)
    functions = {
        layer.kind: call.function for layer, call in zip(wide, calls, strict=True) if call and layer.shift is not None
    }
    assert functions == {kind: f"nn_{kind}_s_swar" for kind in ("conv2d", "depthwise_conv2d", "dense")}


@pytest.mark.parametrize("firmware", [FirmwareConfig(), FIVE], ids=["2 bits", "5 trits"])
@pytest.mark.parametrize("name", ["netduinoplus2", "mps2-an385", "mps3-an547", "host"])
def test_no_kernel_keeps_weights_in_less_than_the_least(name: str, firmware: FirmwareConfig) -> None:
    mixed = store.load(paths.shipped("zoo") / "cifar10_resnet8_laq", QModel)
    for model in (networks.dscnn(), mixed):
        calls = select.calls(model, board.load(name), firmware=firmware)
        least = select.least_weights_bytes(model)
        assert 0.5 * filter_bytes(calls) < least <= filter_bytes(calls), model.name


def test_the_least_instructions_are_those_of_kernels_that_do_every_product() -> None:
    model = networks.dscnn()
    functions = [call.function if call else None for call in select.calls(model, M4)]
    least = select.least_instructions(model, functions)
    assert [layer.kind for layer in model.layers if layer.name in least] == ["conv2d"] * 5 + ["dense"]
    stem = model.layers[0]
    assert least[stem.name] == 25 * 5 * 64 * 40 // 4
    assert select.least_instructions(model, ["nn_conv2d"] + [None] * (len(functions) - 1)) == {}


def test_every_layer_of_the_8_bit_ds_cnn_is_served() -> None:
    """Also those that a variant of a kernel computes, whose function is not named as the module."""
    model = store.load(paths.shipped("zoo") / "kws_dscnn_float", QModel)
    chosen = select.calls(model, M4)
    assert "nn_depthwise_conv2d_s_rows_dsp" in {call.function for call in chosen if call}
    assert select.unserved(model, chosen, M4) == {}
    whole = next(call for call in chosen if call and call.function == "nn_depthwise_conv2d_s_rows_dsp")
    layer = next(layer for layer, call in zip(model.layers, chosen, strict=True) if call is whole)
    assert select.again(M4)(whole, layer, model.input_specs(layer)).function == whole.function


@pytest.mark.parametrize("kernels", ["auto", "cmsis-nn"])
@pytest.mark.parametrize("name", ["netduinoplus2", "mps2-an385", "microbit", "mps3-an547"])
def test_what_is_not_served_always_has_a_reason(name: str, kernels: select.Kernels) -> None:
    for model in (networks.dscnn(), store.load(paths.shipped("zoo") / "kws_dscnn_float", QModel)):
        target = board.load(name)
        for reasons in select.unserved(model, select.calls(model, target, kernels), target, kernels).values():
            assert all(reason.partition(": ")[2] for reason in reasons.split("; "))
