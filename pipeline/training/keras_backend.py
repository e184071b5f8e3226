"""The door to Keras and its backend: imports them quietly, limits their threads, and holds what is backend-specific.

TensorFlow is the default and the faster one on a CPU; KERAS_BACKEND=jax trains the same recipe under JAX, for GPUs.
Everything else of the project uses Keras' neutral operations (`keras.ops`, `keras.random`). Import Keras, QKeras and
TensorFlow from here only: the environment below must be set before they load.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core import processor
from pipeline.core.errors import ConfigError

THREADS = min(2, os.cpu_count() or 1)
"""The networks are small: more threads cost more in hand-over than they gain."""
BACKENDS = ("tensorflow", "jax")
BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")
"""Instruction sets that multiply numbers in bfloat16: of x86, and of Arm."""

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
NAME = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
"""The backend in use."""
if NAME not in BACKENDS:
    raise ConfigError(f"KERAS_BACKEND = {NAME!r}: allowed are {' and '.join(BACKENDS)}", "unset KERAS_BACKEND")
JAX = NAME == "jax"


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

    if JAX:
        import jax  # type: ignore[import-not-found,unused-ignore]
    else:
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")
        with suppress(RuntimeError):  # whoever used TensorFlow before has chosen already
            tf.config.threading.set_intra_op_parallelism_threads(THREADS)
            tf.config.threading.set_inter_op_parallelism_threads(THREADS)

__all__ = [
    "compiled",
    "constant_to_pull",
    "has_bfloat16",
    "input_gradient",
    "keras",
    "noted_variables",
    "qkeras",
    "tf",
    "to_numpy",
    "value_and_gradients",
    "vjp",
]

Tensor = Any


def noted_variables() -> list[Any]:
    """The keras.Variables that this thread has made without values, in a StatelessScope; none if Keras does not say."""
    try:
        from keras.src.backend.common import global_state
    except ImportError:
        return []
    return list(global_state.get_global_attribute("uninitialized_variables") or [])


def __getattr__(name: str) -> Any:
    """`tf`, where there is none."""
    if name == "tf":
        raise ConfigError("this needs Keras' TensorFlow backend", "unset KERAS_BACKEND; training alone runs under JAX")
    raise AttributeError(name)


def compiled(
    function: Callable[..., Any], *signature: tuple[tuple[int | None, ...], str], state: Sequence[Any] = ()
) -> Callable[..., Any]:
    """The function as one graph, traced once for arguments of these (shape, dtype); None: any size.

    state: every keras.Variable it reads or sets. A run that is interrupted has set all of them or none. On CPUs without
    XLA: measured slower there for these networks.
    """
    if JAX:
        return _compiled_jax(function, state)
    specs = [tf.TensorSpec(shape, dtype) for shape, dtype in signature]
    return tf.function(function, input_signature=specs, autograph=False, jit_compile=False)  # type: ignore[no-any-return]


def vjp(function: Callable[[Tensor], Any], x: Tensor) -> tuple[Any, Callable[[Any], Tensor]]:
    """(f(x), pull) where pull(v) = grad_x <v, f(x)>, shaped like x. Both can be differentiated again. f(x) and v: a
    tensor, or equally long lists of them, whose products are added up. f may set variables inside a `compiled` graph;
    what it computes by `constant_to_pull` has no part in pull(v).
    """
    if JAX:
        return _vjp_jax(function, x)
    tape = tf.GradientTape(persistent=True)

    def unrecorded(compute: Callable[[], Any]) -> Any:
        with tape.stop_recording():
            return compute()

    with tape, _computing_constants(unrecorded):
        tape.watch(x)
        y = function(x)
    return y, lambda v: tape.gradient(y, x, output_gradients=v)


def constant_to_pull(compute: Callable[[], Any]) -> Any:
    """compute(): a constant for the innermost `vjp` around this call, though not for gradients around that; without a
    `vjp` nothing special."""
    return _constant.get()(compute)


_constant: ContextVar[Callable[[Callable[[], Any]], Any]] = ContextVar("constant", default=lambda compute: compute())


@contextmanager
def _computing_constants(how: Callable[[Callable[[], Any]], Any]) -> Iterator[None]:
    token = _constant.set(how)
    try:
        yield
    finally:
        _constant.reset(token)


def input_gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """d f(x) / d x of a scalar function that sets no variable."""
    if JAX:
        return jax.grad(lambda z: _with_assignments(function, _scope())(z)[0])(x)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        y = function(x)
    return tape.gradient(y, x)


def value_and_gradients(
    function: Callable[[], tuple[Tensor, Any]], variables: Sequence[Any]
) -> tuple[Any, list[Tensor]]:
    """(auxiliary, d loss / d variables) of a function that returns (loss, auxiliary)."""
    if JAX:
        outer = _scope()

        def loss_of(values: list[Tensor]) -> tuple[Tensor, Any]:
            inner = {**outer, **{id(v): value for v, value in zip(variables, values, strict=True)}}
            (loss, auxiliary), state = _with_assignments(lambda _: function(), inner)(None)
            return loss, (auxiliary, state)

        values = [v.value for v in variables]
        gradients, (auxiliary, state) = jax.grad(loss_of, has_aux=True)(values)
        outer.update({key: value for key, value in state.items() if key not in {id(v) for v in variables}})
        return auxiliary, gradients
    with tf.GradientTape() as tape:
        loss, auxiliary = function()
    return auxiliary, tape.gradient(loss, [v.value for v in variables])


def has_bfloat16() -> bool:
    """Whether what trains multiplies numbers in bfloat16: a GPU or TPU under JAX, else this processor."""
    if JAX and jax.devices()[0].platform != "cpu":
        return True
    return not processor.instruction_sets().isdisjoint(BFLOAT16)


def to_numpy(x: Tensor) -> NDArray[Any]:
    """The tensor as a NumPy array."""
    return np.asarray(keras.ops.convert_to_numpy(x))


# JAX differentiates and compiles pure functions. Inside a keras.StatelessScope, variables live in a mapping from their
# id to their value; what a function sets there leaves it as a second result.


def _vjp_jax(function: Callable[[Tensor], Any], x: Tensor) -> tuple[Any, Callable[[Any], Tensor]]:
    """`vjp`. A first evaluation finds the constants; the compiler computes what both have in common once."""
    outer, constants = _scope(), []

    def found(compute: Callable[[], Any]) -> Any:
        constants.append(compute())
        return constants[-1]

    with _computing_constants(found):
        _with_assignments(function, outer)(x)
    again = iter(constants)
    with _computing_constants(lambda _: next(again)):
        y, pull_back, state = jax.vjp(_with_assignments(function, outer), x, has_aux=True)
    outer.update(state)
    return y, lambda v: pull_back(v)[0]


def _compiled_jax(function: Callable[..., Any], state: Sequence[Any]) -> Callable[..., Any]:
    def pure(values: list[Tensor], *arguments: Tensor) -> tuple[Any, list[Tensor]]:
        with keras.StatelessScope(state_mapping=list(zip(state, values, strict=True))) as scope:
            result = function(*arguments)
            return result, [scope.get_current_value(variable) for variable in state]

    graph = jax.jit(pure)

    def run(*arguments: Any) -> Any:
        result, values = graph([variable.value for variable in state], *arguments)
        try:
            _assign(state, values)
        except KeyboardInterrupt:
            _assign(state, values)
            raise
        return result

    return run


def _assign(variables: Sequence[Any], values: Sequence[Tensor]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _with_assignments(function: Callable[[Any], Any], state: Mapping[int, Tensor]) -> Callable[[Any], Any]:
    """x -> (function(x), variables after it), both differentiable; the variables begin as `state` says."""

    def run(x: Any) -> tuple[Any, dict[int, Tensor]]:
        with keras.StatelessScope() as scope:
            scope.state_mapping.update(state)
            result = function(x)
        return result, scope.state_mapping

    return run


def _scope() -> dict[int, Tensor]:
    """The variables of the surrounding scope; an empty mapping outside of any."""
    with keras.StatelessScope() as probe:
        outer = probe.original_scope
    return outer.state_mapping if outer is not None else {}
