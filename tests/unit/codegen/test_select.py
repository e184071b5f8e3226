from __future__ import annotations

import pytest

from bench import networks
from pipeline.codegen import planner, select
from pipeline.config import board
from pipeline.config.job import FirmwareConfig
from pipeline.core.errors import ConfigError, UnsupportedError
from pipeline.core.nouns import KernelCall
from tests.support import tiny, unpacking

M4 = board.load("netduinoplus2")
FIVE = FirmwareConfig(trits_per_byte=5)


def filter_bytes(calls: list[KernelCall | None]) -> int:
    return sum(call.tables["filter"].nbytes for call in calls if call is not None and "filter" in call.tables)


def test_five_trits_a_byte_where_the_arena_has_room() -> None:
    """ResNet-8 gets below 15.6 KiB of weights in the arena it has; what is expanded is what the kernel reads."""
    model = networks.resnet8()
    plain, packed = select.calls(model, M4), select.calls(model, M4, firmware=FIVE)
    assert planner.plan(model, packed).arena_bytes == planner.plan(model, plain).arena_bytes
    assert filter_bytes(packed) <= 15.6 * 1024 < filter_bytes(plain)
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
    with pytest.raises(UnsupportedError, match="layer 'stem': no 8-bit weights of nn_convolve_s8 at 5 trits a byte"):
        select.calls(model, M4, firmware=FirmwareConfig(layer_trits_per_byte={"stem": 5}))


def test_an_avr_has_no_room_to_expand() -> None:
    with pytest.raises(UnsupportedError, match="board 'uno': no weights at 5 trits a byte"):
        select.calls(tiny.qmodel(), board.load("uno"), firmware=FIVE)
