"""Weight quantizers: what they compute, what noise they draw, and that export sees what inference uses."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.quantization import layerwise
from pipeline.training import blocks, quantizers
from pipeline.training.keras_backend import compiled, keras, qkeras, tf, to_numpy
from pipeline.training.quantizers import (
    QuantizedLinear,
    QuantizedRelu,
    StochasticBinary,
    StochasticTernary,
    SymmetricInteger,
    Unquantized,
    of_width,
)

SHAPES = {"dense": ((40, 10), 1), "convolution": ((3, 3, 8, 16), 1), "depthwise": ((3, 3, 24, 1), 2)}


def gaussian(shape, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.3, shape).astype(np.float32)


def ternary_of_channel(w: np.ndarray) -> tuple[np.ndarray, float]:
    """The rule of arXiv 1605.04711 as QKeras iterates it, for one channel, in double precision."""
    scale = 2 / 3 * np.abs(w).max()
    for _ in range(quantizers.SCALE_ROUNDS):
        kept = np.abs(w) >= scale / 2
        scale = np.abs(w)[kept].mean()
    return np.sign(w) * kept, scale


@pytest.mark.parametrize("shape, channel_axes", SHAPES.values(), ids=SHAPES)
def test_ternary_codes_and_scales_channel_by_channel(shape, channel_axes):
    w = gaussian(shape)
    codes, scale = quantizers.weight_codes(StochasticTernary(channel_axes=channel_axes), w)
    flat = w.reshape(-1, int(np.prod(shape[-channel_axes:])))
    assert codes.dtype == np.int8 and codes.shape == shape and scale.shape == (flat.shape[1],)
    for channel in range(flat.shape[1]):
        wanted, wanted_scale = ternary_of_channel(flat[:, channel].astype(np.float64))
        assert np.array_equal(codes.reshape(flat.shape)[:, channel], wanted)
        assert scale[channel] == pytest.approx(wanted_scale, rel=1e-5)
    assert len(np.unique(scale)) == flat.shape[1]


@pytest.mark.parametrize("bits", layerwise.BITS)
@pytest.mark.parametrize("shape, channel_axes", SHAPES.values(), ids=SHAPES)
def test_bits_chosen_after_training_quantize_as_training_does(shape, channel_axes, bits):
    """The same rule, once on Keras tensors and once in NumPy."""
    w = gaussian(shape)
    codes, scale = quantizers.weight_codes(of_width(bits, channel_axes=channel_axes), w)
    reduced = tuple(range(w.ndim - channel_axes))
    chosen, chosen_scale = layerwise.quantize(w.astype(np.float64), reduced, bits, clip=1.0)
    assert np.array_equal(chosen, codes)
    assert chosen_scale.reshape(-1) == pytest.approx(scale, rel=1e-5)


@pytest.mark.parametrize("bits, levels", [(1, {-1, 1}), (2, {-1, 0, 1}), (3, set(range(-3, 4)))])
def test_power_of_two_scales(bits, levels):
    codes, scale = quantizers.weight_codes(of_width(bits, alpha="auto_po2"), gaussian((64, 12)))
    assert np.array_equal(np.log2(scale), np.round(np.log2(scale)))
    assert set(np.unique(codes)) == levels


@pytest.mark.parametrize("shape, channel_axes", SHAPES.values(), ids=SHAPES)
def test_binary_codes_are_signs_and_the_scale_is_the_best(shape, channel_axes):
    w = gaussian(shape)
    w[0] = 0
    codes, scale = quantizers.weight_codes(StochasticBinary(channel_axes=channel_axes), w)
    flat = w.reshape(-1, len(scale))
    assert np.array_equal(codes, np.where(w < 0, -1, 1))
    errors = [((flat - codes.reshape(flat.shape) * scale * factor) ** 2).sum(axis=0) for factor in (0.99, 1, 1.01)]
    assert np.all(errors[1] < errors[0]) and np.all(errors[1] < errors[2])


def test_binary_noise_follows_the_sigmoid():
    w = gaussian((60, 2))
    drawn = draws(w, 4000, StochasticBinary, temperature=2.0)
    assert set(np.unique(drawn)) == {-1, 1}
    assert np.abs((drawn == 1).mean(axis=0) - 1 / (1 + np.exp(-2 * w / w.std(axis=0)))).max() < 0.04


def test_a_temperature_given_from_outside_counts():
    w, quantizer = gaussian((3, 3, 64, 64)), StochasticTernary(temperature=8.0)
    codes, scale = quantizers.weight_codes(quantizer, w)
    shares = []
    for temperature in (4.0, 16.0):
        with quantizer.sampling(keras.random.SeedGenerator(3)), quantizer.at(temperature):
            shares.append(np.mean(np.rint(to_numpy(quantizer(w)) / scale) != codes))
    assert shares == [pytest.approx(0.21, rel=0.1), pytest.approx(0.055, rel=0.1)]


def test_float_weights_stay_as_they_are_and_leave_at_eight_bits():
    w = gaussian((3, 3, 8, 16))
    quantizer = of_width(32)
    assert np.array_equal(to_numpy(quantizer(w)), w)
    assert quantizer.bits == 8
    codes, scale = quantizers.weight_codes(quantizer, w)
    assert np.all(np.abs(codes * scale - w) <= scale * (0.5 + 1e-5))


@pytest.mark.parametrize(
    "bits, kind, stored",
    [(1, StochasticBinary, 2), (2, StochasticTernary, 2), (4, SymmetricInteger, 4), (32, Unquantized, 8)],
)
def test_widths_of_jobs(bits, kind, stored):
    quantizer = of_width(bits, alpha="auto_po2", temperature=3.0, stochastic=False, channel_axes=2)
    assert type(quantizer) is kind
    assert (quantizer.bits, quantizer.alpha, quantizer.channel_axes) == (stored, "auto_po2", 2)
    if bits < 3:
        assert (quantizer.temperature, quantizer.stochastic) == (3.0, False)


def gradients(function, x):
    """(f(x), df/dx for an upstream of ones, its own derivative where there is one)."""
    x = tf.constant(x)
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = function(x)
        slope = inner.gradient(y, x)
    return to_numpy(y), to_numpy(slope), outer.gradient(slope, x)


@pytest.mark.parametrize("bits, integer", [(8, 2), (8, 3), (4, 2), (2, 0)])
def test_activations_are_those_of_qkeras_to_the_bit(bits, integer):
    """Also on the halves between levels and at both ends, where gradients stop."""
    step = 2.0 ** (integer - bits)
    halves = np.arange(-10, 2 * 2**bits + 10, dtype=np.float32) * np.float32(step / 2)
    x = np.concatenate([halves, gaussian((4000,)) * np.float32(2**integer * 4)])
    for ours, theirs in (
        (QuantizedRelu(bits, integer), qkeras.quantized_relu(bits, integer)),
        (QuantizedLinear(bits, integer, alpha=1.0), qkeras.quantized_bits(bits, integer, alpha=1.0)),
    ):
        value, slope, again = gradients(ours, x)
        wanted, wanted_slope, _ = gradients(theirs, x)
        assert np.array_equal(value, wanted)
        assert np.array_equal(slope, wanted_slope)
        assert again is None or not np.any(again)


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_symmetric_integers_are_the_nearest(bits):
    w = gaussian((3, 3, 8, 16))
    codes, scale = quantizers.weight_codes(SymmetricInteger(bits), w)
    limit = 2 ** (bits - 1) - 1
    assert np.abs(codes).max(axis=(0, 1, 2)).tolist() == [limit] * 16
    assert np.all(np.abs(codes * scale - w) <= scale * (0.5 + 1e-5))


@pytest.mark.parametrize("quantizer", [StochasticTernary(), StochasticTernary(alpha="auto_po2"), SymmetricInteger(8)])
def test_an_all_zero_channel_is_harmless(quantizer):
    w = gaussian((30, 4))
    w[:, 2] = 0
    codes, scale = quantizers.weight_codes(quantizer, w)
    assert not codes[:, 2].any()
    assert np.all(scale > 0) and np.all(np.isfinite(scale))
    with quantizer.sampling(keras.random.SeedGenerator(1)):
        assert not to_numpy(quantizer(w))[:, 2].any()


def layer_of(kind: str, quantizer, library=blocks):
    """(layer with a Gaussian kernel, input shape): ours, or QKeras' own without quantizer."""
    if kind == "dense":
        layer, shape = library.QDense(10, kernel_quantizer=quantizer, use_bias=False), (40,)
    elif kind == "convolution":
        layer, shape = library.QConv2D(16, 3, kernel_quantizer=quantizer, use_bias=False), (6, 6, 8)
    else:
        layer, shape = library.QDepthwiseConv2D(3, depthwise_quantizer=quantizer, use_bias=False), (6, 6, 24)
    layer.build((None, *shape))
    layer.weights[0].assign(gaussian(layer.weights[0].shape))
    return layer, shape


