"""How near the integer network is to the trained one, and how large its tensors are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.core.nouns import FloatArray, Int8Array, QModel
from pipeline.network import twin


def agreement(model: QModel, x: Int8Array, keras_outputs: Mapping[str, FloatArray]) -> dict[str, dict[str, float]]:
    """Per QModel layer name: largest and mean difference to the trained model's output, in the layer's own LSB.

    x int8 (n, *input shape); keras_outputs: float (n, *shape) by trained layer name, for the same samples.
    """
    result = {}
    for layer, q in zip(model.layers, twin.trace(model, x), strict=True):
        if layer.keras_name in keras_outputs:
            spec = layer.output.quantization
            wanted = np.clip(keras_outputs[layer.keras_name] / spec.scale + spec.zero_point, spec.qmin, spec.qmax)
            difference = np.abs(wanted.reshape(q.shape) - q)
            result[layer.name] = {"max_lsb": float(difference.max()), "mean_lsb": float(difference.mean())}
    return result
