"""Optimized kernels, one module each, <operation>[_<weights>]_<family>. One stem everywhere: the module `conv2d_t2_dsp`
packs for the C function `nn_conv2d_t2_dsp` in firmware/nn/dsp/nn_conv2d_t2_dsp.c. That folder is the kernel's family:
which cores execute it, and which family goes first, says config/cores.py. A module has

serves(layer, specs) -> "" when the kernel computes this layer bit for bit as the layer's reference kernel does, else
    the reason why not (one clause, for a person)
call(layer, specs) -> KernelCall with its tables packed; only for a layer it serves
MACS_PER_INSTRUCTION, where the kernel does every multiply-accumulate of a layer, also those with weights of zero: at
    most so many in one instruction

where specs are the TensorSpecs of the layer's inputs. codegen/select.py chooses.
"""

from __future__ import annotations

from pipeline.core import registry


def module_of(function: str) -> str:
    """The module in kernels that calls the C function, "" for a portable one: nn_depthwise_conv2d_s_rows_dsp is a
    variant of the module depthwise_conv2d_s_dsp."""
    for name in registry.names("kernels"):
        stem, _, family = name.rpartition("_")
        if function == f"nn_{name}" or (function.startswith(f"nn_{stem}_") and function.endswith(f"_{family}")):
            return name
    return ""
