"""Jacobian regularization (JR): Hoffman, Roberts, Yaida 2019, "Robust Learning with Jacobian Regularization",
arXiv 1908.02729."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.backend import keras, vjp

ops = keras.ops
Tensor = Any


def penalty(function: Callable[[Tensor], Tensor], x: Tensor, projections: int, seed: Any) -> tuple[Tensor, Tensor]:
    """(z, R): z = function(x) of shape (batch, C), and a random estimate of R = 1/2 mean over the batch of
    ||dz/dx||_F^2, a scalar that can be differentiated.

    R ~ C / (2 n batch) sum_i sum_b ||grad_x <v_ib, z_b>||^2 over n = `projections` random unit vectors v per sample
    (equation 10 there); unbiased, n = 1 is the authors' choice. seed: a keras SeedGenerator. Samples must not
    influence one another through `function` (batch statistics of normalization layers are taken as constants would be:
    their small cross terms are part of the estimate).
    """
    z, pull = vjp(function, x)
    total = 0.0
    for _ in range(projections):
        v = unit_vectors(ops.shape(z), seed)
        total = total + ops.sum(ops.square(pull(v)))
    classes = ops.cast(ops.shape(z)[1], z.dtype)
    batch = ops.cast(ops.shape(z)[0], z.dtype)
    return z, total * classes / (2.0 * projections * batch)


def unit_vectors(shape: Any, seed: Any) -> Tensor:
    """Random vectors of shape (batch, C), uniform on the unit sphere of R^C."""
    v = keras.random.normal(shape, seed=seed)
    return v / ops.maximum(ops.norm(v, axis=1, keepdims=True), keras.config.epsilon())
