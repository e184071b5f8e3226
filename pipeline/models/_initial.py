"""Where the weights of a training start, and who teaches it: a reference model or an earlier training."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.backend import keras, to_numpy
from pipeline.errors import ConfigError
from pipeline.job import RANDOM, REFERENCE, TrainConfig, earlier, stored_training
from pipeline.models import _keras
from pipeline.types import Dataset, digest_of

SAMPLES = 512
"""Training samples that show a warm start the ranges of its tensors."""


def start(model: Any, initial: str, builder: Any, dataset: Dataset) -> None:
    """Gives the keras.Model the weights that train.initial names: TrainConfig. builder: the model's module."""
    if initial == RANDOM:
        return
    if initial != REFERENCE:
        _copy(_keras.load(stored_training(initial).parent), model, initial)
        return
    _require(builder, "warm_start", "initial", 'set train.initial = "random"')
    x = dataset.splits["train"].x[:SAMPLES]
    builder.warm_start(model, _data(), dataset.input.quantization.dequantize(x))


def teacher(name: str, builder: Any, model: Any) -> Callable[[Any], Any]:
    """Real inputs -> logits of the network that train.distill names; `model`: the one that learns from it."""
    if name == REFERENCE:
        _require(builder, "reference", "distill", "remove train.distill, or name an earlier training")
        run: Callable[[Any], Any] = builder.reference(_data())
        return run
    loaded = _keras.load(stored_training(name).parent)
    if (loaded.input_shape, loaded.output_shape) != (model.input_shape, model.output_shape):
        shapes = f"{loaded.input_shape} -> {loaded.output_shape}, needed {model.input_shape} -> {model.output_shape}"
        raise ConfigError(f"train.distill: {name!r} answers {shapes}", "name a network for the same data set")
    constants = {id(v): keras.ops.convert_to_tensor(to_numpy(v)) for v in loaded.variables}

    def answer(x: Any) -> Any:
        with keras.StatelessScope() as scope:
            scope.state_mapping.update(constants)
            return loaded(x, training=False)

    return answer


def digests(recipe: TrainConfig) -> list[str]:
    """Digests of the earlier trainings that the recipe builds on."""
    return [digest_of(path.read_bytes()) for path in earlier(recipe)]


def _copy(source: Any, model: Any, name: str) -> None:
    """Sets every weight of `model` from the layer of the same name in `source`."""
    known = {layer.name: layer for layer in source.layers}
    for layer in model.layers:
        if not layer.weights:
            continue
        if layer.name not in known:
            raise ConfigError(f"train.initial: {name!r} has no layer {layer.name!r}", _hint(model))
        theirs = known[layer.name].weights
        if [v.shape for v in theirs] != [v.shape for v in layer.weights]:
            shapes = " and ".join(str([tuple(v.shape) for v in weights]) for weights in (theirs, layer.weights))
            raise ConfigError(f"train.initial: layer {layer.name!r} of {name!r} and of the job: {shapes}", _hint(model))
        for variable, value in zip(layer.weights, theirs, strict=True):
            variable.assign(to_numpy(value))


def _hint(model: Any) -> str:
    return f"name a training of {model.name} of the same width and data set"


def _require(builder: Any, function: str, option: str, hint: str) -> None:
    if not hasattr(builder, function):
        name = builder.__name__.rpartition(".")[2]
        raise ConfigError(f"train.{option}: model {name!r} has no reference weights", hint)


def _data() -> Path | None:
    root = os.environ.get("TRITMCU_DATA")
    return Path(root) if root else None
