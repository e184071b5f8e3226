"""Where the weights of a training start, and who teaches it: a reference model or an earlier training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.config.job import ORIGINAL, RANDOM, REFERENCE, Job, ModelConfig, TrainConfig, earlier, stored_training
from pipeline.core import paths
from pipeline.core.digest import digest_of
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Dataset, TensorSpec
from pipeline.core.store import META
from pipeline.training import keras_model, mlperf, qmodel_weights, widening
from pipeline.training.keras_backend import keras, to_numpy
from pipeline.training.models import clone

SAMPLES = 512
"""Training samples that show a warm start the ranges of its tensors."""
WEIGHTED = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)


def start(model: Any, job: Job, recipe: TrainConfig, builder: Any, dataset: Dataset) -> None:
    """Gives the keras.Model the weights that train.initial names: TrainConfig. builder: the model's module."""
    if recipe.initial in (RANDOM, ORIGINAL):
        return  # as built: a clone has the weights of its file
    if recipe.initial != REFERENCE:
        source = _stored(recipe.initial, recipe, "train.initial")
        if _is_integer(recipe.initial):
            _settle(source, recipe.initial, dataset)
        copy_weights(source, model, recipe.initial, job.seed)
        return
    if not hasattr(builder, "warm_start"):
        raise ConfigError(
            f"train.initial: model {job.model.name!r} has no reference weights", 'set train.initial = "random"'
        )
    original = job.model.width <= 1
    config = job.model.model_copy(update={"width": 1.0})
    start = model if original else builder.build(dataset.input, len(dataset.classes), config, recipe)
    x = dataset.splits["train"].x[:SAMPLES]
    builder.warm_start(start, paths.data_folder(), dataset.input.quantization.dequantize(x))
    if not original:
        copy_weights(start, model, recipe.initial, job.seed)


def _stored(name: str, recipe: TrainConfig, option: str) -> Any:
    """The keras.Model of an earlier training, or one that computes what an integer network does."""
    folder = stored_training(name).parent
    return qmodel_weights.load(folder, recipe, option) if _is_integer(name) else keras_model.load(folder)


def _is_integer(name: str) -> bool:
    """Whether the name is that of an integer network, not of a Keras model."""
    return stored_training(name).name == META


def _settle(source: Any, name: str, dataset: Dataset) -> None:
    """Gives a keras.Model made from integers the statistics of training samples. ConfigError unless it takes them."""
    if source.input_shape[1:] != dataset.input.shape:
        what = f"train.initial: {name!r} takes {source.input_shape[1:]}, the data set has {dataset.input.shape}"
        raise ConfigError(what, "name a network for the same data set")
    x = dataset.splits["train"].x[:SAMPLES]
    qmodel_weights.settle(source, dataset.input.quantization.dequantize(x))


def teacher(model: Any, config: ModelConfig, recipe: TrainConfig, dataset_input: TensorSpec) -> Callable[[Any], Any]:
    """Real inputs -> logits of the network that recipe.distill names; `model`: the one that learns from it, of
    `config`. ConfigError unless both take the same samples and know as many classes."""
    name = str(recipe.distill)
    if name == REFERENCE:
        _check_teacher(name, mlperf.INPUT, mlperf.CLASSES, model)
        return mlperf.reference(paths.data_folder())
    if name == ORIGINAL:
        loaded, (gain, offset) = clone.original(config, dataset_input.shape), clone.units(config, dataset_input)
    else:
        loaded, gain, offset = _stored(name, recipe, "train.distill"), 1.0, 0.0
    _check_teacher(name, loaded.input_shape[1:], loaded.output_shape[-1], model)
    constants = {id(v): keras.ops.convert_to_tensor(to_numpy(v)) for v in loaded.variables}

    def answer(x: Any) -> Any:
        with keras.StatelessScope() as scope:
            scope.state_mapping.update(constants)
            return loaded(x * gain + offset, training=False)

    return answer


def digests(job: Job) -> list[str]:
    """Digests of the files that the training builds on."""
    return [digest_of(path.read_bytes()) for path in earlier(job)]


def copy_weights(source: Any, model: Any, name: str, seed: int) -> None:
    """Sets every weight of the keras.Model `model` from the layer of the same name in `source`, which may be narrower
    (widening, its shares drawn from the seed). ConfigError, with `name` for the source, when a layer is missing or of
    another shape."""
    known = {layer.name: layer for layer in source.layers}
    channels = {layer.name: layer.output.shape[-1] for layer in source.layers if isinstance(layer, WEIGHTED)}
    sources, random = widening.channel_sources(model, channels), np.random.default_rng(seed)
    for layer in model.layers:
        if not layer.weights:
            continue
        if layer.name not in known:
            raise ConfigError(f"train.initial: {name!r} has no layer {layer.name!r}", _hint(model))
        theirs = [to_numpy(v) for v in known[layer.name].weights]
        _check_shapes(model, layer, [v.shape for v in theirs], name)
        for variable, value in zip(layer.weights, theirs, strict=True):
            variable.assign(widening.widen(layer, value, variable.shape, sources, random))


def _check_shapes(model: Any, layer: Any, theirs: list[tuple[int, ...]], name: str) -> None:
    """ConfigError unless weights of the shapes `theirs` fit the layer as they are or by widening."""
    ours = [tuple(v.shape) for v in layer.weights]
    if len(theirs) != len(ours) or not all(map(widening.widens, theirs, ours)):
        what = f"train.initial: layer {layer.name!r} of {name!r} and of the job: {theirs} and {ours}"
        raise ConfigError(what, _hint(model))


def _check_teacher(name: str, shape: tuple[int, ...], classes: int, model: Any) -> None:
    ours = (tuple(model.input_shape[1:]), model.output_shape[-1])
    if (tuple(shape), classes) != ours:
        what = (
            f"train.distill: {name!r} takes {tuple(shape)} and has {classes} classes, the job {ours[0]} and {ours[1]}"
        )
        raise ConfigError(what, "name a network for the same data set, or remove train.distill")


def _hint(model: Any) -> str:
    return f"name a training of {model.name} for the same data set that is not wider"