@pytest.mark.parametrize("eight_bit", [False, True])
@pytest.mark.parametrize("kind", SHAPES)
def test_layers_infer_with_the_exported_integers(kind, eight_bit):
    """QKeras' own layer with codes * scale for plain weights answers as ours does; one code off by one would show."""
    axes = SHAPES[kind][1]
    quantizer = SymmetricInteger(8, axes) if eight_bit else StochasticTernary(channel_axes=axes)
    layer, shape = layer_of(kind, quantizer)
    codes, scale = quantizers.weight_codes(quantizer, to_numpy(layer.weights[0]))
    plain, _ = layer_of(kind, None, qkeras)
    plain.weights[0].assign(codes * scale.reshape(codes.shape[-axes:]))
    x = gaussian((5, *shape), seed=1)
    answer = compiled(lambda x: layer(x, training=False), ((None, *shape), "float32"))(x)
    np.testing.assert_allclose(answer, plain(x), rtol=1e-5, atol=1e-6)


def draws(w: np.ndarray, count: int, kind=StochasticTernary, **settings) -> np.ndarray:
    """(count, *w.shape) codes drawn in training."""
    seed = keras.random.SeedGenerator(7)
    quantizer = kind(**settings)
    _, scale = quantizer.quantize(tf.constant(w))

    def draw(w):
        with quantizer.sampling(seed):
            return tf.round(quantizer(w) / scale)

    run = compiled(draw, (w.shape, "float32"))
    return np.stack([to_numpy(run(w)) for _ in range(count)])


