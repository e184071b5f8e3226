"""lower: a trained network becomes the integer QModel.

Batch normalization is folded, a layer's activation becomes its output quantization and clamp, one scale per output
channel goes into the requantization multiplier. Nothing here needs a training framework.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import UnsupportedError
from pipeline.core.nouns import (
    Int8Array,
    Int32Array,
    QLayer,
    QModel,
    Quantization,
    TensorSpec,
    TrainedLayer,
    TrainedModel,
)
from pipeline.network import arith, packing, rescale
from pipeline.network.geometry import extent

INPUT = "input"
WEIGHTED = frozenset({"conv2d", "depthwise_conv2d", "dense"})
POOLING = frozenset({"max_pool2d", "average_pool2d", "global_max_pool2d", "global_average_pool2d"})
MOST_BIAS_ERROR = 1.5
"""Output steps that rounding a bias to accumulator steps may cost: with half a step of the output's own, two. A free
output lattice is made that coarse."""
MOST_FIXED_BIAS_ERROR = 16.0
"""The same where a quantizer fixes the lattice, as after the 2-bit activations of models/stq_net.py: a sixteenth of
what 8 bits hold. The agreement of the report shows what it comes to."""
MOST_ZERO_ERROR = 1e-3
"""Steps by which the zero of a rescaled tensor may miss its lattice: scales come from float32 numbers."""
CONSTANT_CHANNEL_BITS = 20
"""Accumulator bits of a channel that folds to a constant (a batch normalization gain of zero)."""


def lower(trained: TrainedModel) -> QModel:
    """The integer network of `trained`, bit-exactly defined. UnsupportedError names a layer without integer form."""
    return _Lowering(trained).run()


@dataclass
class _Chain:
    """A layer and what is folded into it; `end` is the name of the last folded layer."""

    head: TrainedLayer
    norm: TrainedLayer | None = None
    activation: TrainedLayer | None = None
    end: str = field(init=False)

    def __post_init__(self) -> None:
        self.end = (self.activation or self.norm or self.head).name


class _Lowering:
    """Walks the trained layers once, in order; `tensor` maps a trained layer's name to the tensor that holds it."""

    def __init__(self, trained: TrainedModel) -> None:
        self.trained = trained
        self.by_name = {layer.name: layer for layer in trained.layers}
        self.tensor = {INPUT: 0}
        self.layers: list[QLayer] = []

    def run(self) -> QModel:
        for layer in self.trained.layers:
            _require_finite(layer, self.trained.ranges.get(layer.name, ()))
        for layer in self.trained.layers:
            if layer.name not in self.tensor:
                self._lower(layer)
        if not self.layers:
            raise UnsupportedError(f"model {self.trained.name!r} has no layers")
        return QModel(
            self.trained.name, self.trained.input, self.trained.classes, tuple(self.layers), dict(self.trained.metrics)
        )

    def _lower(self, layer: TrainedLayer) -> None:
        if layer.kind in WEIGHTED:
            self._weighted(self._chain(layer))
        elif layer.kind == "add":
            self._add(self._chain(layer))
        elif layer.kind == "concatenate":
            self._concatenate(self._chain(layer))
        elif layer.kind in POOLING:
            self._pool(layer)
        elif layer.kind == "flatten":
            self._flatten(layer)
        elif layer.kind == "rescaling":
            self._rescale(layer)
        elif layer.kind == "pad2d":
            self._pad(layer)
        elif layer.kind == "activation":
            self._activation(layer)
        else:
            raise UnsupportedError(
                f"layer {layer.name!r}: no integer form of {layer.kind} here",
                "batch_normalization must follow a convolution or dense layer directly",
            )

    def _chain(self, head: TrainedLayer) -> _Chain:
        """head, and the batch normalization and activation that follow it, each as the only reader."""
        norm = self._only_reader(head.name, "batch_normalization") if head.kind in WEIGHTED else None
        return _Chain(head, norm, self._activation_of((norm or head).name))

    def _activation_of(self, name: str) -> TrainedLayer | None:
        """The activation that alone reads a layer, also as a vector or under another shape."""
        flat = self._only_reader(name, "flatten")
        return self._activation_of(flat.name) if flat else self._only_reader(name, "activation")

    def _only_reader(self, name: str, kind: str) -> TrainedLayer | None:
        readers = [layer for layer in self.trained.layers if name in layer.inputs]
        return readers[0] if len(readers) == 1 and readers[0].kind == kind else None

    def _tensors(self, layer: TrainedLayer) -> tuple[int, ...]:
        return tuple(self.tensor[name] for name in layer.inputs)

    def _spec(self, name: str) -> TensorSpec:
        number = self.tensor[name]
        return self.trained.input if number == 0 else self.layers[number - 1].output

    def _append(self, layer: QLayer, *names: str) -> None:
        self.layers.append(layer)
        for name in (layer.keras_name, *names):
            self.tensor[name] = len(self.layers)

    def _append_chain(self, layer: QLayer, chain: _Chain) -> None:
        folded = (chain.head, chain.norm, chain.activation)
        self._append(layer, *(part.name for part in folded if part is not None))

    def _flatten(self, layer: TrainedLayer) -> None:
        """A shape. What it reads may have taken over the activation after it."""
        spec, activation = self._spec(layer.inputs[0]), self._activation_of(layer.name)
        end = activation.name if activation and activation.name in self.tensor else layer.name
        flat = TensorSpec(tuple(layer.config.get("shape", (spec.size_bytes,))), spec.quantization)
        self._append(QLayer(layer.name, "flatten", self._tensors(layer), flat, keras_name=end), layer.name)

    def _activation(self, layer: TrainedLayer) -> None:
        """An activation that no layer before it has taken over: nothing, where its input is on its lattice and within
        its bounds; else a depthwise convolution of 1 x 1 ones, exact unless a quantizer names another lattice."""
        spec, number = self._spec(layer.inputs[0]), self.tensor[layer.inputs[0]]
        wanted = _quantization(layer) or spec.quantization
        (low, high), (least, most) = _bounds(layer, wanted), self._limits(number)
        if _same_lattice(spec.quantization, wanted) and low <= least and most <= high:
            self.tensor[layer.name] = number
            return
        config = {**layer.config, "scale": wanted.scale, "zero_point": wanted.zero_point, "bits": wanted.bits}
        image = spec.shape if len(spec.shape) == 3 else (1, 1, spec.size_bytes)
        pixel = self._reshaped(f"{layer.name}_pixel", layer.inputs[0], image)
        ones: dict[str, NDArray[Any]] = {"codes": np.ones((1, 1, image[2], 1), np.int8), "scale": np.ones(image[2])}
        settings = {"bits": 2, "strides": (1, 1), "padding": "valid"}
        head = TrainedLayer(layer.name, "depthwise_conv2d", (pixel,), settings, ones)
        self._weighted(_Chain(head, None, replace(layer, config=config)))
        end = self._reshaped(f"{layer.name}_vector", layer.name, spec.shape, layer.name)
        self.tensor[layer.name] = self.tensor[end]

    def _limits(self, number: int) -> tuple[int, int]:
        """Least and greatest value that the tensor may hold."""
        if number and self.layers[number - 1].kind == "flatten":
            return self._limits(self.layers[number - 1].inputs[0])
        q = self.layers[number - 1].output.quantization if number else self.trained.input.quantization
        low, high = self.layers[number - 1].params.get("activation", (q.qmin, q.qmax)) if number else (q.qmin, q.qmax)
        return low, high

    def _reshaped(self, name: str, source: str, shape: tuple[int, ...], keras_name: str = "") -> str:
        """The name of a layer's output under that shape: of the layer itself if it has it, else of a new one."""
        spec = self._spec(source)
        if spec.shape == shape:
            return source
        while name in self.by_name:
            name += "_"
        flat = TensorSpec(shape, spec.quantization)
        self.layers.append(QLayer(name, "flatten", (self.tensor[source],), flat, keras_name=keras_name))
        self.tensor[name] = len(self.layers)
        return name

    def _output(self, chain: _Chain, finest: float = 0.0) -> tuple[Quantization, tuple[int, int]]:
        """Quantization of the chain's output and its clamp. finest: least scale where no quantizer names it."""
        fixed = _quantization(chain.activation) if chain.activation else None
        quantization = fixed or calibrated(*self.trained.ranges[chain.end], finest)
        if chain.activation is None:
            return quantization, (quantization.qmin, quantization.qmax)
        return quantization, _bounds(chain.activation, quantization)

    def _weighted(self, chain: _Chain) -> None:
        head, source = chain.head, self._spec(chain.head.inputs[0])
        weights, scale, bias = _fold(chain)
        accumulator = _accumulator(scale * source.quantization.scale, bias)
        quantization, clamp = self._output(chain, float(np.max(accumulator.error)) / MOST_BIAS_ERROR)
        shape, geometry = _geometry(head, source.shape, weights)
        bound = np.abs(weights.astype(np.int64)).reshape(len(scale), -1).sum(axis=1)
        bound *= rescale.largest_input(source.quantization)
        requant = _requantization(head.name, accumulator, source.quantization.scale, quantization.scale, bound)
        constant = (-1,) + (1,) * (weights.ndim - 1)
        weights = np.where(accumulator.constant.reshape(constant), 0, weights).astype(np.int8)
        layer = QLayer(
            head.name, head.kind, self._tensors(head), TensorSpec(shape, quantization),
            {**geometry, "activation": clamp}, _stored_layout(head.kind, weights), head.config["bits"],
            requant.bias, requant.multiplier, requant.shift, chain.end,
        )  # fmt: skip
        packing.require_range(layer)
        self._append_chain(layer, chain)

    def _add(self, chain: _Chain) -> None:
        specs = [self._spec(name) for name in chain.head.inputs]
        if len(specs) != 2 or specs[0].shape != specs[1].shape:
            shapes = " and ".join(str(spec.shape) for spec in specs)
            what = f"layer {chain.head.name!r}: adds shapes {shapes}"
            raise UnsupportedError(what, "two tensors of one shape can be added")
        first, second = specs
        quantization, clamp = self._output(chain)
        params = rescale.add_params(first.quantization, second.quantization, quantization)
        output, params = TensorSpec(first.shape, quantization), {**params, "activation": clamp}
        layer = QLayer(chain.head.name, "add", self._tensors(chain.head), output, params, keras_name=chain.end)
        self._append_chain(layer, chain)

    def _concatenate(self, chain: _Chain) -> None:
        """Two tensors at a time, at once to the output's lattice, which the next ones then leave as it is."""
        name, specs = chain.head.name, [self._spec(name) for name in chain.head.inputs]
        if any(spec.shape[:-1] != specs[0].shape[:-1] for spec in specs):
            shapes = " and ".join(str(spec.shape) for spec in specs)
            raise UnsupportedError(f"layer {name!r}: concatenates shapes {shapes}", "they may differ only in channels")
        quantization, clamp = self._output(chain)
        tensors, joined = self._tensors(chain.head), specs[0]
        number = tensors[0]
        for i in range(1, len(specs)):
            params = rescale.concatenate_params(joined.quantization, specs[i].quantization, quantization)
            shape = (*joined.shape[:-1], joined.shape[-1] + specs[i].shape[-1])
            joined, last = TensorSpec(shape, quantization), i == len(specs) - 1
            layer = QLayer(
                name if last else f"{name}_{i}", "concatenate", (number, tensors[i]), joined,
                {**params, "activation": clamp}, keras_name=chain.end if last else "",
            )  # fmt: skip
            if last:
                self._append_chain(layer, chain)
            else:
                self.layers.append(layer)
            number = len(self.layers)

    def _pad(self, layer: TrainedLayer) -> None:
        spec = self._spec(layer.inputs[0])
        before, after = (tuple(layer.config[end]) for end in ("before", "after"))
        h, w, c = spec.shape
        padded = TensorSpec((h + before[0] + after[0], w + before[1] + after[1], c), spec.quantization)
        params = {"before": before, "after": after}
        self._append(QLayer(layer.name, "pad2d", self._tensors(layer), padded, params, keras_name=layer.name))

    def _rescale(self, layer: TrainedLayer) -> None:
        """The same integers, standing for other real values; the device computes nothing."""
        spec, factor, offset = self._spec(layer.inputs[0]), layer.config["scale"], layer.config["offset"]
        q = spec.quantization
        zero = q.zero_point - offset / (factor * q.scale)
        if abs(zero - round(zero)) > MOST_ZERO_ERROR or not -128 <= round(zero) <= 127:
            what = f"layer {layer.name!r}: its zero would be at {zero:.4g} of the lattice, zeros around an image too"
            raise UnsupportedError(what, "use an offset for which that is an integer from -128 to 127, such as 0")
        output = TensorSpec(spec.shape, Quantization(q.scale * factor, round(zero), q.bits))
        self._append(QLayer(layer.name, "flatten", self._tensors(layer), output, keras_name=layer.name))

    def _bounded(self, pool: TrainedLayer, q: Quantization) -> tuple[TrainedLayer | None, tuple[int, int]]:
        """The relu after a pooling, or None, and the clamp of both: it changes no lattice, so it is exact."""
        after = self._activation_of(pool.name)
        if after is None or after.config["function"] != "relu" or _quantization(after) is not None:
            return None, (q.qmin, q.qmax)
        return after, _bounds(after, q)

    def _pool(self, layer: TrainedLayer) -> None:
        spec = self._spec(layer.inputs[0])
        h, w, c = spec.shape
        whole = layer.kind.startswith("global_")
        pool = (h, w) if whole else tuple(layer.config["pool"])
        stride = (1, 1) if whole else tuple(layer.config["strides"])
        padding = "valid" if whole else layer.config["padding"]
        (oh, top), (ow, left) = (extent(n, k, s, padding) for n, k, s in zip((h, w), pool, stride, strict=True))
        relu, limits = self._bounded(layer, spec.quantization)
        params = {"pool": pool, "stride": stride, "padding": (top, left), "activation": limits}
        flat = whole and not layer.config.get("keepdims", False)
        output = TensorSpec((c,) if flat else (oh, ow, c), spec.quantization)
        kind = layer.kind.removeprefix("global_")
        chain = _Chain(layer, None, relu)
        self._append_chain(QLayer(layer.name, kind, self._tensors(layer), output, params, keras_name=chain.end), chain)


