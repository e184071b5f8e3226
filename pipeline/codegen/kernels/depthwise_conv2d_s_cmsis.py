"""Depthwise convolution with weights of 8 or 4 bits by CMSIS-NN: firmware/nn/cmsis/nn_depthwise_conv2d_s_cmsis.c."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.codegen.kernels import _cmsis, _ternary
from pipeline.config.cores import has_vectors
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec


def serves(layer: QLayer, specs: Sequence[TensorSpec], core: str) -> str:
    reason = _cmsis.objection(layer, "depthwise_conv2d")
    if reason or layer.weight_bits == 8:
        return reason
    # Of 4 bits, V.19.1.0 gives other results with a multiplier and, compiled by GCC 12, with vectors.
    vectors = "of 4 bits it is for cores without vectors" if has_vectors(core) else ""
    return _ternary.multiplier_objection(layer, specs[0]) or vectors


def call(layer: QLayer, specs: Sequence[TensorSpec], core: str) -> KernelCall:
    assert layer.weights is not None
    shape, channels = (1, *layer.weights.shape), specs[0].shape[2]
    multiplier = layer.weights.shape[2] // channels
    scratch = scratch_bytes(layer, channels, core)
    return _cmsis.convolution(layer, specs[0], shape, "arm_depthwise_conv_wrapper", scratch, ch_mult=multiplier)


def scratch_bytes(layer: QLayer, channels: int, core: str) -> int:
    """The most that any variant asks for: of one input channel, CMSIS-NN may convolve with weights turned around."""
    assert layer.weights is not None
    height, width, outputs = layer.weights.shape
    taps = height * width
    if has_vectors(core):
        turned = _cmsis.window_bytes(taps, core) + taps * outputs if channels == 1 else 0
        return max(4 * _cmsis.VECTOR_CHANNELS * taps, turned)
    return 2 * channels * taps
