from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.analysis import agreement
from pipeline.core.errors import UnsupportedError
from pipeline.core.nouns import TrainedModel
from pipeline.network import twin
from pipeline.network.batch import MOST_SAMPLES
from pipeline.stages import lower
from tests.support import tiny


def real_forward(model: TrainedModel, x: np.ndarray) -> dict[str, np.ndarray]:
    """The trained network in float64, straight from its definition and independent of lowering: no quantization of
    activations beyond their saturation. Convolutions by explicit loops over taps."""
    values = {"input": x}
    for layer in model.layers:
        values[layer.name] = STEP[layer.kind](layer, *(values[name] for name in layer.inputs))
    return values


def convolve(layer, x):
    kernel = layer.arrays["codes"] * layer.arrays["scale"]
    kh, kw, _, oc = kernel.shape
    (sh, sw), n, h, w = layer.config["strides"], *x.shape[:3]
    oh, ow = (
        (-(-h // sh), -(-w // sw)) if layer.config["padding"] == "same" else ((h - kh) // sh + 1, (w - kw) // sw + 1)
    )
    pad_h, pad_w = max((oh - 1) * sh + kh - h, 0), max((ow - 1) * sw + kw - w, 0)
    if layer.config["padding"] == "valid":
        pad_h = pad_w = 0
    padded = np.pad(x, ((0, 0), (pad_h // 2, pad_h - pad_h // 2), (pad_w // 2, pad_w - pad_w // 2), (0, 0)))
    out = np.zeros((n, oh, ow, oc))
    for y in range(kh):
        for z in range(kw):
            out += padded[:, y : y + oh * sh : sh, z : z + ow * sw : sw][:, :oh, :ow] @ kernel[y, z]
    return out + layer.arrays["bias"]


def depthwise(layer, x):
    kh, kw, c, m = layer.arrays["codes"].shape
    full = np.zeros((kh, kw, c, c * m))
    for i in range(c):
        full[:, :, i, i * m : (i + 1) * m] = layer.arrays["codes"][:, :, i]
    return convolve(replace(layer, arrays={**layer.arrays, "codes": full}), x)


def norm(layer, x):
    a = layer.arrays
    return a["gamma"] * (x - a["mean"]) / np.sqrt(a["variance"] + layer.config["epsilon"]) + a["beta"]


def pool(reduce):
    def step(layer, x):
        (kh, kw), (sh, sw) = layer.config["pool"], layer.config["strides"]
        h, w = x.shape[1:3]
        if layer.config["padding"] == "valid":
            oh, ow = (h - kh) // sh + 1, (w - kw) // sw + 1
        else:
            oh, ow = -(-h // sh), -(-w // sw)
        rows = [
            [reduce(x[:, i * sh : i * sh + kh, j * sw : j * sw + kw], axis=(1, 2)) for j in range(ow)]
            for i in range(oh)
        ]
        return np.stack([np.stack(row, 1) for row in rows], 1)

    return step


def activation(layer, x):
    """ReLU, and the saturation of the output lattice, but none of its rounding."""
    scale, zero = layer.config["scale"], layer.config["zero_point"]
    low = 0 if layer.config["function"] == "relu" else -128 - zero
    return np.clip(x, low * scale, (127 - zero) * scale)


STEP = {
    "conv2d": convolve,
    "depthwise_conv2d": depthwise,
    "dense": lambda layer, x: x @ (layer.arrays["codes"] * layer.arrays["scale"]) + layer.arrays["bias"],
    "batch_normalization": norm,
    "activation": activation,
    "add": lambda layer, x, y: x + y,
    "max_pool2d": pool(np.max),
    "average_pool2d": pool(np.mean),
    "flatten": lambda layer, x: x.reshape(len(x), -1),
}


def test_every_layer_stays_close_to_the_real_network() -> None:
    """Rounding of int8 activations is the only difference: a few LSB, layer after layer."""
    trained = tiny.trained(3)
    model = lower.lower(trained)
    x = tiny.samples(model, 32)
    real = real_forward(trained, model.input.quantization.dequantize(x).astype(np.float64))
    worst = agreement.agreement(model, x, {name: value for name, value in real.items() if name != "input"})
    assert set(worst) == {layer.name for layer in model.layers}
    assert worst["stem"]["max_lsb"] <= 0.6, "one layer: only its own rounding"
    assert max(w["max_lsb"] for w in worst.values()) < 6
    assert max(w["mean_lsb"] for w in worst.values()) < 1


def test_negative_and_zero_gain_channels() -> None:
    b = tiny.Builder((4, 4, 2), 5)
    conv = b.weighted("conv", "conv2d", "input", (3, 3, 2, 4))
    bn = b.norm(conv, 4)
    b.layers[-1].arrays["gamma"][:] = [-1.5, 0.0, 1e-30, 0.7]
    b.activation(bn, tiny.LINEAR)
    trained = TrainedModel("gains", b.input, tuple("abcd"), tuple(b.layers), {})
    model = lower.lower(trained)
    x = tiny.samples(model, 8)
    real = real_forward(trained, model.input.quantization.dequantize(x).astype(np.float64))
    assert agreement.agreement(model, x, {"conv_bn_act": real["conv_bn_act"]})["conv"]["max_lsb"] <= 0.6
    assert not model.layers[0].weights[1].any(), "a channel that cannot see its input has no weights"


def test_open_output_is_calibrated_and_holds_zero() -> None:
    q = lower.calibrated(-3.0, 9.0)
    assert q.dequantize(np.array([-128, 127])).tolist() == pytest.approx([-3.0, 9.0], abs=q.scale)
    assert q.dequantize(np.array([q.zero_point])).tolist() == [0.0]


def broken(change) -> TrainedModel:
    trained = tiny.trained()
    return replace(trained, layers=tuple(change(layer) for layer in trained.layers))


def test_nan_weights_name_the_layer() -> None:
    def change(layer):
        bad = np.full_like(layer.arrays["gamma"], np.nan) if layer.name == "main_bn" else None
        return layer if bad is None else replace(layer, arrays={**layer.arrays, "gamma": bad})

    with pytest.raises(UnsupportedError, match="'main_bn': gamma holds NaN"):
        lower.lower(broken(change))


def test_non_ternary_weights_name_the_layer() -> None:
    def change(layer):
        return (
            replace(layer, arrays={**layer.arrays, "codes": layer.arrays["codes"] * 3}) if layer.name == "dw" else layer
        )

    with pytest.raises(UnsupportedError, match="layer 'dw': weight"):
        lower.lower(broken(change))


def test_unknown_layer_is_named() -> None:
    with pytest.raises(UnsupportedError, match="'pooled': no integer form of gelu"):
        lower.lower(broken(lambda layer: replace(layer, kind="gelu") if layer.name == "pooled" else layer))


def test_too_fine_output_scale_is_refused() -> None:
    config = {**tiny.LINEAR, "scale": 2.0**-40}
    with pytest.raises(UnsupportedError, match="layer 'main'"):
        lower.lower(broken(lambda x: replace(x, config=config) if x.name == "main_bn_act" else x))


def test_a_free_output_lattice_is_no_finer_than_its_biases_are_rounded() -> None:
    """Calibration has seen outputs that hardly differ: steps of a small part of a product."""
    trained = replace(tiny.trained(), ranges={"logits": (0.0, 1e-4)})
    model = lower.lower(trained)
    output = model.output.quantization
    assert output.scale > 1e-4 / 255
    logits = model.layers[-1]
    real_bias = trained.layers[-1].arrays["bias"]
    products = logits.multiplier * 2.0 ** (logits.shift.astype(float) - 31) * output.scale
    assert np.abs(logits.bias * products - real_bias).max() <= lower.MOST_BIAS_ERROR * output.scale * (1 + 1e-6)


def test_lowering_is_deterministic() -> None:
    assert lower.lower(tiny.trained(7)).digest == lower.lower(tiny.trained(7)).digest
    assert lower.lower(tiny.trained(7)).digest != lower.lower(tiny.trained(8)).digest


def test_run_is_trace_of_the_last_layer() -> None:
    model = tiny.qmodel(2)
    x = tiny.samples(model, MOST_SAMPLES + 3)
    assert np.array_equal(twin.run(model, x), twin.trace(model, x)[-1])


def test_any_number_of_tensors_is_joined_two_at_a_time() -> None:
    b = tiny.Builder((4, 4, 2), 3)
    names = [b.activation(b.weighted(n, "conv2d", "input", (1, 1, 2, c)), tiny.LINEAR) for n, c in (("x", 1), ("y", 3))]
    joined = b.add("joined", "concatenate", [*names, names[0]])
    model = lower.lower(TrainedModel("three", b.input, ("a",), tuple(b.layers), {joined: (-3.0, 4.0)}))
    assert [layer.name for layer in model.layers] == ["x", "y", "joined_1", "joined"]
    assert model.output.shape == (4, 4, 5)
    x = tiny.samples(model, 8)
    real = {**real_forward(replace_layers(b, 4), model.input.quantization.dequantize(x).astype(np.float64))}
    parts = [real[name] for name in (*names, names[0])]
    worst = agreement.agreement(model, x, {"joined": np.concatenate(parts, axis=-1)})
    assert worst["joined"]["max_lsb"] <= 2


def replace_layers(b: tiny.Builder, count: int) -> TrainedModel:
    """The first `count` layers."""
    return TrainedModel("first", b.input, ("a",), tuple(b.layers[:count]), {})


def test_a_sum_of_three_tensors_is_refused() -> None:
    b = tiny.Builder((4, 4, 2), 3)
    b.add("sum", "add", ["input", "input", "input"])
    with pytest.raises(UnsupportedError, match=r"'sum': adds shapes \(4, 4, 2\) and \(4, 4, 2\) and"):
        lower.lower(TrainedModel("three", b.input, ("a",), tuple(b.layers), {"sum": (-3.0, 4.0)}))


@pytest.mark.parametrize("keepdims", [False, True])
def test_a_global_pool_keeps_its_dimensions_where_asked(keepdims: bool) -> None:
    b = tiny.Builder((4, 4, 2), 3)
    b.add("mean", "global_average_pool2d", ["input"], {"keepdims": keepdims})
    model = lower.lower(TrainedModel("mean", b.input, ("a",), tuple(b.layers), {}))
    assert model.output.shape == ((1, 1, 2) if keepdims else (2,))
