"""Where the weights of a training start, and who teaches it: a reference model or an earlier training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.config.job import ORIGINAL, RANDOM, REFERENCE, Job, ModelConfig, earlier, stored_training
from pipeline.core import paths
from pipeline.core.digest import digest_of
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Dataset, TensorSpec
from pipeline.training import keras_model, mlperf
from pipeline.training.keras_backend import keras, to_numpy
from pipeline.training.models import clone

SAMPLES = 512
"""Training samples that show a warm start the ranges of its tensors."""


def start(model: Any, initial: str, builder: Any, dataset: Dataset) -> None:
    """Gives the keras.Model the weights that train.initial names: TrainConfig. builder: the model's module."""
    if initial in (RANDOM, ORIGINAL):
        return  # as built: a clone has the weights of its file
    if initial != REFERENCE:
        _copy(keras_model.load(stored_training(initial).parent), model, initial)
        return
    if not hasattr(builder, "warm_start"):
        name = builder.__name__.rpartition(".")[2]
        raise ConfigError(f"train.initial: model {name!r} has no reference weights", 'set train.initial = "random"')
    x = dataset.splits["train"].x[:SAMPLES]
    builder.warm_start(model, paths.data_folder(), dataset.input.quantization.dequantize(x))


def teacher(name: str, model: Any, config: ModelConfig, dataset_input: TensorSpec) -> Callable[[Any], Any]:
    """Real inputs -> logits of the network that train.distill names; `model`: the one that learns from it, of `config`.
    ConfigError unless both take the same samples and know as many classes."""
    if name == REFERENCE:
        _check_teacher(name, mlperf.INPUT, mlperf.CLASSES, model)
        return mlperf.reference(paths.data_folder())
    if name == ORIGINAL:
        loaded, (gain, offset) = clone.original(config), clone.units(config, dataset_input)
    else:
        loaded, gain, offset = keras_model.load(stored_training(name).parent), 1.0, 0.0
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


def _check_teacher(name: str, shape: tuple[int, ...], classes: int, model: Any) -> None:
    ours = (tuple(model.input_shape[1:]), model.output_shape[-1])
    if (tuple(shape), classes) != ours:
        what = (
            f"train.distill: {name!r} takes {tuple(shape)} and has {classes} classes, the job {ours[0]} and {ours[1]}"
        )
        raise ConfigError(what, "name a network for the same data set, or remove train.distill")


def _hint(model: Any) -> str:
    return f"name a training of {model.name} of the same width and data set"
