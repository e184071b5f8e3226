"""Small networks for tests, made from a seed, with no training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.core.nouns import QModel, Quantization, TensorSpec, TrainedLayer, TrainedModel
from pipeline.stages import lower

PIXELS = Quantization(1 / 255, -128)
RELU = {"function": "relu", "scale": 2.0**-6, "zero_point": -128, "bits": 8}
LINEAR = {"function": "linear", "scale": 2.0**-5, "zero_point": 0, "bits": 8}


class Builder:
    """Adds trained layers one after another; every method returns the new layer's name."""

    def __init__(self, shape: tuple[int, ...], seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.input = TensorSpec(shape, PIXELS)
        self.layers: list[TrainedLayer] = []

    def add(self, name: str, kind: str, inputs: Sequence[str], config=None, **arrays: np.ndarray) -> str:
        self.layers.append(TrainedLayer(name, kind, tuple(inputs), config or {}, arrays))
        return name

    def codes(self, shape: tuple[int, ...], bits: int) -> np.ndarray:
        limit = (1 << (bits - 1)) - 1
        return self.random.integers(-limit, limit + 1, shape).astype(np.int8)

    def weighted(
        self, name: str, kind: str, source: str, shape: tuple[int, ...], bits: int = 2, strides=(1, 1), padding="same"
    ) -> str:
        channels = shape[2] * shape[3] if kind == "depthwise_conv2d" else shape[-1]
        fan_in = np.prod(shape) / channels
        scale = self.random.uniform(0.5, 2.0, channels) / np.sqrt(fan_in) / ((1 << (bits - 1)) - 1)
        config = {"bits": bits, "strides": strides, "padding": padding}
        bias = self.random.normal(0, 0.2, channels)
        return self.add(name, kind, [source], config, codes=self.codes(shape, bits), scale=scale, bias=bias)

    def norm(self, source: str, channels: int) -> str:
        r = self.random
        arrays = {
            "gamma": r.uniform(-1.0, 2.0, channels),
            "beta": r.normal(0, 0.3, channels),
            "mean": r.normal(0, 0.3, channels),
            "variance": r.uniform(0.3, 2.0, channels),
        }
        return self.add(f"{source}_bn", "batch_normalization", [source], {"epsilon": 1e-3}, **arrays)

    def activation(self, source: str, config=RELU) -> str:
        return self.add(f"{source}_act", "activation", [source], config)

    def model(self, name: str, ranges=None) -> TrainedModel:
        classes = tuple(f"class{i}" for i in range(len(self.layers[-1].arrays["scale"])))
        return TrainedModel(
            name, self.input, classes, tuple(self.layers), ranges or {self.layers[-1].name: (-6.0, 6.0)}
        )


def trained(seed: int = 0) -> TrainedModel:
    """A residual network of a few hundred weights with every kind of layer, 8x8x1 in, 10 logits out."""
    b = Builder((8, 8, 1), seed)
    stem = b.activation(b.norm(b.weighted("stem", "conv2d", "input", (3, 3, 1, 6), bits=8), 6))
    main = b.activation(b.norm(b.weighted("main", "conv2d", stem, (3, 3, 6, 6)), 6), LINEAR)
    dw = b.activation(b.weighted("dw", "depthwise_conv2d", stem, (3, 3, 6, 1)), LINEAR)
    both = b.activation(b.add("both", "add", [main, dw]))
    pooled = b.add("pooled", "max_pool2d", [both], {"pool": (2, 2), "strides": (2, 2), "padding": "valid"})
    pw = b.activation(b.weighted("pw", "conv2d", pooled, (1, 1, 6, 9), strides=(2, 2)))
    mean = b.add("mean", "average_pool2d", [pw], {"pool": (2, 2), "strides": (1, 1), "padding": "same"})
    flat = b.add("flat", "flatten", [mean])
    b.weighted("logits", "dense", flat, (36, 10))
    return b.model("tiny")


def qmodel(seed: int = 0) -> QModel:
    """The lowered tiny network."""
    return lower.lower(trained(seed))


def samples(model: QModel, n: int, seed: int = 1) -> np.ndarray:
    """int8 (n, *input shape), uniform over all values."""
    return np.random.default_rng(seed).integers(-128, 128, (n, *model.input.shape)).astype(np.int8)
