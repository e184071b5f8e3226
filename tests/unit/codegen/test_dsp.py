"""Field-packed weights: the arithmetic of nn_conv2d_t2_dsp_core.S in Python, with the worst inputs there are."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.codegen.kernels import _dsp, _fit, add_dsp, conv2d_t2_dsp, dense_t2_dsp, depthwise_conv2d_t2_dsp
from pipeline.core.errors import UnsupportedError
from pipeline.core.nouns import QLayer, Quantization, TensorSpec
from pipeline.network import rescale
from pipeline.network.layers import add
from tests.support import single
from tests.support.single import Geometry

MASK = 0xC003C003


def signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def rotated(word: int, by: int) -> int:
    return (word >> by | word << (32 - by)) & 0xFFFFFFFF if by else word


def packed_sums(words: np.ndarray, x: np.ndarray) -> list[int]:
    """Sums of four channels as the inner loop makes them: SMLAD modulo 2^32, fields taken apart at the end."""
    inputs = [int(v) for v in x] + [99] * (-len(x) % _dsp.WORD)  # behind the last input lies anything
    acc = [-int(x.sum()), -int(x.sum())]
    for number, word in enumerate(int(w) for w in words):
        for turn in range(4):
            lanes = rotated(word, 4 * turn) & MASK
            first = _dsp.WORD * number + 2 * (turn // 2)
            for lane in range(2):
                acc[turn % 2] += signed(lanes >> 16 * lane, 16) * inputs[first + lane]
    sums = []
    for value in (signed(a, 32) for a in acc):
        low = signed(value, 14)
        sums += [low, (value - low) >> 14]
    return sums


def worst_inputs(weights: np.ndarray) -> list[np.ndarray]:
    """All -128, all 127, and for every channel the inputs of its largest and smallest sum."""
    n = weights.shape[1]
    matched = [np.where(row * sign > 0, 127, -128) for row in weights for sign in (1, -1)]
    return [np.full(n, -128), np.full(n, 127), *matched]


@given(st.integers(0, 10_000), st.integers(1, 255), st.sampled_from([0.1, 0.4, 0.5, 0.66, 0.8, 1.0]))
@settings(max_examples=400)
def test_what_fits_is_exact_and_what_does_not_overflows(seed: int, count: int, density: float) -> None:
    random = np.random.default_rng(seed)
    weights = np.where(random.random((4, count)) < density, random.choice([-1, 1], (4, count)), 0).astype(np.int64)
    words = _dsp.pack(weights)[0]
    exact = all(packed_sums(words, x) == (weights @ x).tolist() for x in worst_inputs(weights))
    assert exact == _dsp.fits(weights)


@pytest.mark.parametrize(("ones", "fits"), [(63, True), (64, True), (65, False)])
def test_a_field_holds_63_weights_of_any_sign(ones: int, fits: bool) -> None:
    """Sixty-four hold when all are +1 or mixed: 127 * 64 < 2^13 = 128 * 64; the smallest sum may be -2^13."""
    weights = np.zeros((4, 80), np.int64)
    weights[0, :ones] = 1
    assert _dsp.fits(weights) == fits
    weights[0, :ones] = -1
    assert _dsp.fits(weights) == (ones <= 63)


def test_golden_packing() -> None:
    weights = np.array([[1, -1, 0, 1], [1, 0, -1, 1], [0, 0, 1, -1], [-1, 1, 1, 0]])
    assert [f"{w:08x}" for w in _dsp.pack(weights).ravel()] == ["06dc6156"]


@pytest.mark.parametrize("family", [conv2d_t2_dsp, depthwise_conv2d_t2_dsp, dense_t2_dsp])
def test_weights_that_are_not_ternary_are_never_packed(family) -> None:
    kinds = {conv2d_t2_dsp: "conv2d", depthwise_conv2d_t2_dsp: "depthwise_conv2d", dense_t2_dsp: "dense"}
    layer = single.layer(Geometry(kinds[family], (5, 5, 8), 8, (3, 3)), np.random.default_rng(0))
    layer.weights.flat[3] = 2
    with pytest.raises(UnsupportedError, match="weight 3 is 2"):
        family.call(layer, [TensorSpec((5, 5, 8), Quantization(1.0, 0))])


@given(
    st.integers(0, 10_000),
    st.tuples(st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 2, 3, 4, 7, 16, 30, 64, 96])),
    st.sampled_from([0.0, 0.5, 0.7, 1.0]),
)
@settings(max_examples=150)
def test_plans_cover_every_window_once_and_every_interval_fits(
    seed: int, shape: tuple[int, int, int], density: float
) -> None:
    kh, kw, channels = shape
    g = Geometry("conv2d", (8, 8, channels), 6, (kh, kw))
    layer = single.layer(g, np.random.default_rng(seed), density)
    plan = conv2d_t2_dsp.plan(layer)
    assert plan is not None
    filters = conv2d_t2_dsp._filters(layer, plan.gather)
    runs = np.pad(filters, ((0, 0), (0, 0), (0, 0), (0, plan.pixel - filters.shape[3])))
    runs = runs.reshape(len(filters), filters.shape[1], -1)
    seen = np.zeros(runs.shape[1:], int)
    interval: list[np.ndarray] = []
    for piece in plan.pieces:
        span = slice(piece.first * plan.granule, piece.last * plan.granule)
        seen[piece.row, span] += 1
        interval.append(runs[:, piece.row, span])
        assert (span.stop - span.start) <= _dsp.MAX_INPUTS
        if piece.then != conv2d_t2_dsp.GO_ON:
            assert _dsp.fits(np.concatenate(interval, axis=1))
            interval = []
    assert (seen == 1).all()
    assert not interval
    finishes = [p.then == conv2d_t2_dsp.FINISH for p in plan.pieces]
    assert finishes == [False] * (len(plan.pieces) - 1) + [True]


@pytest.mark.parametrize(
    ("kernel", "channels", "gather"),
    [
        ((3, 3), 3, "nn_dsp_gather_3x9"),
        ((3, 9), 1, "nn_dsp_gather_3x9"),
        ((10, 4), 1, "nn_dsp_gather_4"),
        ((16, 2), 2, "nn_dsp_gather_4"),
        ((17, 2), 2, ""),
        ((4, 3), 3, ""),
        ((3, 1), 9, ""),
        ((3, 1), 4, ""),
    ],
)
def test_windows_of_few_inputs_a_row_are_gathered_where_no_field_overflows(
    kernel: tuple[int, int], channels: int, gather: str
) -> None:
    """Seventeen rows of four weights +1 are more than the 64 that a field holds."""
    layer = single.layer(Geometry("conv2d", (20, 10, channels), 4, kernel), np.random.default_rng(0))
    layer.weights[:] = 1
    plan = conv2d_t2_dsp.plan(layer)
    assert plan is not None
    assert plan.gather == gather


def test_a_shift_too_far_is_refused_with_the_reason() -> None:
    layer = single.layer(Geometry("conv2d", (5, 5, 8), 8, (3, 3)), np.random.default_rng(0))
    spec = TensorSpec((5, 5, 8), Quantization(1.0, 0))
    assert conv2d_t2_dsp.serves(layer, [spec]) == ""
    layer.shift[2] = 1
    assert conv2d_t2_dsp.serves(layer, [spec]) == ""
    layer.shift[2] = -23
    assert "to the right by at most 22, not 23" in conv2d_t2_dsp.serves(layer, [spec])


def test_a_second_channel_whose_sum_leaves_its_field_is_refused() -> None:
    """No flush moves it to a total: what is in place b has 18 bits for the whole window."""
    spec = TensorSpec((3, 3, 256), Quantization(1.0, 0))
    layer = single.layer(Geometry("conv2d", spec.shape, 2, (3, 3)), np.random.default_rng(0), 0.3)
    assert conv2d_t2_dsp.serves(layer, [spec]) == ""
    layer.weights[0] = 1
    assert conv2d_t2_dsp.serves(layer, [spec]) == ""
    layer.weights[1] = 0
    layer.weights.reshape(2, -1)[1, :1023] = -1
    assert conv2d_t2_dsp.serves(layer, [spec]) == ""
    layer.weights.reshape(2, -1)[1, :1024] = -1
    assert "more than 18 bits" in conv2d_t2_dsp.serves(layer, [spec])


def fitted_outputs(fit: _fit.Fit, sums: np.ndarray) -> np.ndarray:
    """What the code does with sums (n, channels): SMMUL, or SMMLA with BIC, in 32 bits, and SSAT."""
    x = fit.starts + (sums << _fit.BITS)
    assert np.array_equal(x, x.astype(np.int32))
    high = (x * fit.factors >> 32) + (0 if fit.ties is None else np.where(x < 0, 0, fit.ties))
    return np.clip(high >> fit.shift, -128, 127)


def fit_of(layer: QLayer, zero_point: int) -> _fit.Fit | None:
    spec = TensorSpec(layer.output.shape, Quantization(1.0, zero_point))
    return _fit.find(layer, spec, conv2d_t2_dsp.SHIFTS)


@pytest.mark.parametrize("highest", [-5, -3, -1, 0, 2])
@pytest.mark.parametrize(("zero_point", "limits"), [(-128, (-128, 127)), (0, (-128, 127)), (17, (17, 100))])
def test_a_fit_gives_every_sum_its_output(zero_point: int, limits: tuple[int, int], highest: int) -> None:
    """Shifts in every direction; every sum that can occur, halves among them: the multiplier of a channel is 2^30."""
    random = np.random.default_rng(highest + 10)
    layer = single.layer(Geometry("conv2d", (5, 5, 8), 12, (3, 3)), random)
    layer.shift[:] = random.integers(highest - 2, highest, 12, endpoint=True)
    layer.bias[:] = random.integers(-300, 300, 12)
    layer.multiplier[3] = 1 << 30
    output = TensorSpec(layer.output.shape, Quantization(1.0, zero_point))
    layer = dataclasses.replace(layer, output=output, params={**layer.params, "activation": limits})
    fit = fit_of(layer, 5)
    assert fit is not None
    nonzero = np.abs(layer.weights).reshape(12, -1).sum(axis=1)
    sums = np.arange(-128 * nonzero.max(), 128 * nonzero.max() + 1)[:, None]
    acc = np.clip(sums, -127 * nonzero, 127 * nonzero)
    centred = acc - 5 * layer.weights.reshape(12, -1).sum(axis=1, dtype=np.int64)
    wanted = np.clip(rescale.requantized(layer, centred, True), *limits)
    assert np.array_equal(np.clip(fitted_outputs(fit, acc), *limits), wanted)


def test_a_channel_without_weights_or_scale_is_fitted_too() -> None:
    layer = single.layer(Geometry("conv2d", (5, 5, 8), 4, (3, 3)), np.random.default_rng(0))
    layer.weights[0], layer.multiplier[1], layer.shift[:] = 0, 0, -4
    layer = dataclasses.replace(layer, output=TensorSpec(layer.output.shape, Quantization(1.0, 0)))
    fit = fit_of(layer, 0)
    assert fit is not None
    assert fitted_outputs(fit, np.zeros((1, 4), np.int64))[0, 1] == 0


def test_where_no_fit_is_possible_the_general_code_writes() -> None:
    """Halves are rounded away from a zero point that is not 0."""
    layer = single.layer(Geometry("conv2d", (5, 5, 8), 4, (3, 3)), np.random.default_rng(0))
    layer = dataclasses.replace(layer, output=TensorSpec(layer.output.shape, Quantization(1.0, 3)))
    assert fit_of(layer, 0) is None
    call = conv2d_t2_dsp.call(layer, [TensorSpec((5, 5, 8), Quantization(1.0, 0))])
    assert call.tables["requant"].shape == (4, 4)
    assert call.args[1].fields["finish2"] == "nn_dsp_any2_first"


def half_layer(highest: int, zero_point: int, limits: tuple[int, int]) -> QLayer:
    """A depthwise layer with all kinds of densities; shifts up to the highest."""
    random = np.random.default_rng(highest + 10)
    layer = single.layer(Geometry("depthwise_conv2d", (5, 5, 12), 12, (3, 3)), random, 0.7)
    layer.weights[..., 0], layer.weights[..., 1], layer.weights[..., 2] = 1, -1, 0
    layer.shift[:] = random.integers(highest - 2, highest, 12, endpoint=True)
    layer.bias[:] = random.integers(-300, 300, 12)
    layer.multiplier[3] = 1 << 30
    output = TensorSpec(layer.output.shape, Quantization(1.0, zero_point))
    return dataclasses.replace(layer, output=output, params={**layer.params, "activation": limits})


@pytest.mark.parametrize("highest", [-6, -3, -1, 0, 2, 6])
@pytest.mark.parametrize(("zero_point", "limits"), [(-128, (-128, 127)), (17, (17, 100))])
def test_a_fit_of_halves_gives_every_sum_its_output(zero_point: int, limits: tuple[int, int], highest: int) -> None:
    """As nn_dsp_rows... computes: both fields of a sum, shifted left by two, then SMLAWB, SMLAWT and SSAT."""
    layer, spec = half_layer(highest, zero_point, limits), TensorSpec((5, 5, 12), Quantization(1.0, 5))
    fit = _fit.find_half(layer, spec, depthwise_conv2d_t2_dsp.SHIFTS, depthwise_conv2d_t2_dsp.START)
    assert fit is not None
    nonzero = np.abs(layer.weights).sum(axis=(0, 1), dtype=np.int64)
    first = np.clip(np.arange(-128 * 9, 128 * 9 + 1)[:, None], -127 * nonzero, 127 * nonzero)
    second = first[::-1]
    packed = (first + depthwise_conv2d_t2_dsp.START) + ((second + depthwise_conv2d_t2_dsp.START) << 14) << 2
    assert np.array_equal(packed, packed.astype(np.int32))
    low, high = packed.astype(np.int32) << 16 >> 16, packed >> 16
    assert (4 * fit.factors <= (1 << 31) - 1).all()
    for sums, products in ((first, fit.factors * low >> 16), (second, 4 * fit.factors * high >> 16)):
        x = fit.starts + products
        assert np.array_equal(x, x.astype(np.int32))
        centred = sums - 5 * layer.weights.sum(axis=(0, 1), dtype=np.int64)
        wanted = np.clip(rescale.requantized(layer, centred, True), *limits)
        assert np.array_equal(np.clip(x >> fit.shift, *limits), wanted)


@pytest.mark.parametrize("flushed", [False, True])
def test_an_accumulator_is_two_sums_of_sixteen_bits(flushed: bool) -> None:
    """As nn_dsp_half... computes: all of A's field, B at its ends; without flushes 4 A times the factor, else A times
    four times the factor."""
    fit = _fit.Fit(12, np.array([5, 6, 7, 8, 9]), np.array([1001, 1002, 1003, 1004, 1005]), None)
    first, second = np.meshgrid(np.arange(-(1 << 13), 1 << 13), [-(1 << 15), -1, 0, 1, (1 << 15) - 1])
    shifted = (first + (second << 14) << 2).astype(np.uint64).astype(np.uint32)
    assert np.array_equal(shifted.astype(np.int16), 4 * first)
    assert np.array_equal((shifted + np.uint32(1 << 15)).view(np.int32) >> 16, second)
    table = _dsp.half_fitted(fit, flushed)
    order = (0, 1, 2, 3) if flushed else (1, 0, 3, 2)
    factors = [4 * 1001 if flushed else 1001, 4 * 1002, 4 * 1003 if flushed else 1003, 4 * 1004]
    assert table[:4].tolist() == [[fit.starts[channel], factors[channel]] for channel in order]
    assert len(table) == 8


def test_sums_of_more_than_sixteen_bits_have_no_fit_of_halves() -> None:
    layer = single.layer(Geometry("conv2d", (3, 3, 32), 4, (3, 3)), np.random.default_rng(0), 0.3)
    layer.shift[:] = -8
    output = TensorSpec(layer.output.shape, Quantization(1.0, -128))
    layer, spec = dataclasses.replace(layer, output=output), TensorSpec((3, 3, 32), Quantization(1.0, 0))
    layer.weights[1] = 0
    layer.weights.reshape(4, -1)[1, :256] = 1
    assert _fit.find_half(layer, spec, conv2d_t2_dsp.HALF_SHIFTS) is not None
    layer.weights.reshape(4, -1)[1, 0] = -1
    assert _fit.find_half(layer, spec, conv2d_t2_dsp.HALF_SHIFTS) is not None
    layer.weights.reshape(4, -1)[1, :] = 1
    assert _fit.find_half(layer, spec, conv2d_t2_dsp.HALF_SHIFTS) is None
    assert conv2d_t2_dsp.call(layer, [spec]).args[1].fields["finish2"].startswith("nn_dsp_fit2_")


def test_outputs_below_the_zero_point_have_no_fit_of_halves() -> None:
    """Their halves are rounded the other way; the code of every shift writes them."""
    layer, spec = half_layer(-1, 0, (-128, 127)), TensorSpec((5, 5, 12), Quantization(1.0, 5))
    assert _fit.find_half(layer, spec, depthwise_conv2d_t2_dsp.SHIFTS, depthwise_conv2d_t2_dsp.START) is None
    call = depthwise_conv2d_t2_dsp.call(layer, [spec])
    assert call.args[1].fields["right"] == "nn_dsp_pairs8"
    assert "last" not in call.args[1].fields


@pytest.mark.parametrize(
    ("width", "code"),
    [
        (1, {"last": "nn_dsp_rows1_adjacent_12"}),
        (6, {"six": "nn_dsp_rows6_adjacent_12"}),
        (7, {"six": "nn_dsp_rows6_12", "last": "nn_dsp_rows1_12"}),
        (12, {"six": "nn_dsp_rows6_12"}),
    ],
)
def test_rows_are_cut_into_sixes_and_what_is_left(width: int, code: dict[str, str]) -> None:
    assert _dsp.row_codes(width, lambda count, place: f"nn_dsp_rows{count}{place}_12") == code


@pytest.mark.parametrize("scales", [(0.25, 0.5, 0.5), (0.5, 0.25, 1.0), (0.0173, 0.0391, 0.0295), (0.3, 0.02, 0.07)])
@pytest.mark.parametrize(
    ("zeros", "limits"), [((-128, 0, -128), (-128, 127)), ((3, -7, 11), (-128, 127)), ((0, 127, -100), (-100, 90))]
)
def test_sums_of_all_pairs_of_inputs_are_the_specifications(
    scales: tuple[float, float, float], zeros: tuple[int, int, int], limits: tuple[int, int]
) -> None:
    layer, specs = single.sum_layer(scales, zeros, limits)
    x, y = np.meshgrid(np.arange(-128, 128), np.arange(-128, 128))
    found = add_dsp.SUMS.factors(layer, specs)
    assert found is not None
    total = found[2] + (found[0] * (x << 8) >> 16) + (found[1] * (y << 8) >> 16)
    assert np.array_equal(total, total.astype(np.int32))
    outputs = np.clip(np.clip(total >> add_dsp.SUMS.fraction, -128, 127), *limits)
    assert np.array_equal(outputs, add.reference(layer, specs, (x, y)))


def test_a_sum_whose_factors_are_too_large_is_refused() -> None:
    layer, specs = single.sum_layer((40.0, 1.0, 1.0), (0, 0, 0), (-128, 127))
    assert "round every sum" in add_dsp.serves(layer, specs)
