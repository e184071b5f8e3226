"""The surrogate: a QModel's own integers, with gradients. What a white-box attack of a deployed network asks."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import Int8Array, QModel, TensorSpec
from pipeline.network.batch import Workspace, Workspaces
from pipeline.robustness import straight_through
from pipeline.robustness.losses import Loss
from pipeline.robustness.oracle import LossGradient
from pipeline.robustness.straight_through import Variant


class Surrogate:
    """A GradientOracle of a QModel alone: its answers are the deployed integers, its gradients straight-through.

    variant: what is differentiated (straight_through.Variant). Takes all cores; several threads may ask at
    once. ConfigError: an unknown variant; UnsupportedError: a layer kind without a gradient.
    """

    def __init__(self, model: QModel, variant: Variant = "clip") -> None:
        straight_through.require_variant(variant)
        straight_through.require_gradients(model)
        self.model, self.variant = model, variant
        self._exact = self._passes = Workspaces(model)
        if variant != "clip":
            limits = partial(straight_through.limits, variant=variant)
            self._passes = Workspaces(model, limits, rounded=variant != "smooth")

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
        return self._exact.outputs(x)

    def gradient(self, x: Int8Array, y: NDArray[np.int64], loss: Loss) -> LossGradient:
        """Of the loss at lattice samples x int8 (n, *shape) with labels y (n,); the loss is called once, with all n.

        Takes, for that long, a byte for every activation of every sample.
        """
        n = len(x)
        states = np.empty((n, self._passes.state_bytes), np.uint8)
        logits, answers = np.empty((n, self.classes), np.float32), np.empty((n, self.classes), np.int8)
        gradient = np.empty((n, *self.input.shape), np.float32)

        def forward(part: slice, workspace: Workspace) -> None:
            logits[part], answers[part] = workspace.forward(x[part], states[part])

        self._passes.each(n, forward)
        value, slope = loss(logits, y)

        def backward(part: slice, workspace: Workspace) -> None:
            workspace.backward(slope[part], states[part], gradient[part])

        self._passes.each(n, backward)
        return LossGradient(value, gradient, logits, self.logits(x) if self.variant == "smooth" else answers)
