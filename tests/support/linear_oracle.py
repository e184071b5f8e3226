"""A network small enough that the strongest attack on it is known: one linear layer on lattice points."""

from __future__ import annotations

import numpy as np

from pipeline.core.nouns import Dataset, Quantization, Split, TensorSpec
from pipeline.robustness.oracle import LossGradient

SCALE = 0.01


class LinearOracle:
    """logits = w (q - zero point), rounded to int8 for the answers. w: float32 (classes, *shape)."""

    def __init__(self, w: np.ndarray, quantization: Quantization) -> None:
        self.w, self.quantization = w.astype(np.float32), quantization
        self.asked: list[np.ndarray] = []

    @property
    def input(self) -> TensorSpec:
        return TensorSpec(self.w.shape[1:], self.quantization)

    @property
    def classes(self) -> int:
        return len(self.w)

    @property
    def logit_scale(self) -> float:
        return SCALE

    def smooth(self, x: np.ndarray) -> np.ndarray:
        centred = (x.astype(np.float32) - self.quantization.zero_point).reshape(len(x), -1)
        return centred @ self.w.reshape(len(self.w), -1).T

    def logits(self, x: np.ndarray) -> np.ndarray:
        assert x.dtype == np.int8
        self.asked.append(x.copy())
        return np.clip(np.rint(self.smooth(x) / SCALE), -128, 127).astype(np.int8)

    def gradient(self, x, y, loss) -> LossGradient:
        logits = self.smooth(x)
        value, slope = loss(logits, y)
        gradient = (slope @ self.w.reshape(len(self.w), -1)).reshape(x.shape).astype(np.float32)
        return LossGradient(value, gradient, logits.astype(np.float32), self.logits(x))


def problem(samples: int = 60, classes: int = 4, shape: tuple[int, ...] = (6, 6, 2), seed: int = 0):
    """(oracle, Dataset whose test samples it answers rightly, but for a few)."""
    random = np.random.default_rng(seed)
    quantization = Quantization(1 / 255, -128)
    oracle = LinearOracle(random.normal(size=(classes, *shape)) * 0.002, quantization)
    x = random.integers(-128, 128, (samples, *shape)).astype(np.int8)
    y = oracle.logits(x).argmax(axis=1).astype(np.int64)
    y[:3] = (y[:3] + 1) % classes
    split = Split(x, y, np.arange(samples) * 2)
    spec = TensorSpec(shape, quantization)
    return oracle, Dataset("linear", spec, tuple("abcdefgh"[:classes]), {"test": split})
