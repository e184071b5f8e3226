"""Keras models in and out: storing, running, and `describe`, which turns one into plain values."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import ConfigError, ToolError
from pipeline.core.nouns import (
    Dataset,
    FloatArray,
    Int8Array,
    Progress,
    Quantization,
    TrainedModel,
    no_progress,
)
from pipeline.quantization import lipschitz
from pipeline.training import (
    blocks,  # noqa: F401  registers its layers with Keras for `load`
    keras_graph,
    keras_reader,
)
from pipeline.training.keras_backend import compiled, keras, to_numpy

FILE = "model.keras"
BATCH = 256


def save(model: Any, folder: Path) -> None:
    """Writes folder/model.keras, whole or not at all. ToolError: the disk is full, or cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f".{os.getpid()}.{FILE}"
    try:
        model.save(fresh)
        fresh.replace(folder / FILE)
    except OSError as error:
        what = f"{folder / FILE}: cannot be written ({error.strerror or error})"
        raise ToolError(what, "make room; --resume continues") from error
    finally:
        fresh.unlink(missing_ok=True)


def load(folder: Path) -> Any:
    """The keras.Model in folder/model.keras. ConfigError when missing or damaged."""
    path = folder / FILE
    if not path.exists():
        raise ConfigError(f"{path}: no trained model here", "train it again, with --fresh")
    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:  # Keras raises whatever its zip, json and h5 readers raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(
            f"{path}: damaged or of another version ({reason})", "train it again, with --fresh"
        ) from error


def with_weights(model: Any, trained: TrainedModel) -> Any:
    """The keras.Model itself, its kernels set to the real weights of the layers of the same name. Its quantizers stay:
    fewer bits than theirs are met to the rounding of theirs."""
    known = {call.name: call.layer for call in keras_graph.calls(model)}
    for layer in trained.layers:
        if "codes" in layer.arrays:
            kernel = "depthwise_kernel" if layer.kind == "depthwise_conv2d" else "kernel"
            getattr(known[layer.name], kernel).assign(lipschitz.real_weights(layer))
    return model


def inference(model: Any) -> Callable[[Any], Any]:
    """The model as one graph: real inputs (n, *shape) float32 -> outputs, any n, deterministic."""
    return compiled(
        lambda x: model(x, training=False), ((None, *model.input_shape[1:]), "float32"), state=model.variables
    )


def predict(
    model: Any, x: Int8Array, quantization: Quantization, batch: int = BATCH, progress: Progress = no_progress
) -> FloatArray:
    """float32 logits (n, classes) of lattice samples x (n, *shape). model: a keras.Model or an `inference` of one."""
    run = inference(model) if hasattr(model, "layers") else model
    parts = []
    for start in range(0, len(x), batch):
        parts.append(to_numpy(run(quantization.dequantize(x[start : start + batch]))))
        progress("keras", min(start + batch, len(x)), len(x), "")
    return np.asarray(np.concatenate(parts), dtype=np.float32)


def layer_outputs(
    model: Any, x: Int8Array, quantization: Quantization, names: Iterable[str], batch: int = BATCH
) -> dict[str, FloatArray]:
    """float32 output for lattice samples x of every named layer of `describe`, by name."""
    names = list(names)
    batches = list(_layer_batches(model, x, quantization, names, batch))
    return {name: np.concatenate([part[i] for part in batches]) for i, name in enumerate(names)}


def describe(model: Any, dataset: Dataset, calibration: int) -> TrainedModel:
    """The TrainedModel: every layer of the keras.Model in plain values, ranges from `calibration` training samples.

    What does nothing at inference, as Dropout, leaves no trace. UnsupportedError names a layer or a setting that has no
    counterpart on the device; NaN weights too.
    """
    graph = keras_graph.calls(model)
    layers = tuple(keras_reader.read(graph))
    x = dataset.splits["train"].x
    x = x[np.linspace(0, len(x) - 1, min(calibration, len(x))).astype(int)]
    ranges = _ranges(model, x, dataset.input.quantization, list(keras_reader.ends(graph).values()))
    for layer in layers:
        if layer.kind == "flatten" and layer.name in ranges:  # of a layer that Keras does not know by itself, too
            ranges.setdefault(layer.inputs[0], ranges[layer.name])
    return TrainedModel(
        name=model.name,
        input=dataset.input,
        classes=dataset.classes,
        layers=layers,
        ranges=ranges,
    )


def _layer_batches(
    model: Any, x: Int8Array, quantization: Quantization, names: list[str], batch: int
) -> Iterator[list[FloatArray]]:
    graph = keras_graph.calls(model)
    source = {end: name for name, end in keras_reader.ends(graph).items()}

    def named(x: Any) -> dict[str, Any]:
        values = keras_graph.outputs(graph, x)
        return {name: values[source[name]] for name in names}

    run = compiled(named, ((None, *model.input_shape[1:]), "float32"), state=model.variables)
    for start in range(0, len(x), batch):
        outputs = run(quantization.dequantize(x[start : start + batch]))
        yield [to_numpy(outputs[name]) for name in names]


def _ranges(model: Any, x: Int8Array, quantization: Quantization, names: list[str]) -> dict[str, tuple[float, float]]:
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    for parts in _layer_batches(model, x, quantization, names, BATCH):
        low = np.minimum(low, [part.min() for part in parts])
        high = np.maximum(high, [part.max() for part in parts])
    return {name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)}
