"""Building blocks of kernel calls and of the NumPy specification that several layer kinds share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.nouns import Arg, KernelCall, QLayer, TensorSpec

CTX = Arg("ctx")
OUTPUT = Arg("output")
QUANT = Arg("quant")
"""Per-channel requantization from the tables "multiplier" and "shift"."""


def input_arg(index: int = 0) -> Arg:
    return Arg("input", index=index)


def table(name: str) -> Arg:
    return Arg("table", name=name)


def params(ctype: str, **fields: Any) -> Arg:
    """A C struct constant: ints, or mappings for nested structs."""
    return Arg("params", ctype=ctype, fields=fields)


def dims(n: int, h: int, w: int, c: int) -> Arg:
    return Arg("dims", fields={"n": n, "h": h, "w": w, "c": c})


def map_dims(shape: tuple[int, ...]) -> Arg:
    """Dims of an activation: (h, w, c), or a vector of features as 1 x 1 x features."""
    h, w, c = shape if len(shape) == 3 else (1, 1, int(np.prod(shape)))
    return dims(1, h, w, c)


def tile(pair: tuple[int, int]) -> dict[str, int]:
    """nn_tile from (h, w)."""
    return {"w": pair[1], "h": pair[0]}


def activation(layer: QLayer) -> dict[str, int]:
    low, high = layer.params["activation"]
    return {"min": low, "max": high}


def offsets(layer: QLayer, spec: TensorSpec) -> dict[str, int]:
    """input_offset and output_offset of a layer that reads a tensor of that spec, CMSIS-NN's: minus and plus the zero
    points."""
    return {
        "input_offset": -spec.quantization.zero_point,
        "output_offset": layer.output.quantization.zero_point,
    }


def conv_fields(layer: QLayer, spec: TensorSpec, **ch_mult: int) -> dict[str, Any]:
    """Fields of nn_conv_params in the struct's order; with ch_mult, of nn_dw_conv_params."""
    return {
        **offsets(layer, spec),
        **ch_mult,
        "stride": tile(layer.params["stride"]),
        "padding": tile(layer.params["padding"]),
        "activation": activation(layer),
    }


def fc_fields(layer: QLayer, spec: TensorSpec) -> dict[str, Any]:
    """Fields of nn_fc_params."""
    return {**offsets(layer, spec), "activation": activation(layer)}


def weighted_args(params: Arg, layer: QLayer, spec: TensorSpec, filter_dims: Arg) -> tuple[Arg, ...]:
    """Arguments of a weighted layer's kernel in CMSIS-NN's order."""
    return (
        CTX,
        params,
        QUANT,
        map_dims(spec.shape),
        input_arg(),
        filter_dims,
        table("filter"),
        table("bias"),
        map_dims(layer.output.shape),
        OUTPUT,
    )


def fc_args(layer: QLayer, spec: TensorSpec) -> tuple[Arg, ...]:
    """Arguments of a dense layer's kernel; its weights are (outputs, features)."""
    assert layer.weights is not None
    outputs, features = layer.weights.shape
    return weighted_args(params("nn_fc_params", **fc_fields(layer, spec)), layer, spec, dims(outputs, 1, 1, features))


def add_args(layer: QLayer, specs: Sequence[TensorSpec]) -> tuple[Arg, ...]:
    """Arguments of an element-wise sum's kernel."""
    p, zeros = layer.params, [spec.quantization.zero_point for spec in specs]
    offset = {"input1": -zeros[0], "input2": -zeros[1], "output": layer.output.quantization.zero_point}
    # In the struct's order: the twin fills it by position.
    fields = {
        f"{tensor}_{part}": offset[tensor] if part == "offset" else p[f"{tensor}_{part}"]
        for tensor in offset
        for part in ("offset", "mult", "shift")
    }
    return (
        params(
            "nn_add_params",
            **fields,
            activation=activation(layer),
        ),
        map_dims(layer.output.shape),
        input_arg(0),
        input_arg(1),
        OUTPUT,
    )


def requant_tables(layer: QLayer) -> dict[str, NDArray[Any]]:
    """bias, multiplier and shift of a weighted layer as constant tables: 9 bytes a channel."""
    assert layer.bias is not None and layer.multiplier is not None and layer.shift is not None
    return {"bias": layer.bias, "multiplier": layer.multiplier, "shift": layer.shift}


def pool(function: str, layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    """The call of a pooling kernel."""
    h, w = layer.params["pool"]
    return KernelCall(
        function=function,
        args=(
            params(
                "nn_pool_params",
                stride=tile(layer.params["stride"]),
                padding=tile(layer.params["padding"]),
                activation=activation(layer),
            ),
            map_dims(specs[0].shape),
            input_arg(),
            dims(1, h, w, 1),
            map_dims(layer.output.shape),
            OUTPUT,
        ),
        tables={},
    )
