"""Networks for tests of whole-network computations: every layer kind, and the zoo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline.core import store
from pipeline.core.nouns import QLayer, QModel, Quantization, TensorSpec
from pipeline.network import arith
from pipeline.stages import lower
from pipeline.workflow import zoo
from tests.support import tiny


def stored(name: str) -> QModel:
    """A network of the zoo."""
    return store.load(zoo.shelf() / name, QModel)


def every_kind(seed: int) -> QModel:
    """A random network with every layer kind of trained networks, 4 logits out: odd sizes, strides beyond kernels,
    padded pooling of both kinds, depthwise with a multiplier, a tensor read three times, and one added to itself."""
    random = np.random.default_rng(seed)
    b = tiny.Builder((int(random.integers(7, 12)), int(random.integers(7, 12)), 3), seed)
    bits = [int(random.choice([2, 3, 4, 8])) for _ in range(5)]
    stem = b.activation(b.norm(b.weighted("stem", "conv2d", "input", (3, 2, 3, 5), bits[0], (2, 1)), 5))
    both = b.activation(b.add("both", "add", [stem, stem]))
    deep = b.activation(b.weighted("deep", "depthwise_conv2d", both, (2, 3, 5, 2), bits[1]), tiny.LINEAR)
    side = b.activation(b.weighted("side", "conv2d", stem, (1, 1, 5, 9), bits[2]))
    joined = b.activation(b.add("joined", "concatenate", [deep, side]))
    most = b.add("most", "max_pool2d", [joined], {"pool": (3, 2), "strides": (2, 2), "padding": "same"})
    mean = b.add("mean", "average_pool2d", [most], {"pool": (3, 3), "strides": (2, 1), "padding": "same"})
    far = b.activation(b.weighted("far", "conv2d", mean, (1, 1, 19, 6), bits[3], (2, 2)))
    flat = b.add("flat", "flatten", [far])
    rows, columns = _positions(b.input.shape)
    b.weighted("logits", "dense", flat, (rows * columns * 6, 4), bits[4])
    return lower.lower(b.model("every kind"))


def strange_concatenation() -> QModel:
    """`every_kind`, one input of whose concatenation is rescaled by other than its scales say."""
    model = every_kind(3)
    layers = [
        replace(layer, params={**layer.params, "input1_mult": layer.params["input1_mult"] ^ (1 << 28)})
        if layer.kind == "concatenate"
        else layer
        for layer in model.layers
    ]
    return replace(model, layers=tuple(layers))


def imported(seed: int) -> QModel:
    """A random network with the kinds that only importers make: an edge of zeros first, a mean to its own scale."""
    random = np.random.default_rng(seed)
    b = tiny.Builder((int(random.integers(6, 9)), int(random.integers(6, 9)), 2), seed)
    stem = b.activation(b.weighted("stem", "conv2d", "input", (3, 3, 2, 5), 8, (2, 2), "valid"))
    mean = b.add("mean", "global_average_pool2d", [stem])
    b.weighted("logits", "dense", mean, (5, 4), 8)
    model = lower.lower(b.model("imported"))
    inner = TensorSpec((b.input.shape[0] - 3, b.input.shape[1] - 1, 2), model.input.quantization)
    pad = QLayer("pad", "pad2d", (0,), model.input, {"before": (1, 0), "after": (2, 1)})
    moved = [replace(layer, inputs=tuple(t + 1 for t in layer.inputs)) for layer in model.layers]
    return replace(model, input=inner, layers=(pad, *map(_mean_to, moved, map(model.input_specs, model.layers))))


def _mean_to(layer: QLayer, specs: Sequence[TensorSpec]) -> QLayer:
    """A global mean as mean2d, to three quarters of its scale and another zero point; any other layer as it is."""
    if layer.kind != "average_pool2d":
        return layer
    before, count = specs[0].quantization, int(np.prod(specs[0].shape[:2]))
    output = TensorSpec(layer.output.shape, Quantization(0.75 * before.scale, 3))
    multiplier, shift = arith.quantize_multiplier(1 / (0.75 * count))
    params = {"multiplier": multiplier, "shift": shift, "activation": (-100, 90)}
    return replace(layer, kind="mean2d", output=output, params=params)


def unclamped(model: QModel) -> QModel:
    """The network with clamps that never act in real arithmetic."""
    wide = (-(1 << 40), 1 << 40)
    layers = tuple(
        replace(layer, params={**layer.params, "activation": wide}) if "activation" in layer.params else layer
        for layer in model.layers
    )
    return replace(model, layers=layers)


def _positions(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of the map that `every_kind` flattens."""
    up = lambda size, *strides: size if not strides else up(-(-size // strides[0]), *strides[1:])  # noqa: E731
    return up(shape[0], 2, 2, 2, 2), up(shape[1], 1, 2, 1, 2)


def reshaped(seed: int) -> QModel:
    """A random network whose zero rescaling moves before a padded convolution, and whose maps are reshaped into others,
    between layers that pad them; four logits out."""
    random = np.random.default_rng(seed)
    h, w, c = int(random.integers(3, 6)), 2 * int(random.integers(2, 4)), int(random.integers(1, 4))
    b = tiny.Builder((h, w, c), seed)
    half = b.input.quantization.scale * 255 / 2
    moved = b.add("moved", "rescaling", ["input"], {"scale": 1 / half, "offset": -128 / 127.5})
    stem = b.activation(b.weighted("stem", "conv2d", moved, (3, 3, c, 4)))
    side = b.activation(b.weighted("side", "depthwise_conv2d", stem, (3, 3, 4, 1), 8))
    wide = b.add("wide", "flatten", [stem], {"shape": (h, w // 2, 8)})
    deep = b.activation(b.weighted("deep", "conv2d", wide, (3, 3, 8, 4), 4, (2, 1)))
    flat = [b.add(f"{name}_flat", "flatten", [name]) for name in (side, deep)]
    joined = b.activation(b.add("joined", "concatenate", flat))
    b.weighted("logits", "dense", joined, (4 * h * w + 4 * -(-h // 2) * (w // 2), 4))
    return lower.lower(b.model("reshaped"))


def early(seed: int) -> QModel:
    """A network whose first layers need most of its memory, as image classifiers do: a residual block, a concatenation,
    pooling with strides that skip rows; three logits out."""
    random = np.random.default_rng(seed)
    h, w, c = int(random.integers(14, 20)), int(random.integers(5, 9)), int(random.integers(2, 5))
    b = tiny.Builder((h, w, c), seed)
    stem = b.activation(b.weighted("stem", "conv2d", "input", (3, 3, c, 8), 8))
    first = b.activation(b.weighted("first", "conv2d", stem, (3, 3, 8, 8)))
    second = b.activation(b.weighted("second", "conv2d", first, (5, 3, 8, 8), 4), tiny.LINEAR)
    both = b.activation(b.add("both", "add", [second, stem]))
    deep = b.activation(b.weighted("deep", "depthwise_conv2d", both, (3, 3, 8, 1)), tiny.LINEAR)
    joined = b.activation(b.add("joined", "concatenate", [both, deep]))
    side = b.activation(b.weighted("side", "conv2d", joined, (1, 1, 16, 8), strides=(2, 1)))
    most = b.add("most", "max_pool2d", [side], {"pool": (2, 2), "strides": (3, 1), "padding": "valid"})
    mean = b.add("mean", "average_pool2d", [most], {"pool": (2, 2), "strides": (1, 1), "padding": "same"})
    last = b.add("last", "global_average_pool2d", [mean])
    b.weighted("logits", "dense", last, (8, 3), 8)
    return lower.lower(b.model("early"))