@pytest.mark.parametrize("temperature, share", [(4, 0.21), (8, 0.11), (16, 0.055)])
def test_share_of_gaussian_weights_the_noise_changes(temperature, share):
    w = gaussian((3, 3, 64, 64))
    codes, _ = quantizers.weight_codes(StochasticTernary(), w)
    changed = np.mean(draws(w, 4, temperature=temperature) != codes)
    assert changed == pytest.approx(share, abs=0.1 * share)
    assert np.mean(codes == 0) == pytest.approx(0.45, abs=0.03)


def test_noise_has_the_distribution_of_two_bernoulli_signs():
    """QKeras draws two independent signs and takes their mean; the frequencies must agree with it."""
    w = gaussian((60, 2))
    drawn = draws(w, 4000)
    _, scale = quantizers.weight_codes(StochasticTernary(), w)
    std = w.std(axis=0)
    upper = 1 / (1 + np.exp(-8 * (w - scale / 2) / std))
    lower = 1 / (1 + np.exp(-8 * (w + scale / 2) / std))
    assert np.abs((drawn == 1).mean(axis=0) - upper * lower).max() < 0.04
    assert np.abs((drawn == -1).mean(axis=0) - (1 - upper) * (1 - lower)).max() < 0.04


def test_training_calls_differ_and_inference_calls_do_not():
    layer, shape = layer_of("dense", StochasticTernary())
    x = gaussian((3, *shape))
    signature = ((None, *shape), "float32")
    training = compiled(lambda x: layer(x, training=True), signature)
    inference = compiled(lambda x: layer(x, training=False), signature)
    assert not np.array_equal(training(x), training(x))
    assert np.array_equal(inference(x), inference(x))
    assert np.array_equal(inference(x), layer(x))


def test_deterministic_ternary_trains_without_noise():
    layer, shape = layer_of("dense", StochasticTernary(stochastic=False))
    x = gaussian((3, *shape))
    assert np.array_equal(layer(x, training=True), layer(x, training=False))


@pytest.mark.parametrize("training", [False, True])
def test_gradient_passes_straight_through(training):
    quantizer, w = StochasticTernary(), tf.constant(gaussian((20, 5)))
    upstream = gaussian((20, 5), seed=2)
    with tf.GradientTape() as tape, quantizer.sampling(keras.random.SeedGenerator(1) if training else None):
        tape.watch(w)
        y = tf.reduce_sum(quantizer(w) * upstream)
    assert np.array_equal(tape.gradient(y, w), upstream)


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda: StochasticTernary(alpha="max"), "alpha"),
        (lambda: StochasticTernary(temperature=0), "temperature"),
        (lambda: SymmetricInteger(9), "bits"),
    ],
)
def test_impossible_settings_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_settings_survive_storing():
    for quantizer in (
        StochasticTernary("auto_po2", 4.0, False, 2),
        StochasticBinary("auto_po2", 4.0, False, 2),
        SymmetricInteger(4, 2, "auto_po2"),
    ):
        assert type(quantizer).from_config(quantizer.get_config()).get_config() == quantizer.get_config()
