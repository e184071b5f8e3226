"""Convolution with weights of 8, 4 or 3 bits for cores with the DSP extension: firmware/nn/dsp/nn_conv2d_s_dsp.c."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.codegen.kernels import _dsp, _fit, _signed
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec
from pipeline.network import calls, packing

MACS_PER_INSTRUCTION = 2
PIXELS, CHANNELS = 3, 2
"""Of a block."""
UNITS = {8: 4, 4: 4, 3: 16}
"""Inputs that windows are filled up to a multiple of, by weight bits."""
QUANT_BYTES, POINTER_BYTES = 16, 4


def serves(layer: QLayer, specs: Sequence[TensorSpec]) -> str:
    return _signed.objection(layer, "conv2d", specs[0])


def call(layer: QLayer, specs: Sequence[TensorSpec]) -> KernelCall:
    packing.require_range(layer)
    assert layer.weights is not None
    oc, kh, kw, ic = layer.weights.shape
    width, lanes = _dsp.pitch(layer, specs[0]), _signed.has_lanes(layer)
    fit = _fit.find_wide(layer, specs[0], _signed.SHIFTS)
    return KernelCall(
        function="nn_conv2d_s_dsp",
        args=_dsp.args(
            calls.params(
                "nn_dsp_signed_conv_params",
                conv=calls.conv_fields(layer, specs[0]),
                width="&nn_dsp_lanes" if lanes else f"&nn_dsp_s{layer.weight_bits}",
                depth=windows(layer).shape[1],
                pitch=width,
                is_fitted=int(fit is not None),
                write=f"nn_dsp_write_{'lanes' if lanes else 's'}{_signed.requantization(layer, fit)}",
            ),
            layer,
            specs[0],
            calls.dims(oc, kh, kw, ic),
        ),
        tables={"filter": pack(layer), "requant": _signed.requant(layer, specs[0], fit)},
        scratch_bytes=scratch_bytes(layer, width, fit is not None),
        in_place=0 if layer.output.shape == specs[0].shape else None,
        start_cost=(_dsp.rows_cost if fit else _dsp.start_cost)(layer, specs[0])
        + PIXELS * layer.weights.size,  # of a block that is not whole
    )


def windows(layer: QLayer) -> NDArray[np.int64]:
    """int64 (channels, inputs) of the filters, inputs in the order in which windows are laid out: see the C file."""
    assert layer.weights is not None
    oc, kh, kw, ic = layer.weights.shape
    both = _dsp.windows(layer.weights.astype(np.int64).reshape(oc, kh, kw * ic))
    return np.pad(both, ((0, 0), (0, -both.shape[1] % UNITS[layer.weight_bits])))


def pack(layer: QLayer) -> NDArray[np.uint32]:
    """uint32 words of the filter."""
    pairs = _signed.interleaved(windows(layer), CHANNELS)
    return _signed.lanes(pairs) if _signed.has_lanes(layer) else _signed.pack(pairs, layer.weight_bits)


def scratch_bytes(layer: QLayer, width: int, is_fitted: bool) -> int:
    """Bytes of the C file's workspace: requantization of all channels without a fit, windows, their rows, outputs of a
    block that is not whole, padded rows."""
    assert layer.weights is not None
    oc, kh, _, _ = layer.weights.shape
    quant = 0 if is_fitted else QUANT_BYTES * (oc + -oc % _dsp.CHANNELS)
    return quant + 2 * PIXELS * windows(layer).shape[1] + POINTER_BYTES * kh + PIXELS * (oc + oc % 2) + kh * width
