"""TensorFlow Lite on the host: the one door to its interpreter, and the import of int8 models as QModels.

tflite-runtime up to Python 3.11, its successor ai-edge-litert beyond; the full TensorFlow where neither is installed.
Not for a process that has loaded TensorFlow: tflite-runtime and TensorFlow share symbols and crash.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import ConfigError, ToolError, UnsupportedError
from pipeline.core.nouns import Int8Array, QLayer, QModel, Quantization, TensorSpec
from pipeline.network import arith, geometry, rescale

PACKAGES = ("tflite_runtime.interpreter", "ai_edge_litert.interpreter", "tensorflow.lite.python.interpreter")
RENAMES = frozenset({"RESHAPE"})
ENDINGS = frozenset({"SOFTMAX"})
"""Monotonic last layers that are left out: logits decide as well."""


def interpreter(model: Path) -> Any:
    """An allocated TensorFlow Lite interpreter of the file, on its reference kernels.

    ConfigError when the file is no model, ToolError when no interpreter is installed or NumPy is too new for it.
    """
    module = _module()
    try:
        made = module.Interpreter(str(model), experimental_op_resolver_type=module.OpResolverType.BUILTIN_REF)
        made.allocate_tensors()
    except (ValueError, RuntimeError, OSError) as error:
        raise ConfigError(f"{model}: no TensorFlow Lite model ({str(error).splitlines()[0]})") from error
    except (AttributeError, ImportError) as error:
        hint = "tflite-runtime 2.14 needs NumPy 1; install 'numpy<2' or ai-edge-litert"
        raise ToolError(f"the TensorFlow Lite interpreter does not start: {error}", hint) from error
    return made


def backend() -> str:
    """Name and version of the installed interpreter."""
    name = _module().__name__.split(".")[0]
    return f"{name} {getattr(importlib.import_module(name), '__version__', '')}".strip()


def _module() -> Any:
    for name in PACKAGES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ToolError("no TensorFlow Lite interpreter is installed", "pip install 'tritmcu[tflite]'")


def predict(model: Path, x: Int8Array, tensor: int | None = None) -> Int8Array:
    """int8 (n, *shape) of the output, or of tensor `tensor`, for x int8 (n, *input shape)."""
    engine = interpreter(model)
    wanted = engine.get_output_details()[0]["index"] if tensor is None else tensor
    source = engine.get_input_details()[0]
    out = []
    for sample in x:
        engine.set_tensor(source["index"], sample.reshape(source["shape"]))
        engine.invoke()
        out.append(engine.get_tensor(wanted)[0].copy())
    return np.asarray(out, dtype=np.int8)


def import_model(path: Path, name: str, classes: Sequence[str]) -> QModel:
    """The int8 model in the file as a QModel: the same integers, kernel by kernel.

    A closing softmax is left out. UnsupportedError names an operation that has no layer kind here. Strides and padding
    are read off the shapes, since the interpreter does not tell them.
    """
    return _Import(path).run(name, tuple(classes))


class _Import:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.engine = interpreter(path)
        self.details = {d["index"]: d for d in self.engine.get_tensor_details()}
        source = self.engine.get_input_details()[0]["index"]
        self.number = {source: 0}
        self.source = source
        self.layers: list[QLayer] = []

    def run(self, name: str, classes: tuple[str, ...]) -> QModel:
        for op in self.engine._get_ops_details():
            if op["op_name"] in ENDINGS:
                continue
            if op["op_name"] in RENAMES:
                self._flatten(op)
                continue
            try:
                convert = CONVERSIONS[op["op_name"]]
            except KeyError:
                known = ", ".join(sorted(CONVERSIONS))
                raise UnsupportedError(
                    f"{self.path}: no layer for operation {op['op_name']}", f"known: {known}"
                ) from None
            self._append(op, convert(self, op))
        return QModel(name, self.spec(self.source), classes, tuple(self.layers))

    def spec(self, index: int) -> TensorSpec:
        detail = self.details[index]
        if detail["dtype"] is not np.int8:
            raise UnsupportedError(f"{self.path}: tensor {detail['name']!r} is {detail['dtype'].__name__}, not int8")
        scale, zero_point = detail["quantization"]
        return TensorSpec(tuple(int(n) for n in detail["shape"][1:]), Quantization(float(scale), int(zero_point)))

    def constant(self, index: int) -> Any:
        return self.engine.get_tensor(index)

    def _append(self, op: Mapping[str, Any], layer: QLayer) -> None:
        self.layers.append(layer)
        self.number[op["outputs"][0]] = len(self.layers)

    def _flatten(self, op: Mapping[str, Any]) -> None:
        source, target = op["inputs"][0], op["outputs"][0]
        layer = QLayer(f"flatten{len(self.layers)}", "flatten", (self.number[source],), self.spec(target))
        self._append(op, layer)

    def base(self, op: Mapping[str, Any], kind: str, **rest: Any) -> QLayer:
        """A layer of `kind` on the op's activations."""
        inputs = tuple(self.number[i] for i in op["inputs"] if i in self.number)
        return QLayer(f"{kind}{len(self.layers)}", kind, inputs, self.spec(op["outputs"][0]), **rest)

    def window(self, op: Mapping[str, Any], kernel: tuple[int, int]) -> dict[str, tuple[int, int]]:
        """stride and padding of a sliding window, from the shapes."""
        found = [
            _window(n, out, k)
            for n, out, k in zip(
                self.spec(op["inputs"][0]).shape[:2], self.spec(op["outputs"][0]).shape[:2], kernel, strict=True
            )
        ]
        return {"stride": (found[0][0], found[1][0]), "padding": (found[0][1], found[1][1])}

    def weighted(self, op: Mapping[str, Any], kind: str, weights: Int8Array, **params: Any) -> QLayer:
        source, output = self.spec(op["inputs"][0]).quantization, self.spec(op["outputs"][0]).quantization
        scales = np.asarray(self.details[op["inputs"][1]]["quantization_parameters"]["scales"], np.float64)
        channels = weights.shape[-1] if kind == "depthwise_conv2d" else weights.shape[0]
        real = np.broadcast_to(source.scale * scales / output.scale, channels)
        pairs = [arith.quantize_multiplier(float(r)) for r in real]
        params["activation"] = (output.qmin, output.qmax)
        return self.base(
            op, kind, params=params, weights=np.ascontiguousarray(weights),
            bias=self.constant(op["inputs"][2]), multiplier=np.array([m for m, _ in pairs], np.int32),
            shift=np.array([s for _, s in pairs], np.int8),
        )  # fmt: skip


