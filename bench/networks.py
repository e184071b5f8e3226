"""The networks of the bench: MLPerf-Tiny's ResNet-8 and DS-CNN in shape, with ternary weights drawn from a seed, and
the trained ones of the zoo."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.core import paths, registry, store
from pipeline.core.nouns import Int8Array, QLayer, QModel, Quantization, TensorSpec
from pipeline.network import arith, geometry, rescale

ZOO = paths.RESOURCES / "zoo"
DENSITY = 0.5
"""Share of nonzero weights; trained networks have 0.43 to 0.55."""
RELU = Quantization(2.0**-6, -128)
LINEAR = Quantization(2.0**-5, 0)
SUM = Quantization(2.0**-5, -128)
SPREAD = {RELU: 64.0, LINEAR: 32.0}
"""Standard deviation of a layer's outputs before the clamp, in steps of the output."""


class Builder:
    """Adds layers one after another and runs each at once, so that the next is scaled to its actual inputs.
    Every method returns the number of the new tensor."""

    def __init__(self, shape: tuple[int, ...], seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.specs = [TensorSpec(shape, Quantization(1 / 255, -128))]
        self.values = [samples(self.specs[0], 2, seed)]
        self.layers: list[QLayer] = []

    def model(self, name: str) -> QModel:
        classes = tuple(f"class{i}" for i in range(self.specs[-1].size_bytes))
        return QModel(name, self.specs[0], classes, tuple(self.layers))

    def conv(self, name: str, source: int, channels: int, kernel: tuple[int, int], stride: int = 1,
             output: Quantization = RELU) -> int:  # fmt: skip
        """2-D convolution, "same" padding."""
        shape, params = _geometry(self.specs[source].shape, channels, kernel, stride)
        weights = self._ternary((channels, *kernel, self.specs[source].shape[2]))
        return self._weighted(name, "conv2d", source, TensorSpec(shape, output), weights, channels, params)

    def depthwise(self, name: str, source: int, kernel: tuple[int, int] = (3, 3)) -> int:
        """Depthwise convolution, "same" padding, stride 1."""
        channels = self.specs[source].shape[2]
        shape, params = _geometry(self.specs[source].shape, channels, kernel, 1)
        weights = self._ternary((*kernel, channels))
        return self._weighted(name, "depthwise_conv2d", source, TensorSpec(shape, RELU), weights, channels, params)

    def dense(self, name: str, source: int, outputs: int) -> int:
        """Dense layer with one scale for all outputs, as int8 libraries have it."""
        weights = self._ternary((outputs, self.specs[source].size_bytes))
        return self._weighted(name, "dense", source, TensorSpec((outputs,), LINEAR), weights, 1, {})

    def add(self, name: str, first: int, second: int) -> int:
        """Residual sum with ReLU."""
        output = TensorSpec(self.specs[first].shape, SUM)
        params = rescale.add_params(self.specs[first].quantization, self.specs[second].quantization, SUM)
        return self._append(QLayer(name, "add", (first, second), output, {**params, "activation": (-128, 127)}))

    def pool(self, name: str, source: int) -> int:
        """Mean of each channel."""
        h, w, channels = self.specs[source].shape
        output = TensorSpec((1, 1, channels), self.specs[source].quantization)
        params = {"pool": (h, w), "stride": (h, w), "padding": (0, 0), "activation": (-128, 127)}
        return self._append(QLayer(name, "average_pool2d", (source,), output, params))

    def _ternary(self, shape: tuple[int, ...]) -> Int8Array:
        signs = self.random.choice(np.array([-1, 1], np.int8), shape)
        return np.where(self.random.random(shape) < DENSITY, signs, 0).astype(np.int8)

    def _weighted(self, name: str, kind: str, source: int, output: TensorSpec, weights: Int8Array, scales: int,
                  params: dict[str, tuple[int, int]]) -> int:  # fmt: skip
        """scales: how many different output scales, one per channel, or a single one."""
        channels = output.shape[-1]
        inputs = self.values[source].astype(np.float64) - self.specs[source].quantization.zero_point
        spread = np.sqrt(np.mean(inputs**2) * DENSITY * weights.size / channels)
        wanted = SPREAD[output.quantization] / spread * self.random.uniform(0.5, 2.0, scales)
        pairs = np.array([arith.quantize_multiplier(float(real)) for real in np.resize(wanted, channels)])
        bias = self.random.normal(0, 0.2 * spread, channels)
        layer = QLayer(
            name, kind, (source,), output, {**params, "activation": (-128, 127)}, weights, 2, bias.astype(np.int32),
            pairs[:, 0].astype(np.int32), pairs[:, 1].astype(np.int8),
        )  # fmt: skip
        return self._append(layer)

    def _append(self, layer: QLayer) -> int:
        specs = [self.specs[t] for t in layer.inputs]
        kind = registry.load("layers", layer.kind)
        self.values.append(kind.reference(layer, specs, [self.values[t] for t in layer.inputs]))
        self.layers.append(layer)
        self.specs.append(layer.output)
        return len(self.layers)


def resnet8() -> QModel:
    """ResNet-8 for 32x32x3: 77 k weights, 12.5 M multiply-accumulates."""
    b = Builder((32, 32, 3))
    x = b.conv("stem", 0, 16, (3, 3))
    for number, channels in enumerate((16, 32, 64), 1):
        stride = 1 if number == 1 else 2
        y = b.conv(f"stack{number}_conv1", x, channels, (3, 3), stride)
        if stride != 1:
            x = b.conv(f"stack{number}_shortcut", x, channels, (1, 1), stride, LINEAR)
        y = b.conv(f"stack{number}_conv2", y, channels, (3, 3), output=LINEAR)
        x = b.add(f"stack{number}_add", x, y)
    b.dense("logits", b.pool("pool", x), 10)
    return b.model("resnet8")


def dscnn() -> QModel:
    """DS-CNN for 49x10x1: 23 k weights, 2.7 M multiply-accumulates."""
    b = Builder((49, 10, 1))
    x = b.conv("stem", 0, 64, (10, 4), 2)
    for number in range(1, 5):
        x = b.conv(f"block{number}_pw", b.depthwise(f"block{number}_dw", x), 64, (1, 1))
    b.dense("logits", b.pool("pool", x), 12)
    return b.model("dscnn")


def dense512() -> QModel:
    """One large dense layer, 512 to 128: neither network has one."""
    b = Builder((512,))
    b.dense("dense", 0, 128)
    return b.model("dense512")


def stored() -> tuple[QModel, ...]:
    """Every network of the zoo, named after its folder."""
    folders = sorted(path.parent for path in ZOO.glob("*/meta.json"))
    models = ((folder.name, store.load(folder, QModel)) for folder in folders)
    return tuple(QModel(name, m.input, m.classes, m.layers) for name, m in models)


def samples(spec: TensorSpec, n: int, seed: int = 1) -> Int8Array:
    """int8 (n, *shape), uniform over all values but for 40 % at the zero point."""
    random = np.random.default_rng(seed)
    x = random.integers(-128, 128, (n, *spec.shape))
    return np.where(random.random(x.shape) < 0.4, spec.quantization.zero_point, x).astype(np.int8)


def _geometry(
    shape: Sequence[int], channels: int, kernel: tuple[int, int], stride: int
) -> tuple[tuple[int, ...], dict[str, tuple[int, int]]]:
    """Output shape and params of a "same" convolution."""
    (h, top), (w, left) = (geometry.extent(n, k, stride, "same") for n, k in zip(shape[:2], kernel, strict=True))
    return (h, w, channels), {"stride": (stride, stride), "padding": (top, left)}
