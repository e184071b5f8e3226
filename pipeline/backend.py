"""The door to Keras and its backend: imports them quietly, limits their threads, and holds what is backend-specific.

Everything else of the project uses Keras' neutral operations (`keras.ops`, `keras.random`). Import Keras, QKeras and
TensorFlow from here only: the environment below must be set before they load.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

THREADS = min(2, os.cpu_count() or 1)
"""The networks are small: more threads cost more in hand-over than they gain."""

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """TensorFlow's C++ side writes notices about absent GPUs before its log level counts: they go nowhere."""
    keep, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(keep, 2)
        os.close(keep)
        os.close(nowhere)


with _silent_stderr():
    import keras
    import qkeras
    import tensorflow as tf

tf.get_logger().setLevel("ERROR")
with suppress(RuntimeError):  # whoever used TensorFlow before has chosen already
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)

__all__ = ["compiled", "keras", "qkeras", "tf", "to_numpy", "value_and_gradients", "vjp"]

Tensor = Any


def compiled(function: Callable[..., Any], *signature: tuple[tuple[int | None, ...], str]) -> Callable[..., Any]:
    """The function as one graph, traced once for arguments of these (shape, dtype); None: any size.

    Not XLA: measured slower on CPUs for these networks.
    """
    specs = [tf.TensorSpec(shape, dtype) for shape, dtype in signature]
    return tf.function(function, input_signature=specs, autograph=False, jit_compile=False)  # type: ignore[no-any-return]


def vjp(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """(f(x), pull) where pull(v) = grad_x <v, f(x)>, shaped like x. Both can be differentiated again."""
    tape = tf.GradientTape(persistent=True)
    with tape:
        tape.watch(x)
        y = function(x)
    return y, lambda v: tape.gradient(y, x, output_gradients=v)


def value_and_gradients(
    function: Callable[[], tuple[Tensor, Any]], variables: Sequence[Any]
) -> tuple[Any, list[Tensor]]:
    """(auxiliary, d loss / d variables) of a function that returns (loss, auxiliary)."""
    with tf.GradientTape() as tape:
        loss, auxiliary = function()
    return auxiliary, tape.gradient(loss, [v.value for v in variables])


def to_numpy(x: Tensor) -> NDArray[Any]:
    """The tensor as a NumPy array."""
    return np.asarray(keras.ops.convert_to_numpy(x))
