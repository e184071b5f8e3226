"""Element-wise sum for cores with the DSP extension: firmware/nn/dsp/nn_add_dsp.c."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.codegen.kernels import _dsp
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import arith, calls

VALUES = 256
"""Of an input, in a table each."""
TABLE_BYTES = 4 * VALUES
"""Of each input."""
ENTRY_COST = 20
"""Instructions, roughly, of an entry of a table."""


def serves(layer: QLayer, specs: Sequence[TensorSpec]) -> str:
    if layer.kind != "add":
        return "it computes add layers"
    if not _dsp.LOWEST_SHIFT <= layer.params["output_shift"] < 0:
        return f"the output's shift is {layer.params['output_shift']}, not {_dsp.LOWEST_SHIFT} to -1"
    return "" if _largest(layer, specs) < 1 << 30 else "sums reach 2^30"


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    return KernelCall(
        function="nn_add_dsp",
        args=(calls.CTX, *calls.add_args(layer, specs)),
        tables={},
        scratch_bytes=2 * TABLE_BYTES,
        in_place=0,
        start_cost=2 * VALUES * ENTRY_COST,
    )


def _largest(layer: QLayer, specs: Sequence[TensorSpec]) -> int:
    """Largest |sum| on the common scale, or of an input shifted left on the way, whichever is larger."""
    values = np.arange(-128, 128, dtype=np.int64)
    total = 0
    for i, spec in enumerate(specs, 1):
        wide = (values - spec.quantization.zero_point) << arith.ADD_LEFT_SHIFT
        scaled = arith.requantize(wide, layer.params[f"input{i}_mult"], layer.params[f"input{i}_shift"])
        total += int(np.abs(scaled).max())
    return total
