"""Which settings of a Keras layer or quantizer the reader computes. Everything else is refused by name, so that neither
a setting that nobody thought of nor one of a later Keras is ignored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.core.errors import UnsupportedError
from pipeline.training import blocks
from pipeline.training.keras_backend import keras, qkeras
from pipeline.training.quantizers import FixedLinear, QuantizedLinear, QuantizedRelu

Allowed = Callable[[Any], bool] | tuple[Any, ...]
"""Allowed values: those for which it is true, or these."""


def _any(value: Any) -> bool:
    """Read by its reader, or of no effect at inference."""
    return True


def _whole(value: Any) -> bool:
    return isinstance(value, (int, float)) and int(value) == value and abs(value) < 32


WIDTHS: Allowed = tuple(range(2, 9))


NONE: Allowed = (None,)
ONES: Allowed = (1, (1,), (1, 1))
LAYER: Mapping[str, Allowed] = {"name": _any, "trainable": _any, "dtype": ("float32",)}
TRAINING = {
    f"{weight}_{what}": _any
    for weight in ("kernel", "depthwise", "bias", "activity", "beta", "gamma", "moving_mean", "moving_variance")
    for what in ("initializer", "regularizer", "constraint")
}
LAST: Allowed = ("channels_last",)
WEIGHTED: Mapping[str, Allowed] = {
    **LAYER,
    **TRAINING,
    "activation": _any,
    "use_bias": _any,
    "bias_quantizer": _any,
    "bias_range": NONE,
}
WINDOW: Mapping[str, Allowed] = {"strides": _any, "padding": ("same", "valid"), "data_format": LAST}
PLAIN: Mapping[str, Allowed] = {**LAYER, **TRAINING, "activation": _any, "use_bias": _any}
POOL: Mapping[str, Allowed] = {**LAYER, **WINDOW, "pool_size": _any}
WHOLE_MAP: Mapping[str, Allowed] = {**LAYER, "data_format": LAST, "keepdims": _any}
CONVOLUTION: Mapping[str, Allowed] = {
    **PLAIN, **WINDOW, "filters": _any, "kernel_size": _any, "dilation_rate": ONES, "groups": ONES,
}  # fmt: skip
DEPTHWISE: Mapping[str, Allowed] = {
    **PLAIN, **WINDOW, "depth_multiplier": _any, "kernel_size": _any, "dilation_rate": ONES,
}  # fmt: skip
SEPARABLE: Mapping[str, Allowed] = {
    **CONVOLUTION, "depth_multiplier": _any,
    **{f"pointwise_{what}": _any for what in ("initializer", "regularizer", "constraint")},
}  # fmt: skip
QUANTIZED: Mapping[str, Allowed] = {**WEIGHTED, **CONVOLUTION, "kernel_quantizer": _any, "kernel_range": NONE}
STEPWISE: Mapping[str, Allowed] = {"padding": ("same", "valid", "causal")}
PADDING: Mapping[str, Allowed] = {**LAYER, "padding": _any, "data_format": LAST}

SETTINGS: Mapping[type, Mapping[str, Allowed]] = {
    qkeras.QConv2D: {**QUANTIZED, "mask": NONE},
    qkeras.QConv1D: {**QUANTIZED, **STEPWISE},
    qkeras.QDepthwiseConv2D: {
        **WEIGHTED, **WINDOW, "depth_multiplier": _any, "kernel_size": _any, "dilation_rate": ONES,
        "depthwise_quantizer": _any, "depthwise_range": NONE,
    },
    qkeras.QDense: {
        **WEIGHTED, "units": _any, "kernel_quantizer": _any, "kernel_range": NONE, "quantization_config": NONE,
    },
    qkeras.QActivation: {**LAYER, "activation": _any},
    keras.layers.BatchNormalization: {
        **LAYER, **TRAINING, "axis": _any, "momentum": _any, "epsilon": _any, "center": _any, "scale": _any,
        "synchronized": _any, "renorm": (False,), "renorm_clipping": _any, "renorm_momentum": _any,
    },
    **{getattr(keras.layers, f"{kind}Pooling{n}D"): POOL for kind in ("Max", "Average") for n in (1, 2)},
    **{getattr(keras.layers, f"Global{kind}Pooling{n}D"): WHOLE_MAP for kind in ("Max", "Average") for n in (1, 2)},
    keras.layers.Flatten: {**LAYER, "data_format": LAST},
    keras.layers.Add: LAYER,
    keras.layers.Concatenate: {**LAYER, "axis": _any},
    keras.layers.ReLU: {**LAYER, "max_value": _any, "negative_slope": (0, None), "threshold": (0, None)},
    keras.layers.Activation: {**LAYER, "activation": _any},
    keras.layers.Reshape: {**LAYER, "target_shape": _any},
    keras.layers.Rescaling: {**LAYER, "scale": _any, "offset": _any},
    **dict.fromkeys((keras.layers.ZeroPadding2D, keras.layers.ZeroPadding1D), PADDING),
    keras.layers.Conv2D: CONVOLUTION,
    keras.layers.Conv1D: {**CONVOLUTION, **STEPWISE},
    **dict.fromkeys((keras.layers.DepthwiseConv2D, keras.layers.DepthwiseConv1D), DEPTHWISE),
    **dict.fromkeys((keras.layers.SeparableConv2D, keras.layers.SeparableConv1D), SEPARABLE),
    keras.layers.Dense: {**PLAIN, "units": _any, "quantization_config": NONE},
    qkeras.quantized_relu: {
        "bits": WIDTHS, "integer": _whole, "use_sigmoid": (0,), "negative_slope": (0,),
        "use_stochastic_rounding": (False,), "relu_upper_bound": NONE, "qnoise_factor": (1,),
    },
    qkeras.quantized_bits: {
        "bits": WIDTHS, "integer": _whole, "symmetric": (0,), "alpha": (None, 1), "keep_negative": (True,),
        "use_stochastic_rounding": (False,), "qnoise_factor": (1,), "post_training_scale": NONE,
    },
    qkeras.quantized_linear: {
        "bits": WIDTHS, "integer": _whole, "symmetric": _any, "alpha": (None, 1), "keep_negative": (True,),
        "use_stochastic_rounding": (False,), "qnoise_factor": (1,),
    },
}  # fmt: skip
"""Allowed values of every setting, by class; of quantizers as activations."""

STEADY: Mapping[str, Allowed] = {"use_stochastic_rounding": (False,), "qnoise_factor": (1,)}
STEPS: Mapping[str, Allowed] = {
    **STEADY, "bits": tuple(range(1, 9)), "integer": _any, "symmetric": _any, "alpha": _any, "keep_negative": _any,
}  # fmt: skip
LEVELS: Mapping[str, Allowed] = {
    "alpha": _any, "threshold": _any, "number_of_unrolls": _any, "temperature": _any, "use_real_sigmoid": _any,
}  # fmt: skip
KERNEL_SETTINGS: Mapping[type, Mapping[str, Allowed]] = {
    qkeras.ternary: {**STEADY, **LEVELS},
    qkeras.stochastic_ternary: LEVELS,
    qkeras.binary: {**STEADY, "alpha": _any, "use_01": _any},
    qkeras.stochastic_binary: {**LEVELS, **STEADY, "use_01": _any},
    qkeras.quantized_bits: {**STEPS, "post_training_scale": _any},
    qkeras.quantized_linear: STEPS,
}
"""The same of quantizers of a kernel: its integers are read from the values that they make."""

OURS: Mapping[type, type] = {
    blocks.QConv2D: qkeras.QConv2D,
    blocks.QDepthwiseConv2D: qkeras.QDepthwiseConv2D,
    blocks.QDense: qkeras.QDense,
    blocks.BatchNormalization: keras.layers.BatchNormalization,
    blocks.HalfUpRelu: qkeras.quantized_relu,
    QuantizedRelu: qkeras.quantized_relu,
    QuantizedLinear: qkeras.quantized_bits,
    FixedLinear: qkeras.quantized_linear,
}
"""Our own classes, and the ones whose settings and meaning they have."""


def known_class(thing: Any) -> type | None:
    """The class in SETTINGS that a layer or quantizer is one of: its own, not one that it is derived from, whose
    meaning it may have changed. None: no such class."""
    kind = OURS.get(type(thing), type(thing))
    return kind if kind in SETTINGS else None


def require_known(thing: Any, place: str, settings: Mapping[type, Mapping[str, Allowed]] = SETTINGS) -> None:
    """UnsupportedError, naming `place`, for the first setting of a layer or quantizer of a class in `settings` that is
    not computed."""
    kind = known_class(thing) if settings is SETTINGS else type(thing)
    assert kind is not None
    known = settings[kind]
    for name, value in thing.get_config().items():
        value = _plain(value)
        if name not in known:
            what = f"{kind.__name__} has a setting {name} = {value!r} that is not known here"
            raise UnsupportedError(f"{place}: {what}", f"known: {', '.join(known)}")
        allowed = known[name]
        if not (allowed(value) if callable(allowed) else value in allowed):
            listed = "a whole number from -31 to 31" if callable(allowed) else " or ".join(map(repr, allowed))
            what = f"{kind.__name__}({name}={value!r}) is not computed on the device"
            raise UnsupportedError(f"{place}: {what}", f"use {listed}")


def _plain(value: Any) -> Any:
    """A setting as Keras was given it: lists as tuples, a dtype policy by its name."""
    if isinstance(value, Mapping) and str(value.get("class_name")).endswith("DTypePolicy"):
        return value["config"]["name"]
    return tuple(value) if isinstance(value, list) else value
