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


def input_norms(model: QModel, x: Int8Array) -> dict[str, float]:
    """Mean Euclidean norm, real units, of the input of every weighted layer by its name, on samples x int8
    (n, *input shape): as the integer network holds them."""
    tensors = [x, *twin.trace(model, x)]

    def norm(number: int) -> float:
        real = model.tensor(number).quantization.dequantize(tensors[number]).reshape(len(x), -1)
        return float(np.mean(np.linalg.norm(real, axis=1)))

    return {layer.name: norm(layer.inputs[0]) for layer in model.layers if layer.weights is not None}
