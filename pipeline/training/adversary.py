"""Attacks inside a training step: projected gradient ascent on the input, as one piece of the compiled graph.

Unlike the attacks of pipeline.robustness, which judge a finished network, these need not find the worst case, only
cheap examples to learn from. Both work in the infinity norm and inside the input range of the data set.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.training.keras_backend import input_gradient, keras

ops = keras.ops
Tensor = Any


def ascend(
    loss: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    eps: float,
    steps: int,
    step: float,
    bounds: tuple[float, float],
    seed: Any = None,
) -> Tensor:
    """x' shaped like x (batch, *shape), |x' - x| <= eps element by element, within bounds, a constant to any gradient.

    `steps` times x' <- project(x' + step sign(grad loss(x'))) (PGD, Madry et al. 2018, arXiv 1706.06083; one step is
    FGSM, Goodfellow et al. 2015, arXiv 1412.6572), from x, or with a keras SeedGenerator from a uniformly random point
    within eps. loss: (batch, *shape) -> scalar, sets no variable. eps, step, bounds: real input units.
    """
    low, high = ops.maximum(x - eps, bounds[0]), ops.minimum(x + eps, bounds[1])
    start = x if seed is None else x + keras.random.uniform(ops.shape(x), -eps, eps, seed=seed)

    def advance(_: Tensor, current: Tensor) -> Tensor:
        return ops.clip(current + step * ops.sign(input_gradient(loss, current)), low, high)

    return ops.stop_gradient(ops.fori_loop(0, steps, advance, ops.clip(start, low, high)))


def noisy_step(
    loss: Callable[[Tensor], Tensor], x: Tensor, *, eps: float, noise: float, bounds: tuple[float, float], seed: Any
) -> Tensor:
    """x' shaped like x (batch, *shape), |x' - x| <= eps + noise element by element, within bounds, a constant to any
    gradient: x' = x + u + eps sign(grad loss(x + u)) with u uniform in [-noise, noise], not clipped to eps.

    N-FGSM (de Jorge et al. 2022, arXiv 2202.01181): with noise = 2 eps one step does not overfit to itself. loss:
    (batch, *shape) -> scalar, sets no variable. eps, noise, bounds: real input units; seed: keras SeedGenerator.
    """
    start = ops.clip(x + keras.random.uniform(ops.shape(x), -noise, noise, seed=seed), *bounds)
    return ops.stop_gradient(ops.clip(start + eps * ops.sign(input_gradient(loss, start)), *bounds))
