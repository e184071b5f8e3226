"""What a training step minimizes: cross-entropy, and what the recipe adds to it or puts in its way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from pipeline.config.job import TrainConfig, eps_value
from pipeline.core.errors import ConfigError
from pipeline.training import adversary, blocks, jacobian
from pipeline.training.keras_backend import keras, value_and_gradients
from pipeline.training.segments import Segment, segments

ops = keras.ops
Tensor = Any

TINY = 1e-24
"""Least squared length of a gradient."""
ROBUST_STEPS, ROBUST_STEP = 10, 0.25
"""Of the attack that judges an epoch; the step in units of eps."""
ROBUST_SHARE = 5 / 6
"""Of the attacked samples in the teacher's part of the loss where it labels them too (arXiv 2108.07969); the clean ones
have the rest."""


@dataclass
class Objective:
    """The loss of a recipe for one keras.Model that answers logits.

    Real inputs x are (batch, *shape), labels y (batch,).
    """

    model: Any
    """The keras.Model."""
    recipe: TrainConfig
    """What the loss is made of."""
    bounds: tuple[float, float]
    """Input range, real units."""
    seed: Any
    """keras SeedGenerator of every random draw but the weight noise."""
    teacher: Callable[[Tensor], Tensor] | None = None
    """Real inputs -> logits; None without distillation."""
    blocks: tuple[Segment, ...] = field(init=False, default=())
    """Blocks whose Jacobians are penalized; none where only the logits' is, or none."""

    def __post_init__(self) -> None:
        if self.recipe.regularized and self.recipe.jacobian != "logits":
            self.blocks = segments(self.model)
            self._check_blocks()

    @contextmanager
    def noise(self, progress: Tensor) -> Iterator[None]:
        """The weight noise of one step, at the temperature that the schedule has reached. In adversarial training all
        of the step has one draw of it: samples that attack another network teach this one little.

        progress: share of all steps that are done, [0, 1].
        """
        with ExitStack() as stack:
            if self.recipe.final_temperature is not None:
                stack.enter_context(blocks.temperature(self.model, scheduled(self.recipe, progress)))
            if self.recipe.adversarial is not None:
                stack.enter_context(blocks.one_draw(self.model))
            yield

    def attacked(self, x: Tensor, y: Tensor) -> Tensor | None:
        """Adversarial copies of the first samples, as many as the recipe's share; None without adversarial training.

        The attack sees what `loss` will see: inside `noise` that noise, and normalization by the statistics of its own
        samples. It takes these for constants and moves no moving ones.
        """
        recipe = self.recipe.adversarial
        if recipe is None:
            return None
        eps, count = eps_value(recipe.eps), self._count(x, recipe.share)
        x, y = x[:count], y[:count]
        if recipe.method == "trades":
            clean = ops.stop_gradient(self._answer(x))
            harm = lambda z: divergence(clean, self._answer(z))  # noqa: E731
        elif away := self._robust_teacher(x):
            harm = lambda z: away(self._answer(z))  # noqa: E731
        else:
            harm = lambda z: cross_entropy(y, self._answer(z))  # noqa: E731
        if recipe.method == "n_fgsm":
            noise = recipe.noise * eps
            return adversary.noisy_step(harm, x, eps=eps, noise=noise, bounds=self.bounds, seed=self.seed)
        return adversary.ascend(
            harm,
            x,
            eps=eps,
            steps=recipe.iterations,
            step=recipe.relative_step * eps,
            bounds=self.bounds,
            seed=self.seed if recipe.random_start else None,
        )

    def _robust_teacher(self, x: Tensor) -> Callable[[Tensor], Tensor] | None:
        """Logits -> how far they are from the teacher's clean answers; None where it does not label attacked ones."""
        if not self.recipe.distill_robust or self.teacher is None:
            return None
        wanted = ops.stop_gradient(self.teacher(x)) / self.recipe.distill_temperature
        return lambda logits: divergence(wanted, logits / self.recipe.distill_temperature)

    @contextmanager
    def perturbed(self, x: Tensor, y: Tensor, attacked: Tensor | None) -> Iterator[None]:
        """Inside, every kernel w is w + awp ||w|| g / ||g||, with g the gradient of the batch's loss by it: a weight
        perturbation that harms most (Wu et al. 2020, arXiv 2004.05884). g takes the statistics of the batch for
        constants."""
        kernels = [v for v in self.model.trainable_variables if len(v.shape) > 1] if self.recipe.awp else []
        before = [ops.copy(v.value) for v in kernels]
        if kernels:
            with blocks.still(self.model):
                _, gradients = value_and_gradients(lambda: (self.loss(x, y, attacked)[0], ops.zeros(())), kernels)
            for kernel, value, gradient in zip(kernels, before, gradients, strict=True):
                length = ops.sqrt(ops.sum(value**2) / ops.maximum(ops.sum(gradient**2), TINY))
                kernel.assign(value + self.recipe.awp * length * gradient)
        yield
        for kernel, value in zip(kernels, before, strict=True):
            kernel.assign(value)

    def _answer(self, x: Tensor) -> Tensor:
        """What the attack sees."""
        with blocks.still(self.model):
            return self.model(x, training=True)

    def inputs(self, x: Tensor, attacked: Tensor | None) -> Tensor:
        """The samples whose labels are learnt: x, the attacked ones in place of their originals unless the method is
        "trades"."""
        if attacked is None or self._trades:
            return x
        return attacked if attacked.shape[0] == x.shape[0] else ops.concatenate([attacked, x[attacked.shape[0] :]])

    def loss(self, x: Tensor, y: Tensor, attacked: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """(loss, accuracy, Jacobian penalty) of one batch in training, scalars.

        Accuracy is that on `inputs`. The penalty is meant before jacobian_lambda, with a table by block after it.
        """
        logits, penalty = self._logits(self.inputs(x, attacked))
        total = self._learning(x, y, logits)
        if self._trades:
            assert self.recipe.adversarial is not None and attacked is not None
            answer = self.model(attacked, training=True)
            total = total + self.recipe.adversarial.beta * divergence(logits[: attacked.shape[0]], answer)
        strength = self.recipe.jacobian_lambda
        total = total + (1.0 if isinstance(strength, dict) else strength) * penalty
        correct = ops.mean(ops.cast(ops.equal(ops.argmax(logits, axis=1), y), "float32"))
        return total, correct, penalty

    @property
    def _trades(self) -> bool:
        return self.recipe.adversarial is not None and self.recipe.adversarial.method == "trades"

    def _learning(self, x: Tensor, y: Tensor, logits: Tensor) -> Tensor:
        """Cross-entropy with the labels, mixed with what the teacher says of the clean samples."""
        entropy = cross_entropy(y, logits)
        if self.teacher is None:
            return entropy
        weight, temperature = self.recipe.distill_weight, self.recipe.distill_temperature
        soft = divergence(ops.stop_gradient(self.teacher(x)) / temperature, logits / temperature)
        if away := self._robust_teacher(x):
            soft = ROBUST_SHARE * soft + (1.0 - ROBUST_SHARE) * away(self.model(x, training=True))
        return (1.0 - weight) * entropy + weight * temperature**2 * soft

    def _logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(logits, penalty). On a share of the batch the penalty takes a pass of its own over these samples."""
        if not self.recipe.regularized:
            return self.model(x, training=True), ops.zeros(())
        if self.recipe.jacobian_share == 1:
            return self._penalized(x)
        logits = self.model(x, training=True)
        return logits, self._penalized(x[: self._count(x, self.recipe.jacobian_share)])[1]

    def _penalized(self, x: Tensor) -> tuple[Tensor, Tensor]:
        recipe = self.recipe
        if recipe.jacobian == "logits":
            return jacobian.penalty(lambda z: self.model(z, training=True), x, recipe.jacobian_projections, self.seed)
        given = recipe.jacobian_lambda
        strengths = [given.get(block.name, 0.0) if isinstance(given, dict) else 1.0 for block in self.blocks]
        return jacobian.block_penalty(
            [lambda h, model=block.model: model(h, training=True) for block in self.blocks],  # type: ignore[misc]
            x,
            strengths,
            recipe.jacobian_projections,
            self.seed,
            of_network_input=recipe.jacobian == "network_input",
        )

    def _check_blocks(self) -> None:
        known = [block.name for block in self.blocks]
        given = self.recipe.jacobian_lambda
        for name in given if isinstance(given, dict) else ():
            if name not in known:
                raise ConfigError(f"train.jacobian_lambda.{name}: no such block", f"there are {', '.join(known)}")

    @staticmethod
    def _count(x: Tensor, share: float) -> int:
        return max(1, round(share * int(x.shape[0])))


def scheduled(recipe: TrainConfig, progress: Tensor) -> Tensor:
    """Temperature of the weight noise after the share `progress` of all steps: from temperature to final_temperature,
    in a straight line or in half a cosine."""
    begin, end = recipe.temperature, recipe.final_temperature
    assert end is not None
    left = 1.0 - progress if recipe.temperature_schedule == "linear" else (1.0 + ops.cos(math.pi * progress)) / 2.0
    return end + (begin - end) * left


def cross_entropy(y: Tensor, logits: Tensor) -> Tensor:
    """Mean over the batch of -log softmax(logits)[y]."""
    return ops.mean(keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True))


def divergence(target: Tensor, logits: Tensor) -> Tensor:
    """Mean over the batch of KL(softmax(target) || softmax(logits)), both logits (batch, classes)."""
    wanted = ops.log_softmax(target)
    return ops.mean(ops.sum(ops.exp(wanted) * (wanted - ops.log_softmax(logits)), axis=1))


def margin(y: Tensor, logits: Tensor) -> Tensor:
    """Mean over the batch of the best wrong logit minus the right one: positive where the answer is wrong. Unlike the
    cross-entropy it does not fade with the confidence of the network (Carlini, Wagner 2017, arXiv 1608.04644)."""
    right = ops.one_hot(y, logits.shape[-1], dtype=logits.dtype)
    wrong = ops.max(logits - 1e4 * right, axis=1)
    return ops.mean(wrong - ops.sum(logits * right, axis=1))


LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {"cross_entropy": cross_entropy, "margin": margin}
"""What the attack that judges an epoch maximizes, by the name jobs give it."""


def survives(
    model: Any,
    x: Tensor,
    y: Tensor,
    eps: float,
    bounds: tuple[float, float],
    seed: int,
    loss: str = "cross_entropy",
    *,
    one_step: bool = False,
) -> Tensor:
    """Boolean (batch,): the network is right on x attacked by PGD (ROBUST_STEPS steps of ROBUST_STEP eps, one random
    start that depends on seed alone), or by one step of eps from x itself (FGSM); loss: of LOSSES."""

    def harm(z: Tensor) -> Tensor:
        return LOSSES[loss](y, model(z, training=False))

    if one_step:
        moved = adversary.ascend(harm, x, eps=eps, steps=1, step=eps, bounds=bounds)
    else:
        moved = adversary.ascend(harm, x, eps=eps, steps=ROBUST_STEPS, step=ROBUST_STEP * eps, bounds=bounds, seed=seed)
    return ops.equal(ops.argmax(model(moved, training=False), axis=1), y)
