"""Weight quantizers: what they compute, what noise they draw, and that export sees what inference uses."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline import quantizers
from pipeline.backend import compiled, keras, qkeras, tf, to_numpy
from pipeline.models import _blocks
from pipeline.quantizers import StochasticTernary, SymmetricInteger

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


def test_power_of_two_scales():
    codes, scale = quantizers.weight_codes(StochasticTernary(alpha="auto_po2"), gaussian((64, 12)))
    assert np.array_equal(np.log2(scale), np.round(np.log2(scale)))
    assert set(np.unique(codes)) == {-1, 0, 1}


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


def layer_of(kind: str, quantizer, library=_blocks):
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


def draws(w: np.ndarray, count: int, **settings) -> np.ndarray:
    """(count, *w.shape) codes drawn in training."""
    seed = keras.random.SeedGenerator(7)
    quantizer = StochasticTernary(**settings)
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
    for quantizer in (StochasticTernary("auto_po2", 4.0, False, 2), SymmetricInteger(4, 2)):
        assert type(quantizer).from_config(quantizer.get_config()).get_config() == quantizer.get_config()