def calibrated(low: float, high: float, finest: float = 0.0) -> Quantization:
    """int8 quantization whose lattice covers [low, high] and holds zero exactly; its scale is at least `finest`."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / 255, finest) or 1.0
    return Quantization(scale, int(np.clip(round(-128 - low / scale), -128, 127)))


def _require_finite(layer: TrainedLayer, answers: Sequence[float]) -> None:
    for name, array in layer.arrays.items():
        if not np.isfinite(array).all():
            what = f"layer {layer.name!r}: {name} holds NaN or infinity"
            raise UnsupportedError(what, "train again with a lower learning rate")
    if not np.isfinite(answers).all():
        what = f"layer {layer.name!r}: answers NaN or infinity to samples"
        raise UnsupportedError(what, "look for huge weights and negative variances; train again, see the loss")


def _quantization(activation: TrainedLayer) -> Quantization | None:
    """The output lattice an activation layer names; None when it leaves it open."""
    config = activation.config
    if config["scale"] is None:
        return None
    return Quantization(float(config["scale"]), int(config["zero_point"]), int(config["bits"]))


def _bounds(activation: TrainedLayer, q: Quantization) -> tuple[int, int]:
    """Lowest and highest output of the activation on the lattice."""
    config, low, high = activation.config, q.qmin, q.qmax
    if config["function"] == "relu":
        low = max(low, q.zero_point)
    if config.get("symmetric"):
        low = max(low, -q.qmax)
    if config.get("limit") is not None:
        high = min(high, q.zero_point + round(config["limit"] / q.scale))
    return low, high


def _same_lattice(a: Quantization, b: Quantization) -> bool:
    return math.isclose(a.scale, b.scale, rel_tol=1e-6) and a.zero_point == b.zero_point and a.bits == b.bits


def _fold(chain: _Chain) -> tuple[Int8Array, NDArray[np.float64], NDArray[np.float64]]:
    """(weights channel-first, scale per channel >= 0, bias in real units) with the batch normalization folded in."""
    head = chain.head
    weights = _channels_first(head.kind, head.arrays["codes"])
    scale = np.broadcast_to(np.asarray(head.arrays["scale"], np.float64), len(weights)).copy()
    bias = np.asarray(head.arrays.get("bias", np.zeros(len(weights))), np.float64)
    if chain.norm is not None:
        n = chain.norm.arrays
        gain = np.asarray(n["gamma"], np.float64) / np.sqrt(n["variance"] + float(chain.norm.config["epsilon"]))
        scale, bias = scale * gain, (bias - n["mean"]) * gain + n["beta"]
    sign = np.where(scale < 0, -1, 1).reshape((-1,) + (1,) * (weights.ndim - 1))
    if (np.abs(weights.astype(np.int16)) > 127).any():
        raise UnsupportedError(f"layer {head.name!r}: an 8-bit weight is -128; the range is -127 to 127")
    return (weights * sign).astype(np.int8), np.abs(scale), bias


def _channels_first(kind: str, codes: Int8Array) -> Int8Array:
    """Trained layout (see TrainedLayer) to (out, ...): conv2d (out, kh, kw, in), depthwise (out, kh, kw), dense."""
    if kind == "conv2d":
        return codes.transpose(3, 0, 1, 2)
    if kind == "depthwise_conv2d":
        kh, kw, channels, multiplier = codes.shape
        return codes.reshape(kh, kw, channels * multiplier).transpose(2, 0, 1)
    return codes.T


def _stored_layout(kind: str, weights: Int8Array) -> Int8Array:
    """Channel-first weights in the layout of pipeline.network.layers."""
    return np.ascontiguousarray(weights.transpose(1, 2, 0) if kind == "depthwise_conv2d" else weights)


def _geometry(
    layer: TrainedLayer, shape: tuple[int, ...], weights: Int8Array
) -> tuple[tuple[int, ...], dict[str, tuple[int, int]]]:
    """(output shape, stride and padding parameters) of a weighted layer."""
    if layer.kind == "dense":
        if math.prod(shape) != weights.shape[1]:
            raise UnsupportedError(f"layer {layer.name!r}: {weights.shape[1]} weights per unit, input shape {shape}")
        return (len(weights),), {}
    stride, padding = tuple(layer.config["strides"]), layer.config["padding"]
    kernel = weights.shape[1:3]
    (oh, top), (ow, left) = (extent(n, k, s, padding) for n, k, s in zip(shape[:2], kernel, stride, strict=True))
    if oh < 1 or ow < 1:
        raise UnsupportedError(f"layer {layer.name!r}: filter {kernel} does not fit into its input {shape}")
    return (oh, ow, len(weights)), {"stride": stride, "padding": (top, left)}


@dataclass(frozen=True)
class _Accumulator:
    """What a weighted layer sums up, per channel."""

    scale: NDArray[np.float64]
    """Real value of one step."""
    bias: NDArray[np.int64]
    """Steps."""
    error: NDArray[np.float64]
    """What rounding the bias to steps costs, real units, >= 0."""
    constant: NDArray[np.bool_]
    """Channels whose output does not depend on the input; their weights become zero."""


@dataclass(frozen=True)
class _Requant:
    bias: Int32Array
    multiplier: Int32Array
    shift: Int8Array


def _accumulator(scale: NDArray[Any], bias: NDArray[Any]) -> _Accumulator:
    """scale: real value of one product, per channel; bias: real values."""
    with np.errstate(divide="ignore", invalid="ignore"):
        constant = ~(np.abs(bias) / scale < (1 << 30))
    scale = np.where(constant, np.abs(bias) / (1 << CONSTANT_CHANNEL_BITS), scale)
    steps = np.divide(bias, scale, out=np.zeros_like(bias), where=scale > 0)
    whole = np.rint(steps)
    return _Accumulator(scale, whole.astype(np.int64), np.abs(whole - steps) * scale, constant)


def _require_fine_bias(name: str, error: NDArray[Any]) -> None:
    """UnsupportedError where rounding a bias to accumulator steps moves the output by more than MOST_FIXED_BIAS_ERROR:
    error, in output steps, per channel. That is so where a quantizer names a range smaller than a few products."""
    coarse = np.flatnonzero(error > MOST_FIXED_BIAS_ERROR)
    if coarse.size:
        c = int(coarse[0])
        raise UnsupportedError(
            f"layer {name!r}, channel {c}: the output scale is too fine, its bias is {error[c]:.1f} output steps off",
            "give its activation a quantizer of a larger range, or none",
        )


def _requantization(
    name: str, accumulator: _Accumulator, in_scale: float, out_scale: float, weight_bound: NDArray[Any]
) -> _Requant:
    """Bias in accumulator units, multiplier and shift per channel; proves that no accumulator leaves int32. Multipliers
    come from scales as float32, so that a file of TensorFlow Lite can state them.

    weight_bound: largest |sum of products|, per channel.
    """
    _require_fine_bias(name, accumulator.error / out_scale)
    try:
        factors = rescale.weighted(in_scale, accumulator.scale / in_scale, out_scale)
        pairs = [arith.quantize_multiplier(float(factor)) for factor in factors]
    except ValueError as error:
        raise UnsupportedError(f"layer {name!r}: {error}", "its output scale is too fine for its weights") from error
    shift = np.array([s for _, s in pairs])
    bound = np.where(accumulator.constant, 0, weight_bound) + np.abs(accumulator.bias)
    unsafe = np.flatnonzero(~arith.requantization_is_safe(bound, shift))
    if unsafe.size:
        c = int(unsafe[0])
        what = f"layer {name!r}, channel {c}: accumulators up to {int(bound[c])} shifted left by {int(shift[c])}"
        raise UnsupportedError(f"{what} overflow 32 bits", "its output scale is too fine for its weights")
    return _Requant(accumulator.bias.astype(np.int32), np.array([m for m, _ in pairs], np.int32), shift.astype(np.int8))
