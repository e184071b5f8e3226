"""The MLPerf-Tiny reference model of resnet8 (mlcommons/tiny, pretrainedResnet.h5, Apache-2.0, float): a warm start for
ours, and a teacher.

The reference has plain convolutions with bias and ReLUs of any range; ours bounded ones ([0, 4) and [0, 8)). A ReLU
network is positively homogeneous, so every tensor is scaled to fill its range and the scales are taken back in the next
layer: at 32-bit weights both networks would compute the same logits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ConfigError
from pipeline.training.blocks import BN_EPSILON, RELU_INTEGER, SUM_INTEGER
from pipeline.training.keras_backend import keras, to_numpy

FILE = Path("mlperf_tiny") / "pretrainedResnet.h5"
EPSILON = 1e-3
"""Of the reference's batch normalizations."""
INPUT, CLASSES = (32, 32, 3), 10
FILL, QUANTILE = 0.95, 0.9995
"""A tensor's QUANTILE comes to lie at FILL times its range."""
CONVOLUTIONS = ("stem", "stack1_conv1", "stack1_conv2", "stack2_conv1", "stack2_conv2", "stack2_shortcut",
                "stack3_conv1", "stack3_conv2", "stack3_shortcut")  # fmt: skip
"""Ours, in the order of the reference's conv2d, conv2d_1, ...; shortcuts have no batch normalization there."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Convolution:
    kernel: Floats
    bias: Floats
    norm: Mapping[str, Floats]
    """gamma, beta, moving_mean, moving_variance; empty for a shortcut."""
    strides: int


def warm_start(model: Any, root: Path | None, x: NDArray[np.float32]) -> None:
    """Sets the resnet8's weights from root/mlperf_tiny/pretrainedResnet.h5; x: real images (n, 32, 32, 3) in [0, 1]
    that show the ranges. ConfigError when the file is missing or the model has another width."""
    convolutions, dense = _read(_file(root, "initial"))
    if model.get_layer("stem").filters != len(convolutions["stem"].bias):
        raise ConfigError("train.initial: the reference model has width 1", "set model.width to 1 or more")
    _Transfer(model, convolutions).run(x, dense)


def reference(root: Path | None) -> Callable[[Any], Any]:
    """The reference model as a function: real images (n, 32, 32, 3) in [0, 1] -> logits (n, 10). ConfigError when the
    file is missing."""
    convolutions, (kernel, bias) = _read(_file(root, "distill"))

    def output(name: str, x: Any) -> Any:
        gain, shift = _affine(convolutions[name])
        return _convolved(convolutions[name], x) * gain.astype(np.float32) + shift.astype(np.float32)

    def run(x: Any) -> Any:
        relu = keras.ops.relu
        x = relu(output("stem", x))
        for name in ("stack1", "stack2", "stack3"):
            main = output(f"{name}_conv2", relu(output(f"{name}_conv1", x)))
            x = relu(main + (x if name == "stack1" else output(f"{name}_shortcut", x)))
        return keras.ops.mean(x, axis=(1, 2)) @ kernel.astype(np.float32) + bias.astype(np.float32)

    return run


def _file(root: Path | None, option: str) -> Path:
    if root is None or not (root / FILE).exists():
        raise ConfigError(
            f"train.{option}: {FILE} is not in TRITMCU_DATA", f"set TRITMCU_DATA, or remove train.{option}"
        )
    return root / FILE


def _read(path: Path) -> tuple[dict[str, _Convolution], tuple[Floats, Floats]]:
    import h5py

    with h5py.File(path) as file:
        weights = file["model_weights"]

        def arrays(name: str) -> dict[str, Floats]:
            return {key.split(":")[0]: np.asarray(value, np.float64) for key, value in weights[name][name].items()}

        found, norms = {}, 0
        for number, name in enumerate(CONVOLUTIONS):
            conv = arrays(f"conv2d_{number}" if number else "conv2d")
            shortcut = name.endswith("shortcut")
            norm = {} if shortcut else arrays(f"batch_normalization_{norms}" if norms else "batch_normalization")
            norms += not shortcut
            strides = 2 if name in {"stack2_conv1", "stack3_conv1"} or shortcut else 1
            found[name] = _Convolution(conv["kernel"], conv["bias"], norm, strides)
        dense = arrays("dense")
    found["stem"] = _Convolution(found["stem"].kernel * 255, found["stem"].bias, found["stem"].norm, 1)
    return found, (dense["kernel"], dense["bias"])


class _Transfer:
    def __init__(self, model: Any, convolutions: Mapping[str, _Convolution]) -> None:
        self.model = model
        self.convolutions = convolutions

    def run(self, x: NDArray[np.float32], dense: tuple[Floats, Floats]) -> None:
        stem = _relu(self._output("stem", x))
        scale = self._set_stack("stack1", x, stem, first=True)
        x = stem
        for name in ("stack1", "stack2", "stack3"):
            if name != "stack1":
                scale = self._set_stack(name, x, x, before=scale)
            x = self._stack_output(name, x)
        logits = self.model.get_layer("logits")
        logits.kernel.assign(dense[0] / scale)
        logits.bias.assign(dense[1])

    def _set_stack(self, name: str, source: Any, x: Any, before: float = 1.0, first: bool = False) -> float:
        """Sets the layers of a residual stack (and the stem before the first); returns the scale of its output."""
        hidden = _relu(self._output(f"{name}_conv1", x))
        main = self._output(f"{name}_conv2", hidden)
        other = x if first else self._output(f"{name}_shortcut", x)
        parts = min(_fit(np.abs(main), RELU_INTEGER), _fit(np.abs(other), RELU_INTEGER))
        scale = min(parts, _fit(_relu(main + other), SUM_INTEGER))
        if first:
            self._set("stem", source, 1.0, scale)
            before = scale
        inner = _fit(hidden, RELU_INTEGER)
        self._set(f"{name}_conv1", x, before, inner)
        self._set(f"{name}_conv2", hidden, inner, scale)
        if not first:
            self._set(f"{name}_shortcut", x, before, scale)
        return scale

    def _stack_output(self, name: str, x: Any) -> Any:
        main = self._output(f"{name}_conv2", _relu(self._output(f"{name}_conv1", x)))
        return _relu(main + (x if name == "stack1" else self._output(f"{name}_shortcut", x)))

    def _plain(self, name: str, x: Any) -> Any:
        """The reference's convolution without its bias."""
        return to_numpy(_convolved(self.convolutions[name], x)).astype(np.float32)

    def _output(self, name: str, x: Any) -> Any:
        """The reference's convolution, bias and batch normalization of x."""
        conv, y = self.convolutions[name], self._plain(name, x)
        gain, shift = _affine(conv)
        return (y * gain + shift).astype(np.float32)

    def _set(self, name: str, x: Any, before: float, after: float) -> None:
        """Our layer for an input that is `before` times the reference's x and an output `after` times its output."""
        conv, y = self.convolutions[name], self._plain(name, x)
        gain, shift = _affine(conv)
        unit = np.sqrt(2 / np.prod(conv.kernel.shape[:3])) / conv.kernel.std()  # as if freshly initialized (He)
        factor = unit * before
        mean, variance = y.mean(axis=(0, 1, 2)) * factor, y.var(axis=(0, 1, 2)) * factor**2
        gamma = after * gain / factor * np.sqrt(variance + BN_EPSILON)
        beta = after * (gain * mean / factor + shift)
        self.model.get_layer(name).kernel.assign(conv.kernel * unit)
        norm = self.model.get_layer(f"{name}_bn")
        for variable, value in zip(
            (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance), (gamma, beta, mean, variance), strict=True
        ):
            variable.assign(value)


def _convolved(conv: _Convolution, x: Any) -> Any:
    return keras.ops.conv(x, conv.kernel.astype(np.float32), strides=conv.strides, padding="same")


def _affine(conv: _Convolution) -> tuple[Floats, Floats]:
    """(gain, shift) per channel that turn the plain convolution into the layer's output."""
    if not conv.norm:
        return np.ones_like(conv.bias), conv.bias
    gain = conv.norm["gamma"] / np.sqrt(conv.norm["moving_variance"] + EPSILON)
    return gain, conv.norm["beta"] + gain * (conv.bias - conv.norm["moving_mean"])


def _relu(x: Any) -> Any:
    return np.maximum(x, 0)


def _fit(x: Any, integer: int) -> float:
    """Scale that brings the values x into [0, 2^integer)."""
    return float(FILL * 2.0**integer / max(np.quantile(x, QUANTILE), 1e-6))
