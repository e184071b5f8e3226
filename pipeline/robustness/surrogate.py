"""The surrogate: a QModel's own integers, with gradients. What a white-box attack of a deployed network asks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import Int8Array, QModel, TensorSpec
from pipeline.robustness import straight_through
from pipeline.robustness.losses import Loss
from pipeline.robustness.oracle import LossGradient
from pipeline.robustness.straight_through import Variant

CHUNK = 64
"""Samples computed at a time."""


class Surrogate:
    """A GradientOracle of a QModel alone: its answers are the deployed integers, its gradients straight-through.

    variant: what is differentiated (straight_through.Variant). ConfigError: an unknown one; UnsupportedError: a layer
    kind without a gradient.
    """

    def __init__(self, model: QModel, variant: Variant = "clip") -> None:
        straight_through.require_variant(variant)
        straight_through.require_gradients(model)
        self.model, self.variant = model, variant

    @property
    def input(self) -> TensorSpec:
        return self.model.input

    @property
    def classes(self) -> int:
        return len(self.model.classes)

    @property
    def logit_scale(self) -> float:
        """Real value of one step of a logit."""
        return self.model.output.quantization.scale

    def logits(self, x: Int8Array) -> Int8Array:
        """int8 (n, classes) for x int8 (n, *shape): the deployed integers, in every variant."""
        chunks = [
            straight_through.forward(self.model, x[s : s + CHUNK]).tensors[-1] for s in range(0, max(len(x), 1), CHUNK)
        ]
        return np.asarray(np.concatenate(chunks).reshape(len(x), self.classes), np.int8)

    def gradient(self, x: Int8Array, y: NDArray[np.int64], loss: Loss) -> LossGradient:
        """Of the loss at lattice samples x int8 (n, *shape) with labels y (n,); the loss is called once, with all n."""
        parts = [x[s : s + CHUNK] for s in range(0, max(len(x), 1), CHUNK)]
        tapes = [straight_through.forward(self.model, part, self.variant) for part in parts]
        logits = np.concatenate([tape.logits for tape in tapes]).astype(np.float32)
        value, slope = loss(logits, y)
        slopes = [slope[s : s + CHUNK] for s in range(0, max(len(x), 1), CHUNK)]
        gradients = [
            straight_through.backward(self.model, tape, part, self.variant)
            for tape, part in zip(tapes, slopes, strict=True)
        ]
        return LossGradient(value, np.concatenate(gradients).astype(np.float32), logits, self.logits(x))
