"""Layer kinds, one module each; the portable C kernel of kind K is firmware/nn/reference/nn_K.c. A module has

reference(layer, specs, inputs) -> int8 (n, *output shape): the NumPy specification; inputs: int8 (n, *shape) each
kernel(layer, specs) -> KernelCall of the portable reference kernel, or None when the layer only renames its input
values(layer, specs, inputs, rounded) -> (n, *output shape) before the clamp: int64, what `reference` clamps; without
    rounding float64, the same network in real arithmetic, for inputs that need not be integers either
gradient(layer, specs, inputs, upstream) -> for each input float64 (n, *shape): upstream, a derivative by `values`
    (n, *output shape), times their derivative by the input as if nothing were rounded (straight-through)
macs(layer, specs) -> multiply-accumulates of one sample
row_window(layer) -> geometry.RowWindow: which input rows a row of the output is computed from; only where rows are
    computed independently of each other, so that codegen/cascade.py may compute some at a time

where specs are the TensorSpecs of the layer's inputs. Weight layouts: conv2d (out, kh, kw, in), depthwise_conv2d
(kh, kw, out), dense (out, in).
"""
