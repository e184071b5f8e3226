"""Optimised kernel families, one module each, named by operation and core family. A module has

serves(layer, specs, core) -> "" when it computes this layer on this core bit for bit as the layer's reference kernel
    does, else the reason why not (one clause, for a person)
call(layer, specs) -> KernelCall with its tables packed; only for a layer it serves

where specs are the TensorSpecs of the layer's inputs and core is a key of board.CORE_FLAGS. pipeline/select.py chooses.
"""
