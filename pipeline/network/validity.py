"""What an integer network must hold to before anything computes with it: kernels in C trust their sizes and numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.core import registry
from pipeline.core.nouns import QLayer, QModel, TensorSpec
from pipeline.network import arith, packing, rescale, twin

LARGEST_TENSOR = 1 << 24
"""Elements; more than any microcontroller holds."""
INT8 = (-128, 127)
ARRAYS: Mapping[str, type] = {"weights": np.int8, "bias": np.int32, "multiplier": np.int32, "shift": np.int8}
"""The arrays of a layer with weights, and their types."""
SHIFTS = (-31, 30)


def require(model: QModel) -> None:
    """ValueError that names the layer and the value, unless the network is one that kernels can compute: shapes and
    arrays fit together, scales are finite and positive, zero points, clamps, multipliers and shifts in range, no
    accumulator leaves 32 bits."""
    _require_spec("input", model.input)
    if not model.layers:
        raise ValueError("no layers")
    for number, layer in enumerate(model.layers):
        place = f"layer {layer.name!r}"
        if not layer.inputs or not all(0 <= tensor <= number for tensor in layer.inputs):
            raise ValueError(f"{place}: inputs {layer.inputs}, it can read tensors 0 to {number}")
        _require_spec(place, layer.output)
        _require_params(place, layer, model.input_specs(layer))
        if any(getattr(layer, name) is not None for name in ARRAYS):
            _require_arrays(place, layer, model.input_specs(layer))
    if model.output.size_bytes != len(model.classes):
        raise ValueError(f"{model.output.size_bytes} outputs, {len(model.classes)} classes")
    _require_shapes(model)


def _require_spec(place: str, spec: TensorSpec) -> None:
    q = spec.quantization
    if not all(size >= 1 for size in spec.shape) or not 1 <= math.prod(spec.shape) <= LARGEST_TENSOR:
        raise ValueError(f"{place}: shape {spec.shape}")
    if not (math.isfinite(q.scale) and q.scale > 0):
        raise ValueError(f"{place}: scale {q.scale}, it must be finite and positive")
    if not 2 <= q.bits <= 8:
        raise ValueError(f"{place}: {q.bits} bits, they must be 2 to 8")
    _require_within(f"{place}: zero point", q.zero_point, INT8)


def _require_within(what: str, value: int, limits: tuple[int, int]) -> None:
    if not limits[0] <= value <= limits[1]:
        raise ValueError(f"{what} {value}, it must be {limits[0]} to {limits[1]}")


def _require_params(place: str, layer: QLayer, specs: Sequence[TensorSpec]) -> None:
    for name, value in layer.params.items():
        if name.endswith(("_mult", "multiplier")):
            _require_within(f"{place}: {name}", value, (0, arith.INT32_MAX))
        elif name.endswith("shift"):
            _require_within(f"{place}: {name}", value, SHIFTS)
    if "activation" in layer.params:
        low, high = layer.params["activation"]
        _require_within(f"{place}: activation", high, INT8)
        _require_within(f"{place}: activation", low, (INT8[0], high))
    if "stride" in layer.params:
        _require_windows(place, layer, specs[0])
    _require_sums(place, layer, specs)


def _require_windows(place: str, layer: QLayer, spec: TensorSpec) -> None:
    """Every window of a convolution or pooling meets its input."""
    if len(spec.shape) != 3:
        raise ValueError(f"{place}: its input has the shape {spec.shape}, not (h, w, c)")
    outputs = layer.output.shape[:2] if len(layer.output.shape) == 3 else (1, 1)
    settings = (spec.shape[:2], _window(layer), layer.params["stride"], layer.params["padding"], outputs)
    for size, window, stride, padding, output in zip(*settings, strict=True):
        if stride < 1 or not 0 <= padding < window <= LARGEST_TENSOR or (output - 1) * stride - padding >= size:
            settings_of_axis = f"window {window}, stride {stride}, padding {padding}"
            raise ValueError(f"{place}: {settings_of_axis} on {size} elements give no {output} outputs")


def _window(layer: QLayer) -> Sequence[int]:
    """(h, w) of a filter or pool."""
    if layer.weights is None:
        return tuple(layer.params["pool"])
    return layer.weights.shape[:2] if layer.kind == "depthwise_conv2d" else layer.weights.shape[1:3]


def _require_sums(place: str, layer: QLayer, specs: Sequence[TensorSpec]) -> None:
    """The sum of a mean, and the rescaled inputs of an add or a concatenation, and their sum, stay within 32 bits."""
    if "shift" in layer.params:
        bound = rescale.largest_input(specs[0].quantization) * math.prod(specs[0].shape[:2])
        _require_safe(f"{place}: shift", bound, layer.params["shift"])
    total = 0
    for i, spec in enumerate(specs, 1):
        if f"input{i}_shift" in layer.params:
            shift = layer.params[f"input{i}_shift"]
            bound = rescale.largest_input(spec.quantization) << arith.ADD_LEFT_SHIFT
            _require_safe(f"{place}: input{i}_shift", bound, shift)
            total += math.ceil(bound * 2.0**shift)
    if "output_shift" in layer.params:
        _require_safe(f"{place}: output_shift", total, layer.params["output_shift"])


def _require_safe(what: str, bound: int, shift: int) -> None:
    if not arith.requantization_is_safe(np.asarray(bound), np.asarray(shift)):
        raise ValueError(f"{what} {shift}: accumulators up to {bound} overflow 32 bits")


def _require_arrays(place: str, layer: QLayer, specs: Sequence[TensorSpec]) -> None:
    arrays = {name: getattr(layer, name) for name in ARRAYS}
    channels = layer.output.shape[-1]
    for name, array in arrays.items():
        if array is None:
            raise ValueError(f"{place}: no {name}")
        if array.dtype != ARRAYS[name]:
            raise ValueError(f"{place}: {name} are {array.dtype}, not {np.dtype(ARRAYS[name])}")
        if name != "weights" and array.shape != (channels,):
            raise ValueError(f"{place}: {name} of shape {array.shape}, for {channels} channels")
    weights, bias, multiplier, shift = arrays.values()
    wanted = WEIGHT_SHAPES[layer.kind](weights.shape, channels, specs[0].shape)
    if weights.shape != wanted:
        raise ValueError(f"{place}: weights of shape {weights.shape}, not {wanted}")
    for c in range(channels):
        _require_within(f"{place}, channel {c}: multiplier", int(multiplier[c]), (0, arith.INT32_MAX))
        _require_within(f"{place}, channel {c}: shift", int(shift[c]), SHIFTS)
    axes = tuple(axis for axis in range(weights.ndim) if axis != _channel_axis(layer))
    bound = np.abs(weights.astype(np.int64)).sum(axis=axes) * rescale.largest_input(specs[0].quantization)
    bound += np.abs(bias.astype(np.int64))
    for c in np.flatnonzero(~arith.requantization_is_safe(bound, shift))[:1]:
        _require_safe(f"{place}, channel {c}: shift", int(bound[c]), int(shift[c]))


def _channel_axis(layer: QLayer) -> int:
    return 2 if layer.kind == "depthwise_conv2d" else 0


def _conv2d(weights: tuple[int, ...], channels: int, source: tuple[int, ...]) -> tuple[int, ...]:
    return (channels, *weights[1:3], source[-1])


def _depthwise_conv2d(weights: tuple[int, ...], channels: int, source: tuple[int, ...]) -> tuple[int, ...]:
    if channels % source[-1]:
        raise ValueError(f"{channels} depthwise channels from {source[-1]}")
    return (*weights[:2], channels)


def _dense(weights: tuple[int, ...], channels: int, source: tuple[int, ...]) -> tuple[int, ...]:
    return (channels, math.prod(source))


WEIGHT_SHAPES: Mapping[str, Callable[[tuple[int, ...], int, tuple[int, ...]], tuple[int, ...]]] = {
    "conv2d": _conv2d,
    "depthwise_conv2d": _depthwise_conv2d,
    "dense": _dense,
}
"""(shape of the weights, output channels, shape of the input) -> the shape the weights must have."""


def _require_shapes(model: QModel) -> None:
    """What the layers compute has the shapes they name."""
    for layer in model.layers:
        registry.load("layers", layer.kind)
        if layer.weights is not None:
            packing.require_range(layer)
    computed: list[Any] = twin.specification(model, np.zeros((1, *model.input.shape), np.int8))
    for layer, output in zip(model.layers, computed, strict=True):
        if output.shape[1:] != layer.output.shape:
            raise ValueError(f"layer {layer.name!r}: its output is {output.shape[1:]}, not {layer.output.shape}")
