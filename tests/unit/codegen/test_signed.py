"""Weights of 8, 4 and 3 bits as words of filter: what the macros of nn_dsp_macros.h take out again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from pipeline.codegen import select
from pipeline.codegen.kernels import _fit, _signed, _ternary, conv2d_s_dsp, dense_s_dsp, depthwise_conv2d_s_dsp
from pipeline.config import board
from pipeline.core.errors import UnsupportedError
from pipeline.core.nouns import Quantization, TensorSpec
from pipeline.network import rescale
from tests.support import single
from tests.support.single import Geometry

SPEC = TensorSpec((5, 5, 8), Quantization(1.0, 0))


def halves(word: int) -> tuple[int, int]:
    return word & 0xFFFF, word >> 16 & 0xFFFF


def rotated(word: int, by: int) -> int:
    return (word >> by | word << (32 - by)) & 0xFFFFFFFF


def decoded(words: list[int], bits: int) -> Iterator[tuple[int, ...]]:
    """Pairs of weights in the order in which the assembler macro `weights` takes them out."""
    if bits == 8:
        for word in words:
            for turn in (0, 8):
                yield tuple(np.array(halves(rotated(word, turn) & 0x00FF00FF), np.uint8).view(np.int8).tolist())
    elif bits == 4:
        for word in words:
            for slot in range(4):
                yield tuple(code - 8 for code in halves(rotated(word, 4 * slot) & 0x000F000F))
    else:
        for i in range(0, len(words), 3):
            three = words[i : i + 3]
            for word in three:
                for slot in range(5):
                    yield tuple(code - 4 for code in halves(rotated(word, 3 * slot) & 0x00070007))
            spare = [word & 0x80008000 for word in three]
            yield tuple(code - 4 for code in halves(spare[2] >> 13 | spare[1] >> 14 | spare[0] >> 15))


@pytest.mark.parametrize("bits", [8, 4, 3])
def test_every_pair_comes_out_again(bits: int) -> None:
    most = (1 << (bits - 1)) - 1
    pairs = np.random.default_rng(0).integers(-most, most, (96, 2), endpoint=True)
    words = _signed.pack(pairs, bits)
    assert words.nbytes * 8 == bits * pairs.size
    assert list(decoded(words.tolist(), bits)) == [tuple(pair) for pair in pairs.tolist()]


def test_lanes_hold_the_weights_of_two_channels() -> None:
    """As the code takes them apart: a half as it is holds both, its low byte the first."""
    pairs = np.random.default_rng(0).integers(-127, 127, (96, 2), endpoint=True)
    pairs[:4] = [[-127, 127], [-127, -127], [127, -127], [127, 127]]
    halves_of = _signed.lanes(pairs).view("<i2").reshape(-1, 2)
    assert np.array_equal(halves_of, pairs[0::2] + 256 * pairs[1::2])
    assert np.array_equal(halves_of.astype(np.int8), pairs[0::2])


@pytest.mark.parametrize(("weight", "lanes"), [(113, True), (114, False)])
def test_lanes_need_sums_of_24_bits(weight: int, lanes: bool) -> None:
    """576 inputs: 113 * 576 = 65,088 and 128 times that stay below 2^23; 114 * 576 = 65,664."""
    geometry = Geometry("conv2d", (5, 5, 64), 3, (3, 3))
    layer = single.layer(geometry, np.random.default_rng(0), bits=8)
    layer.weights[1] = -weight
    assert _signed.has_lanes(layer) == lanes
    assert not _signed.has_lanes(single.layer(geometry, np.random.default_rng(0), bits=4))


def wide_outputs(fit: _fit.Fit, sums: np.ndarray) -> np.ndarray:
    """What the code does with sums (n, channels): SMMLA, with BIC where outputs may be below the zero point, SSAT."""
    assert fit.ties is not None
    x = fit.starts + (sums << _fit.WIDE_BITS)
    assert np.array_equal(x, x.astype(np.int32))
    high = (x * fit.factors >> 32) + np.where(fit.signed & (x < 0), 0, fit.ties)
    assert np.array_equal(high, high.astype(np.int32))
    return np.clip(high >> fit.shift, -128, 127)


@pytest.mark.parametrize("highest", [-9, -6, -4, -3])
@pytest.mark.parametrize(("zero_point", "limits"), [(-128, (-128, 127)), (0, (-128, 127)), (17, (17, 100))])
def test_a_fit_gives_every_sum_its_output(zero_point: int, limits: tuple[int, int], highest: int) -> None:
    """Every sum that can occur; halves among them: the multiplier of a channel is 2^30."""
    random = np.random.default_rng(highest + 10)
    layer = single.layer(Geometry("conv2d", SPEC.shape, 7, (3, 3)), random, bits=8)
    layer.shift[:] = random.integers(highest - 1, highest, 7, endpoint=True)
    layer.bias[:] = random.integers(-3000, 3000, 7)
    layer.multiplier[3] = 1 << 30
    output = TensorSpec(layer.output.shape, Quantization(1.0, zero_point))
    layer = dataclasses.replace(layer, output=output, params={**layer.params, "activation": limits})
    spec = TensorSpec(SPEC.shape, Quantization(1.0, 5))
    fit = _fit.find_wide(layer, spec, _signed.SHIFTS)
    assert fit is not None
    lowest, highest_sum = _ternary.extremes(_ternary.rows(layer))
    sums = np.clip(np.arange(lowest.min(), highest_sum.max() + 1)[:, None], lowest, highest_sum)
    acc = sums - 5 * _ternary.rows(layer).sum(axis=1)
    wanted = np.clip(rescale.requantized(layer, acc, True), *limits)
    assert np.array_equal(np.clip(wide_outputs(fit, sums), *limits), wanted)


def test_no_fit_where_256_times_a_sum_overflows_or_halves_turn_elsewhere() -> None:
    spec = TensorSpec((5, 5, 64), Quantization(1.0, 0))
    layer = single.layer(Geometry("conv2d", spec.shape, 3, (3, 3)), np.random.default_rng(0), bits=8)
    layer.shift[:] = -9
    behind_relu = dataclasses.replace(layer, output=TensorSpec(layer.output.shape, Quantization(1.0, -128)))
    elsewhere = dataclasses.replace(layer, output=TensorSpec(layer.output.shape, Quantization(1.0, 3)))
    assert _fit.find_wide(behind_relu, spec, _signed.SHIFTS) is not None
    assert _fit.find_wide(elsewhere, spec, _signed.SHIFTS) is None
    layer.weights[1] = -127
    assert _fit.find_wide(behind_relu, spec, _signed.SHIFTS) is None


@pytest.mark.parametrize("family", [conv2d_s_dsp, depthwise_conv2d_s_dsp, dense_s_dsp])
@pytest.mark.parametrize("bits", [8, 4, 3])
def test_weights_that_their_width_does_not_hold_are_never_packed(family, bits: int) -> None:
    kinds = {conv2d_s_dsp: "conv2d", depthwise_conv2d_s_dsp: "depthwise_conv2d", dense_s_dsp: "dense"}
    layer = single.layer(Geometry(kinds[family], SPEC.shape, 8, (3, 3)), np.random.default_rng(0), bits=bits)
    assert family.serves(layer, [SPEC]) == ""
    layer.weights.flat[3] = -(1 << (bits - 1))
    with pytest.raises(UnsupportedError, match=f"weight 3 is {-(1 << (bits - 1))}"):
        family.call(layer, [SPEC])


@pytest.mark.parametrize(
    ("geometry", "reason"),
    [
        (Geometry("depthwise_conv2d", SPEC.shape, 16, (3, 3)), "it gives one output channel an input channel, not 2"),
        (Geometry("depthwise_conv2d", SPEC.shape, 8, (1, 9)), "its filters have at most 8 columns, not 9"),
        (
            Geometry("depthwise_conv2d", SPEC.shape, 8, (3, 3), (1, 4)),
            "its horizontal stride is at most 3, not 4",
        ),
    ],
)
def test_depthwise_layers_that_are_not_served(geometry: Geometry, reason: str) -> None:
    layer = single.layer(geometry, np.random.default_rng(0), bits=8)
    assert depthwise_conv2d_s_dsp.serves(layer, [SPEC]) == reason


def test_ternary_depthwise_layers_take_the_kernel_that_is_faster_for_their_shape() -> None:
    """3x3 with stride 1 two pixels at a time; others as wider weights, if those have few enough columns."""
    shapes = {((3, 3), (1, 1)): "t2", ((3, 3), (2, 2)): "s", ((5, 5), (1, 1)): "s", ((1, 9), (1, 1)): "t2"}
    for (window, stride), wanted in shapes.items():
        geometry = Geometry("depthwise_conv2d", SPEC.shape, 8, window, stride)
        layer = single.layer(geometry, np.random.default_rng(0), bits=2)
        call = select.kernel(layer, [SPEC], board.load("netduinoplus2"))
        assert call is not None and call.function.startswith(f"nn_depthwise_conv2d_{wanted}_"), (window, stride)


def test_refusals_name_the_reason() -> None:
    geometry = Geometry("conv2d", SPEC.shape, 8, (3, 3))
    layer = single.layer(geometry, np.random.default_rng(0), bits=8)
    assert layer.shift is not None
    layer.shift[2] = -23
    assert "to the right by at most 22, not 23" in conv2d_s_dsp.serves(layer, [SPEC])
    layer.shift[2] = 12
    assert conv2d_s_dsp.serves(layer, [SPEC]) == "shifted accumulators reach 2^30"
    ternary = single.layer(geometry, np.random.default_rng(0))
    assert conv2d_s_dsp.serves(ternary, [SPEC]) == "it reads weights of 8, 4 or 3 bits, not 2"
