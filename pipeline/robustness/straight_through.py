"""Forward and backward through a QModel in NumPy: the specification of the surrogate's gradients.

Rounding counts as the identity, and a clamp passes what the variant says; everything else is differentiated as it is.
Slow and in float64; network/batch.py does the same fast, and a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pipeline.core import registry
from pipeline.core.errors import ConfigError, UnsupportedError
from pipeline.core.nouns import QLayer, QModel
from pipeline.network.batch import clamp_of

Variant = Literal["clip", "relu", "identity", "smooth"]
"""What is differentiated (backward pass differentiable approximation, Athalye et al. 2018, arXiv 1802.00420). clip: the
stored integers, and a clamp passes gradients inside its limits: the right choice. relu: a clamp also passes them above
its upper limit. identity: a clamp passes them everywhere. smooth: as clip, with nothing rounded in the forward pass."""
VARIANTS: tuple[str, ...] = get_args(Variant)


@dataclass(frozen=True)
class Tape:
    """What a forward pass leaves for the backward pass."""

    tensors: tuple[NDArray[Any], ...]
    """(n, *shape) each: the input and every layer's output, lattice coordinates."""
    values: tuple[NDArray[Any], ...]
    """(n, *shape) each: every layer's output before its clamp."""
    logits: NDArray[np.float64]
    """(n, classes): the last layer neither rounded nor clamped, real units."""


def require_variant(variant: str) -> None:
    """ConfigError: no such variant."""
    if variant not in VARIANTS:
        raise ConfigError(*registry.unknown("variant of the surrogate", variant, VARIANTS))


def require_gradients(model: QModel) -> None:
    """UnsupportedError naming the first layer whose kind has no gradient."""
    for layer in model.layers:
        if not hasattr(_kind(layer), "gradient"):
            known = [name for name in registry.names("layers") if hasattr(registry.load("layers", name), "gradient")]
            raise UnsupportedError(
                f"layer {layer.name!r}: layer kind {layer.kind!r} has no gradient",
                f"attack without gradients (square), or add `gradient` to its module; with one: {', '.join(known)}",
            )


def limits(layer: QLayer, variant: Variant) -> tuple[float, float]:
    """Between which values before the clamp, both included, a layer passes gradients."""
    low, high = clamp_of(layer)
    if variant == "identity":
        return -np.inf, np.inf
    return low, np.inf if variant == "relu" else high


def forward(model: QModel, x: NDArray[Any], variant: Variant = "clip") -> Tape:
    """The tape of x (n, *input shape) in lattice coordinates: integers, except in the variant "smooth"."""
    tensors: list[NDArray[Any]] = [x]
    values = []
    for layer in model.layers:
        found = _values(model, layer, tensors, variant != "smooth")
        values.append(found)
        tensors.append(np.clip(found, *layer.params["activation"]) if "activation" in layer.params else found)
    last, output = model.layers[-1], model.output.quantization
    smooth = _values(model, last, tensors, False).reshape(len(x), model.output.size_bytes)
    return Tape(tuple(tensors), tuple(values), np.asarray((smooth - output.zero_point) * output.scale))


def backward(model: QModel, tape: Tape, slope: NDArray[Any], variant: Variant = "clip") -> NDArray[np.float64]:
    """float64 (n, *input shape): the derivative by the input, per lattice step, of what has the derivative `slope`
    (n, classes) by the real logits."""
    upstream: list[NDArray[Any] | None] = [None] * len(tape.tensors)
    upstream[-1] = np.asarray(slope * model.output.quantization.scale).reshape(tape.tensors[-1].shape)
    for i, layer in reversed(list(enumerate(model.layers))):
        arriving = upstream[i + 1]
        if arriving is None:
            continue
        if i + 1 < len(model.layers):
            low, high = limits(layer, variant)
            arriving = arriving * ((tape.values[i] >= low) & (tape.values[i] <= high))
        inputs = [tape.tensors[t] for t in layer.inputs]
        for t, part in zip(
            layer.inputs, _kind(layer).gradient(layer, model.input_specs(layer), inputs, arriving), strict=True
        ):
            before = upstream[t]
            upstream[t] = part if before is None else before + part
    found = upstream[0]
    return np.zeros(tape.tensors[0].shape) if found is None else np.asarray(found, np.float64)


def _values(model: QModel, layer: QLayer, tensors: Sequence[NDArray[Any]], rounded: bool) -> NDArray[Any]:
    inputs = [tensors[t] for t in layer.inputs]
    return np.asarray(_kind(layer).values(layer, model.input_specs(layer), inputs, rounded))


def _kind(layer: QLayer) -> ModuleType:
    return registry.load("layers", layer.kind)