def _window(size: int, out: int, kernel: int) -> tuple[int, int]:
    """(stride, padding before) of the smallest stride that gives `out` elements, valid padding first."""
    for stride in range(1, size + 1):
        for padding in ("valid", "same"):
            extent, before = geometry.extent(size, kernel, stride, padding)
            if extent == out:
                return stride, before
    raise UnsupportedError(f"no stride makes {out} of {size} with a window of {kernel}")


def _conv2d(model: _Import, op: Mapping[str, Any]) -> QLayer:
    weights = model.constant(op["inputs"][1])
    return model.weighted(op, "conv2d", weights, **model.window(op, weights.shape[1:3]))


def _depthwise(model: _Import, op: Mapping[str, Any]) -> QLayer:
    weights = model.constant(op["inputs"][1])[0]
    return model.weighted(op, "depthwise_conv2d", weights, **model.window(op, weights.shape[:2]))


def _dense(model: _Import, op: Mapping[str, Any]) -> QLayer:
    return model.weighted(op, "dense", model.constant(op["inputs"][1]))


def _add(model: _Import, op: Mapping[str, Any]) -> QLayer:
    first, second, out = (model.spec(i).quantization for i in (*op["inputs"], op["outputs"][0]))
    params = {**rescale.add_params(first, second, out), "activation": (out.qmin, out.qmax)}
    return model.base(op, "add", params=params)


def _average_pool(model: _Import, op: Mapping[str, Any]) -> QLayer:
    source, output = model.spec(op["inputs"][0]), model.spec(op["outputs"][0])
    pool = (source.shape[0] // output.shape[0], source.shape[1] // output.shape[1])
    params = {"pool": pool, "stride": pool, "padding": (0, 0), "activation": (-128, 127)}
    return model.base(op, "average_pool2d", params=params)


CONVERSIONS: Mapping[str, Callable[[_Import, Mapping[str, Any]], QLayer]] = {
    "CONV_2D": _conv2d,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _dense,
    "ADD": _add,
    "AVERAGE_POOL_2D": _average_pool,
}
