"""Networks and oracles whose gradients or answers hide how little robust they are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pipeline.core.nouns import Dataset, Int8Array, QLayer, QModel, Quantization, TensorSpec
from pipeline.network import arith
from pipeline.robustness.oracle import GradientOracle, LossGradient
from pipeline.stages import lower
from tests.support import tiny


def linear(dataset: Dataset) -> QModel:
    """The linear network of least squares on the training samples: an honest one, made in a moment."""
    train, shape = dataset.splits["train"], dataset.input.shape
    x = dataset.input.quantization.dequantize(train.x).reshape(len(train), -1).astype(np.float64)
    x = np.hstack([x, np.ones((len(train), 1))])
    wanted = np.eye(len(dataset.classes))[train.y]
    w = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ wanted)
    scale = np.abs(w[:-1]).max(axis=0) / 127
    b = tiny.Builder(shape)
    flat = b.add("flat", "flatten", ["input"])
    codes = np.rint(w[:-1] / scale).astype(np.int8)
    b.add("logits", "dense", [flat], {"bits": 8}, codes=codes, scale=scale, bias=w[-1])
    return replace(lower.lower(b.model("linear", {"logits": (-2.0, 2.0)})), classes=dataset.classes)


def quantized_input(model: QModel, levels: int) -> QModel:
    """The network of one input channel after a hard quantizer of its input: so many evenly spaced values, by steps too
    steep for any input to lie inside one, so that the gradient is zero everywhere (Buckman et al. 2018)."""
    spec = model.input
    thresholds = (np.arange(levels - 1) + 0.5) / (levels - 1) * (spec.quantization.qmax - spec.quantization.qmin)
    steps = TensorSpec((*spec.shape[:2], levels - 1), Quantization(1 / 255, -128))
    params = {"activation": (-128, 127), "padding": (0, 0), "stride": (1, 1)}
    steep = _conv("steps", 0, steps, params, np.full((levels - 1, 1, 1, 1), 127), 4.0)
    steep = replace(steep, bias=(-127 * np.floor(thresholds) - 63).astype(np.int32))
    joined = _conv("levels", 1, spec, params, np.ones((1, 1, 1, levels - 1)), 1 / (levels - 1))
    moved = [replace(layer, inputs=tuple(number + 2 for number in layer.inputs)) for layer in model.layers]
    return replace(model, name=f"{model.name}_quantized", layers=(steep, joined, *moved))


def _conv(name: str, source: int, output: TensorSpec, params, weights: np.ndarray, factor: float) -> QLayer:
    multiplier, shift = arith.quantize_multiplier(factor)
    channels = output.shape[-1]
    return QLayer(
        *(name, "conv2d", (source,), output, params, weights.astype(np.int8), 8, np.zeros(channels, np.int32)),
        multiplier=np.full(channels, multiplier, np.int32),
        shift=np.full(channels, shift, np.int8),
    )


def saturated(model: QModel, factor: float) -> QModel:
    """The same integers, whose logits stand for `factor` times as much: the softmax of any of them is 0 or 1."""
    last = model.layers[-1]
    quantization = replace(last.output.quantization, scale=factor * last.output.quantization.scale)
    return replace(
        model, layers=(*model.layers[:-1], replace(last, output=replace(last.output, quantization=quantization)))
    )


@dataclass(frozen=True)
class Randomized:
    """An oracle that adds a random number to every logit of every answer."""

    honest: GradientOracle
    spread: int
    random: np.random.Generator

    input = property(lambda self: self.honest.input)
    classes = property(lambda self: self.honest.classes)
    logit_scale = property(lambda self: self.honest.logit_scale)

    def logits(self, x: Int8Array) -> Int8Array:
        return self._noisy(self.honest.logits(x))

    def gradient(self, x, y, loss) -> LossGradient:
        found = self.honest.gradient(x, y, loss)
        return replace(found, answers=self._noisy(found.answers))

    def _noisy(self, answers: Int8Array) -> Int8Array:
        noise = self.random.integers(-self.spread, self.spread + 1, answers.shape)
        return np.clip(answers + noise, -128, 127).astype(np.int8)
