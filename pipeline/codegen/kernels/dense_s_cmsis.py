"""Dense layer with weights of 8 or 4 bits by CMSIS-NN: firmware/nn/cmsis/nn_dense_s_cmsis.c."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.codegen.kernels import _cmsis
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls


def serves(layer: QLayer, specs: Sequence[TensorSpec], core: str) -> str:
    reason = _cmsis.objection(layer, "dense")
    if not reason and layer.weight_bits == 4 and not has_one_scale(layer):
        return "of 4 bits it has one scale for all outputs"
    return reason


def call(layer: QLayer, specs: Sequence[TensorSpec], core: str) -> KernelCall:
    assert layer.weights is not None
    outputs, features = layer.weights.shape
    run = "arm_fully_connected_per_channel_s8"
    if has_one_scale(layer):
        run = f"arm_fully_connected_s{layer.weight_bits}"
    offsets = calls.fc_fields(layer, specs[0])
    params = calls.params(
        "nn_cmsis_fc_params",
        **{"run" if has_one_scale(layer) else "run_per_channel": run},
        fc={"input_offset": offsets["input_offset"], "filter_offset": 0, "output_offset": offsets["output_offset"],
            "activation": offsets["activation"]},
        input=_cmsis.dims((features,)),
        filter={"n": features, "h": 1, "w": 1, "c": outputs},
        bias=_cmsis.dims((outputs,)),
        output=_cmsis.dims((outputs,)),
    )  # fmt: skip
    tables = _cmsis.tables(layer)
    sums = tables["bias"] + np.int32(offsets["input_offset"]) * layer.weights.sum(axis=1, dtype=np.int32)
    names = ("filter", "bias", "sums", "multiplier", "shift")
    return KernelCall(
        function="nn_dense_s_cmsis",
        args=(params, calls.input_arg(), *map(calls.table, names), calls.OUTPUT),
        tables={**tables, "sums": sums},
    )


def has_one_scale(layer: QLayer) -> bool:
    """Whether all outputs are requantized alike."""
    assert layer.multiplier is not None and layer.shift is not None
    return len({*zip(layer.multiplier.tolist(), layer.shift.tolist(), strict=True)}) == 1
