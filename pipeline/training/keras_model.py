"""Keras models in and out: storing, running, and `describe`, the only place that walks Keras layers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ConfigError, ToolError, UnsupportedError
from pipeline.core.nouns import (
    Dataset,
    FloatArray,
    Int8Array,
    Progress,
    Quantization,
    TrainedLayer,
    TrainedModel,
    no_progress,
)
from pipeline.quantization import lipschitz
from pipeline.training import blocks  # noqa: F401  registers its layers with Keras for `load`
from pipeline.training.keras_backend import compiled, keras, qkeras, to_numpy
from pipeline.training.quantizers import WeightQuantizer, weight_codes

FILE = "model.keras"
BATCH = 256
Config = dict[str, Any]
Arrays = dict[str, NDArray[Any]]


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
        raise ConfigError(f"{path}: no trained model here", "train it first: tritmcu train JOB")
    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:  # Keras raises whatever its zip, json and h5 readers raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(f"{path}: damaged or of another version ({reason})", "train again") from error


def with_weights(model: Any, trained: TrainedModel) -> Any:
    """The keras.Model itself, its kernels set to the real weights of the layers of the same name. Its quantizers stay:
    fewer bits than theirs are met to the rounding of theirs."""
    for layer in trained.layers:
        if "codes" in layer.arrays:
            kernel = "depthwise_kernel" if layer.kind == "depthwise_conv2d" else "kernel"
            getattr(model.get_layer(layer.name), kernel).assign(lipschitz.real_weights(layer))
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
    """float32 output of every named layer for lattice samples x, by layer name."""
    names = list(names)
    batches = list(_layer_batches(model, x, quantization, names, batch))
    return {name: np.concatenate([part[i] for part in batches]) for i, name in enumerate(names)}


def describe(model: Any, dataset: Dataset, calibration: int) -> TrainedModel:
    """The TrainedModel: every layer of the keras.Model in plain values, ranges from `calibration` training samples.

    Dropout leaves no trace. UnsupportedError names a layer that has no counterpart on the device; NaN weights too.
    """
    layers = tuple(_walk(model))
    x = dataset.splits["train"].x
    x = x[np.linspace(0, len(x) - 1, min(calibration, len(x))).astype(int)]
    return TrainedModel(
        name=model.name,
        input=dataset.input,
        classes=dataset.classes,
        layers=layers,
        ranges=_ranges(model, x, dataset.input.quantization, [layer.name for layer in layers]),
    )


def _layer_batches(
    model: Any, x: Int8Array, quantization: Quantization, names: list[str], batch: int
) -> Iterator[list[FloatArray]]:
    run = inference(keras.Model(model.inputs, {name: model.get_layer(name).output for name in names}))
    for start in range(0, len(x), batch):
        outputs = run(quantization.dequantize(x[start : start + batch]))
        yield [to_numpy(outputs[name]) for name in names]


def _ranges(model: Any, x: Int8Array, quantization: Quantization, names: list[str]) -> dict[str, tuple[float, float]]:
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    for parts in _layer_batches(model, x, quantization, names, BATCH):
        low = np.minimum(low, [part.min() for part in parts])
        high = np.maximum(high, [part.max() for part in parts])
    return {name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)}


def _walk(model: Any) -> Iterator[TrainedLayer]:
    source: dict[str, str] = {}
    for layer in model.layers:
        kind = type(layer).__name__
        if kind == "InputLayer":
            source[layer.name] = "input"
            continue
        inputs = tuple(source[name] for name in _input_names(layer))
        if kind == "Dropout":
            source[layer.name] = inputs[0]
            continue
        if kind not in _READERS:
            known = ", ".join(sorted(_READERS))
            raise UnsupportedError(
                f"layer {layer.name!r} is a {kind}, which no device layer exists for", f"known: {known}"
            )
        name, config, arrays = _READERS[kind](layer)
        for what, array in arrays.items():
            if not np.all(np.isfinite(array)):
                raise UnsupportedError(
                    f"layer {layer.name!r}: {what} holds NaN or infinity", "train again, see the loss"
                )
        source[layer.name] = layer.name
        yield TrainedLayer(layer.name, name, inputs, config, arrays)


def _input_names(layer: Any) -> list[str]:
    tensors = layer.input if isinstance(layer.input, (list, tuple)) else [layer.input]
    return [tensor._keras_history.operation.name for tensor in tensors]


def _weighted(kind: str, kernel: str) -> Callable[[Any], tuple[str, Config, Arrays]]:
    def read(layer: Any) -> tuple[str, Config, Arrays]:
        quantizer = layer.get_quantizers()[0]
        if not isinstance(quantizer, WeightQuantizer):
            raise UnsupportedError(
                f"layer {layer.name!r}: kernel quantizer {quantizer} is not one of pipeline.quantizers",
                "use StochasticTernary or SymmetricInteger",
            )
        codes, scale = weight_codes(quantizer, to_numpy(getattr(layer, kernel)))
        arrays: Arrays = {"codes": codes, "scale": scale}
        if layer.use_bias:
            arrays["bias"] = to_numpy(layer.bias).astype(np.float64)
        config: Config = {"bits": quantizer.bits}
        if kind != "dense":
            config |= {"strides": tuple(layer.strides), "padding": layer.padding.lower()}
        return kind, config, arrays

    return read


def _batch_normalization(layer: Any) -> tuple[str, Config, Arrays]:
    mean = to_numpy(layer.moving_mean).astype(np.float64)
    arrays = {
        "gamma": to_numpy(layer.gamma).astype(np.float64) if layer.scale else np.ones_like(mean),
        "beta": to_numpy(layer.beta).astype(np.float64) if layer.center else np.zeros_like(mean),
        "mean": mean,
        "variance": to_numpy(layer.moving_variance).astype(np.float64),
    }
    return "batch_normalization", {"epsilon": float(layer.epsilon)}, arrays


def _activation(layer: Any) -> tuple[str, Config, Arrays]:
    quantizer = layer.activation
    if isinstance(quantizer, qkeras.quantized_relu):
        function, scale, zero_point = "relu", 2.0 ** (quantizer.integer - quantizer.bits), -(1 << (quantizer.bits - 1))
    elif isinstance(quantizer, qkeras.quantized_bits):
        function, scale, zero_point = "linear", 2.0 ** (quantizer.integer - quantizer.bits + 1), 0
    else:
        raise UnsupportedError(
            f"layer {layer.name!r}: activation {quantizer} has no device counterpart",
            "use quantized_relu or quantized_bits",
        )
    config = {"function": function, "scale": scale, "zero_point": zero_point, "bits": int(quantizer.bits)}
    return "activation", config, {}


def _pool(kind: str) -> Callable[[Any], tuple[str, Config, Arrays]]:
    def read(layer: Any) -> tuple[str, Config, Arrays]:
        config = {"pool": tuple(layer.pool_size), "strides": tuple(layer.strides), "padding": layer.padding.lower()}
        return kind, config, {}

    return read


def _concatenate(layer: Any) -> tuple[str, Config, Arrays]:
    if layer.axis not in (-1, len(layer.output.shape) - 1):
        raise UnsupportedError(f"layer {layer.name!r}: concatenates axis {layer.axis}", "concatenate channels: axis=-1")
    return "concatenate", {}, {}


def _plain(kind: str) -> Callable[[Any], tuple[str, Config, Arrays]]:
    return lambda layer: (kind, {}, {})


_READERS: Mapping[str, Callable[[Any], tuple[str, Config, Arrays]]] = {
    "QConv2D": _weighted("conv2d", "kernel"),
    "QDepthwiseConv2D": _weighted("depthwise_conv2d", "depthwise_kernel"),
    "QDense": _weighted("dense", "kernel"),
    "BatchNormalization": _batch_normalization,
    "QActivation": _activation,
    "MaxPooling2D": _pool("max_pool2d"),
    "AveragePooling2D": _pool("average_pool2d"),
    "GlobalAveragePooling2D": _plain("global_average_pool2d"),
    "GlobalMaxPooling2D": _plain("global_max_pool2d"),
    "Flatten": _plain("flatten"),
    "Add": _plain("add"),
    "Concatenate": _concatenate,
}
