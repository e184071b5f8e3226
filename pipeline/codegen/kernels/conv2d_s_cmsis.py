"""Convolution with weights of 8 or 4 bits by CMSIS-NN: firmware/nn/cmsis/nn_conv2d_s_cmsis.c."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.codegen.kernels import _cmsis
from pipeline.core.nouns import KernelCall, QLayer, TensorSpec


def serves(layer: QLayer, specs: Sequence[TensorSpec], core: str) -> str:
    return _cmsis.objection(layer, "conv2d")


def call(layer: QLayer, specs: Sequence[TensorSpec], core: str) -> KernelCall:
    assert layer.weights is not None
    inputs = layer.weights[0].size
    return _cmsis.convolution(
        layer, specs[0], layer.weights.shape, "arm_convolve_wrapper", _cmsis.window_bytes(inputs, core)
    )
