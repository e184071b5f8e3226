"""Jacobian regularization (JR): Hoffman, Roberts, Yaida 2019, "Robust Learning with Jacobian Regularization",
arXiv 1908.02729.

There, and in `penalty`, the Jacobian is that of the logits. "Per-layer" regularization is named by Suarez, Ayaz et al.
(arXiv 2304.12829 and 2503.08973), whose text we do not have: the two readings in `block_penalty` are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.training.keras_backend import keras, vjp

ops = keras.ops
Tensor = Any
Function = Callable[[Tensor], Tensor]


def penalty(function: Function, x: Tensor, projections: int, seed: Any) -> tuple[Tensor, Tensor]:
    """(z, R): z = function(x) of shape (batch, C), and a random estimate of R = 1/2 mean over the batch of
    ||dz/dx||_F^2, a scalar that can be differentiated.

    R ~ C / (2 n batch) sum_i sum_b ||grad_x <v_ib, z_b>||^2 over n = `projections` random unit vectors v per sample
    (equation 10 there); unbiased, n = 1 is the authors' choice. seed: a keras SeedGenerator. Samples must not
    influence one another through `function`: statistics of the batch have to be `constant_to_pull`.
    """
    z, pull = vjp(function, x)
    total = 0.0
    for _ in range(projections):
        total = total + _mean_square(pull(unit_vectors(ops.shape(z), seed)))
    return z, total * ops.cast(ops.shape(z)[1], z.dtype) / (2.0 * projections)


def block_penalty(
    blocks: Sequence[Function],
    x: Tensor,
    strengths: Sequence[float],
    projections: int,
    seed: Any,
    *,
    of_network_input: bool,
) -> tuple[Tensor, Tensor]:
    """(z, sum_b strength_b R_b): z = the blocks applied to x one after the other, x (batch, *shape).

    R_b = 1 / (2 m_b) mean over the batch of ||dh_b / du||_F^2, with h_b the output of block b, m_b the number of its
    elements, and u either the block's own input h_(b-1) or the network input x: half the mean squared length of the
    gradient of one output element, so that one strength suits narrow and wide blocks. For a network input, the last
    block's R is the global one of `penalty` divided by the number of classes.

    Estimated without bias by random unit vectors v_b per sample and block, 1/2 mean ||grad_u <v_b, h_b>||^2. For the
    network input one pull-back does for all blocks: the vectors are independent, so in grad_x sum_b sqrt(strength_b)
    <v_b, h_b> the products of different blocks vanish on average.
    """
    if of_network_input:
        return _of_network_input(blocks, x, strengths, projections, seed)
    total = ops.zeros(())
    for block, strength in zip(blocks, strengths, strict=True):
        if strength == 0:
            x = block(x)
            continue
        x, pull = vjp(block, x)
        for _ in range(projections):
            total = total + strength * _mean_square(pull(unit_vectors(ops.shape(x), seed)))
    return x, total / (2.0 * projections)


def _of_network_input(
    blocks: Sequence[Function], x: Tensor, strengths: Sequence[float], projections: int, seed: Any
) -> tuple[Tensor, Tensor]:
    def outputs(h: Tensor) -> list[Tensor]:
        found = []
        for block in blocks:
            h = block(h)
            found.append(h)
        return found

    h, pull = vjp(outputs, x)
    total = ops.zeros(())
    for _ in range(projections):
        vectors = [math.sqrt(s) * unit_vectors(ops.shape(part), seed) for part, s in zip(h, strengths, strict=True)]
        total = total + _mean_square(pull(vectors))
    return h[-1], total / (2.0 * projections)


def unit_vectors(shape: Any, seed: Any) -> Tensor:
    """Random tensors of shape (batch, *shape): every sample uniform on the unit sphere."""
    v = keras.random.normal(shape, seed=seed)
    square = ops.sum(ops.square(v), axis=tuple(range(1, len(shape))), keepdims=True)
    return v / ops.maximum(ops.sqrt(square), keras.config.epsilon())


def _mean_square(gradients: Tensor) -> Tensor:
    """Mean over the batch of the squared length of a sample's gradient."""
    return ops.sum(ops.square(gradients)) / ops.cast(ops.shape(gradients)[0], gradients.dtype)
