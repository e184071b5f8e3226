"""Average and maximum of windows by CMSIS-NN: firmware/nn/cmsis/nn_pool2d_cmsis.c."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.codegen.kernels import _cmsis
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls

FUNCTIONS = {"average_pool2d": "arm_avgpool_s8", "max_pool2d": "arm_max_pool_s8"}
"""In CMSIS-NN, by layer kind."""
SUM_BYTES = 4
"""Scratch of a channel's sum; a maximum needs none."""


def serves(layer: QLayer, specs: Sequence[TensorSpec], core: str) -> str:
    return "" if layer.kind in FUNCTIONS else f"it computes {' and '.join(FUNCTIONS)} layers"


def call(layer: QLayer, specs: Sequence[TensorSpec], core: str) -> KernelCall:
    function, averages = FUNCTIONS[layer.kind], layer.kind == "average_pool2d"
    height, width = layer.params["pool"]
    params = calls.params(
        "nn_cmsis_pool_params",
        run=function,
        **({"scratch": f"{function}_get_buffer_size"} if averages else {}),
        pool={
            "stride": calls.tile(layer.params["stride"]),
            "padding": calls.tile(layer.params["padding"]),
            "activation": calls.activation(layer),
        },
        input=_cmsis.dims(specs[0].shape),
        filter={"n": 1, "h": height, "w": width, "c": 1},
        output=_cmsis.dims(layer.output.shape),
    )
    return KernelCall(
        function="nn_pool2d_cmsis",
        args=(calls.CTX, params, calls.input_arg(), calls.OUTPUT),
        tables={},
        scratch_bytes=SUM_BYTES * specs[0].shape[2] if averages else 0,
    )
