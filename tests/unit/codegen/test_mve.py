"""Filters of the vector kernels: what nn_mve_row (firmware/nn/mve/nn_mve.h) takes out again, and what they serve."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.codegen.kernels import (
    _mve,
    add_mve,
    average_pool2d_mve,
    conv2d_s_mve,
    dense_s_mve,
    depthwise_conv2d_s_mve,
)
from pipeline.core.errors import UnsupportedError
from pipeline.core.nouns import QLayer, Quantization, TensorSpec
from pipeline.network.layers import add
from tests.support import single
from tests.support.single import Geometry

SPEC = TensorSpec((5, 5, 16), Quantization(1.0, 0))
KINDS = {"conv2d": conv2d_s_mve, "depthwise_conv2d": depthwise_conv2d_s_mve, "dense": dense_s_mve}


def row(bits: int, unit: NDArray[np.int8], i: int) -> NDArray[np.int8]:
    """As the C function of this name, by the same shifts: NumPy's of int8 are arithmetic as well."""
    if bits == 3 and i > 5:
        return unit[i - 6] >> 6 << 1 | unit[2] >> i & 1
    fields = 8 // bits if bits != 3 else 2
    return unit[i // fields] << (8 - bits * (i % fields + 1)) >> (8 - bits)


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_every_weight_comes_out_again(bits: int) -> None:
    most = (1 << (bits - 1)) - 1
    rows = np.random.default_rng(0).integers(-most, most, (21, 16), endpoint=True)
    unit_rows = _mve.UNIT_ROWS[bits]
    units = _mve.pack(rows, bits).view(np.int8).reshape(-1, unit_rows * bits // 8, 16)
    found = np.array([row(bits, unit, i) for unit in units for i in range(unit_rows)])
    assert np.array_equal(found[:21], rows)
    assert not found[21:].any() and len(found) == _mve.unit_rows(21, bits) == 24


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_weights_that_their_width_does_not_hold_are_never_packed(kind: str, bits: int) -> None:
    """-128 in particular: two products with it would not fit 16 bits."""
    layer = single.layer(Geometry(kind, SPEC.shape, 16, (3, 3)), np.random.default_rng(0), bits=bits)
    assert layer.weights is not None
    assert KINDS[kind].serves(layer, [SPEC]) == ""
    layer.weights.flat[3] = -(1 << (bits - 1))
    with pytest.raises(UnsupportedError, match=f"weight 3 is {-(1 << (bits - 1))}"):
        KINDS[kind].call(layer, [SPEC])


def depthwise_code(layer: QLayer) -> str:
    return str(depthwise_conv2d_s_mve.call(layer, [SPEC]).args[1].fields["pixel"])


def test_output_channels_may_read_the_same_input_channel() -> None:
    """Their table is part of the scratch: a byte of each output channel, filled up to 16."""
    random, scratch = np.random.default_rng(0), {}
    for channels in (16, 48):
        layer = single.layer(Geometry("depthwise_conv2d", SPEC.shape, channels, (3, 3)), random, bits=8)
        assert depthwise_code(layer).startswith("nn_mve_repeated" if channels > 16 else "nn_mve_pixel")
        call = depthwise_conv2d_s_mve.call(layer, [SPEC])
        assert call.args[1].fields["conv"]["ch_mult"] == channels // 16
        scratch[channels] = call.scratch_bytes
    assert scratch[48] == scratch[16] + 32 + 48  # of padding and of the table


@pytest.mark.parametrize(
    ("zero_point", "lowest", "left", "relu"),
    [(-128, -128, 0, True), (5, 5, 0, True), (0, -128, 0, False), (-128, -128, 1, False)],
)
def test_negative_sums_are_rounded_at_leisure_behind_a_relu(
    zero_point: int, lowest: int, left: int, relu: bool
) -> None:
    layer = single.layer(Geometry("depthwise_conv2d", SPEC.shape, 16, (3, 3)), np.random.default_rng(0))
    assert layer.shift is not None
    shift = layer.shift.copy()
    shift[3] = left
    output = TensorSpec(layer.output.shape, Quantization(1.0, zero_point))
    params = {**layer.params, "activation": (lowest, 127)}
    layer = replace(layer, output=output, params=params, shift=shift)
    assert depthwise_code(layer).endswith("_relu") == relu


def test_sums_are_of_16_bits_where_no_input_overflows_them() -> None:
    layer = single.layer(Geometry("depthwise_conv2d", SPEC.shape, 16, (3, 3)), np.random.default_rng(0), bits=8)
    assert layer.weights is not None
    for weight, bits in ((28, 16), (29, 32)):  # nine times 28 is 252; 255 * 128 < 2^15
        weights = np.full_like(layer.weights, -1)
        weights[:, :, 7] = weight
        assert depthwise_conv2d_s_mve.sum_bits(replace(layer, weights=weights)) == bits


def test_multiplication_divides_every_sum_of_a_window_by_its_count() -> None:
    """As divisor_of and means in nn_average_pool2d_mve.c: the high half of a product of 16 bits, then a shift."""
    magnitudes = np.arange(1 << 15, dtype=np.uint32)
    for count in range(1, average_pool2d_mve.MOST_ELEMENTS + 1):
        k = (count - 1).bit_length()
        multiplier = -(-(1 << (15 + k)) // count)
        assert multiplier < 1 << 16
        assert np.array_equal(2 * magnitudes * np.uint32(multiplier) >> 16 >> k, magnitudes // count)
    assert 128 * count + count // 2 == 32767, "the largest magnitude"


def test_averages_of_more_elements_are_not_served() -> None:
    layer = single.layer(Geometry("dense", SPEC.shape, 1), np.random.default_rng(0))
    for pool, reason in (((15, 17), ""), ((16, 16), "its windows have at most 255 elements, not 256")):
        assert average_pool2d_mve.serves(replace(layer, kind="average_pool2d", params={"pool": pool}), []) == reason


SUM_LIMITS = (-100, 90)
EVERY_CODE = {
    "nn_mve_add16": ((0.25, 0.5, 0.5), (-128, 0, -128)),
    "nn_mve_add32": ((0.0173, 0.0391, 0.0295), (3, -7, 11)),
    "nn_mve_add_any": ((40.0, 1.0, 1.0), (0, 0, 0)),
}


@pytest.mark.parametrize("code", EVERY_CODE)
def test_the_fastest_code_that_adds_exactly_is_chosen(code: str) -> None:
    layer, specs = single.sum_layer(*EVERY_CODE[code], SUM_LIMITS)
    assert add_mve.serves(layer, specs) == ""
    call = add_mve.call(layer, specs)
    fields = call.args[0].fields
    assert fields["code"] == code and call.in_place == 0
    assert (fields["factor1"] == 0) == (code == add_mve.ANY)


@pytest.mark.parametrize("code", add_mve.SUMS)
@pytest.mark.parametrize("limits", [(-128, 127), SUM_LIMITS])
def test_sums_of_all_pairs_are_the_specifications(code: str, limits: tuple[int, int]) -> None:
    """As sums16 and sums32 in nn_add_mve.c: sums fit their bits and are narrowed with more of them, then limited."""
    layer, specs = single.sum_layer(*EVERY_CODE[code], limits)
    sums, found = add_mve.SUMS[code], add_mve.SUMS[code].factors(layer, specs)
    assert found is not None
    x, y = np.meshgrid(np.arange(-128, 128), np.arange(-128, 128))
    total = found[2] + (found[0] * x >> sums.places) + (found[1] * y >> sums.places)
    assert np.array_equal(total, total.astype(f"i{sums.bits // 8}"))
    outputs = np.clip(np.clip((total + sums.rounding) >> sums.fraction, -128, 127), *limits)
    assert np.array_equal(outputs, add.reference(layer, specs, (x, y)))


def test_sums_that_16_bits_hold_inexactly_or_not_at_all_take_32() -> None:
    for scales, zeros in (((0.25, 0.5, 0.5), (-128, 0, 0)), ((0.5, 0.5, 0.0625), (0, 0, 0))):
        layer, specs = single.sum_layer(scales, zeros, (-128, 127))
        assert add_mve.SUMS["nn_mve_add16"].factors(layer, specs) is None
        assert add_mve.fitted(layer, specs)[0] == "nn_mve_add32"
