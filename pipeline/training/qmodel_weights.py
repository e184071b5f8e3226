"""A Keras model that computes what a stored integer network does: where a training goes on, or its teacher.

Codes become kernels, the requantization becomes batch normalization. A channel of the integer network is
gain (sum + bias) output steps, with its sum in steps of input times weight; so normalization multiplies the convolution
of the kernel by gain * output scale / (input scale * weight scale). What the integers have lost is how far a weight was
from its thresholds: each starts in the middle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.job import Job, ModelConfig, TrainConfig
from pipeline.core import registry, schema, store
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import QLayer, QModel, Quantization
from pipeline.network import rescale
from pipeline.training import blocks
from pipeline.training.keras_backend import keras, to_numpy
from pipeline.training.quantizers import weight_codes

LARGEST_ERROR = 1e-3
"""Of a weight scale, as a share, where no normalization makes up for it."""

Floats = NDArray[np.float64]


def load(folder: Path, recipe: TrainConfig, option: str) -> Any:
    """The keras.Model of the job that the QModel in `folder` keeps, with weights that compute the same; `recipe`
    decides its noise. ConfigError, with the key `option` of [train] first, where the network keeps no job, as an
    imported one, or is of a model file."""
    qmodel = store.load(folder, QModel)
    if "job" not in qmodel.metrics:
        raise ConfigError(f"{option}: {folder} holds an integer network without its job", _HINT)
    job = schema.validate(Job, dict(qmodel.metrics["job"]), f"{folder}: job")
    if job.model.file is not None:
        raise ConfigError(f"{option}: the network in {folder} was cloned from {job.model.file}", _HINT)
    builder = registry.load("models", job.model.name)
    model = builder.build(qmodel.input, len(qmodel.classes), _with_bits_of(qmodel, job.model), recipe)
    for layer in qmodel.layers:
        if layer.weights is not None:
            source = qmodel.tensor(layer.inputs[0]).quantization
            if not _assign(model, layer, source):
                what = (
                    f"{option}: no kernel of {job.model.name!r} gives the weights of layer {layer.name!r} in {folder}"
                )
                raise ConfigError(what, _HINT)
    return model


_HINT = "name a network that a job of this project trained, one of tritmcu zoo or a run"


def settle(model: Any, x: NDArray[np.float32]) -> None:
    """Gives batch normalization the statistics of the real samples x, where what the model computes stays as it is: a
    training step, which normalizes by those of its batch, then computes nearly the same."""
    norms = [layer for layer in model.layers if isinstance(layer, blocks.BatchNormalization)]
    seen = keras.Model(model.input, [norm.input for norm in norms])(x, training=False)
    for norm, values in zip(norms, seen, strict=True):
        gamma, beta, mean, variance = map(to_numpy, (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance))
        y = to_numpy(values).astype(np.float64)
        others = tuple(range(y.ndim - 1))
        gain = gamma / np.sqrt(variance + norm.epsilon)
        means, variances = y.mean(axis=others), y.var(axis=others)
        norm.gamma.assign(gain * np.sqrt(variances + norm.epsilon))
        norm.beta.assign(beta + gain * (means - mean))
        norm.moving_mean.assign(means)
        norm.moving_variance.assign(variances)


def _with_bits_of(qmodel: QModel, config: ModelConfig) -> ModelConfig:
    """The model with the bits that the stored layers have, which [layerwise] may have chosen after training."""
    bits = {layer.name: layer.weight_bits for layer in qmodel.layers if layer.weights is not None}
    return config.model_copy(update={"layer_bits": bits})


def _assign(model: Any, layer: QLayer, source: Quantization) -> bool:
    """Sets the kernel of a layer, and its bias or normalization; False where its quantizer does not give the codes."""
    ours = model.get_layer(layer.name)
    quantizer = ours.get_quantizers()[0]
    assert layer.weights is not None and layer.bias is not None
    codes = _keras_layout(layer)
    gain = rescale.gain(layer) * layer.output.quantization.scale
    offset = layer.bias * gain
    normalized = any(other.name == f"{layer.name}_bn" for other in model.layers)
    unit = np.full(len(gain), _unit(codes)) if normalized else gain / source.scale
    shape = (-1, 1) if layer.kind == "depthwise_conv2d" else (-1,)
    kernel = (codes * unit.reshape(shape)).astype(np.float32)
    found, scale = weight_codes(quantizer, kernel)
    used = np.any(codes, axis=tuple(range(codes.ndim - len(shape)))).reshape(-1)  # channels that are not 0
    if not np.array_equal(found, codes) or not (normalized or np.allclose(scale[used], unit[used], LARGEST_ERROR)):
        return False
    ours.weights[0].assign(kernel)
    if not normalized:
        ours.bias.assign(offset)
        return True
    norm = model.get_layer(f"{layer.name}_bn")
    norm.gamma.assign(gain / (source.scale * scale) * np.sqrt(1 + norm.epsilon))
    norm.beta.assign(offset)
    norm.moving_mean.assign(np.zeros_like(offset))
    norm.moving_variance.assign(np.ones_like(offset))
    return True


def _keras_layout(layer: QLayer) -> NDArray[Any]:
    """The codes in the order of a Keras kernel."""
    assert layer.weights is not None
    if layer.kind == "depthwise_conv2d":
        return layer.weights[..., np.newaxis]
    return np.moveaxis(layer.weights, 0, -1)


def _unit(codes: NDArray[Any]) -> float:
    """Scale with which the kernel has the spread of a freshly initialized one (He et al. 2015, arXiv 1502.01852)."""
    spread = float(codes.std()) or 1.0
    return float(np.sqrt(2 / np.prod(codes.shape[:-1])) / spread)
