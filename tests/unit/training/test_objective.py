"""The loss of a recipe, term by term, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.config.job import AdversarialConfig, ModelConfig, TrainConfig
from pipeline.core import registry
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Quantization, TensorSpec
from pipeline.training import blocks, objective
from pipeline.training.keras_backend import compiled, keras, to_numpy
from pipeline.training.objective import Objective

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
X = RNG.random((16, 8, 8, 1)).astype(np.float32)
Y = RNG.integers(0, 10, 16)
EPS = {"eps": "16/255", "steps": 3}


def network():
    keras.utils.set_random_seed(1)
    config, recipe = ModelConfig(name="digits_cnn", width=0.25), TrainConfig(epochs=1, stochastic=False)
    spec = TensorSpec((8, 8, 1), Quantization(1 / 255, -128))
    model = registry.load("models", "digits_cnn").build(spec, 10, config, recipe)
    for _ in range(20):
        model(X, training=True)
    return model


def goal(model, teacher=None, **recipe) -> Objective:
    return Objective(model, TrainConfig(epochs=1, **recipe), (0.0, 1.0), keras.random.SeedGenerator(1), teacher)


def log_softmax(z: np.ndarray) -> np.ndarray:
    z = z.astype(np.float64) - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def entropy(z: np.ndarray) -> float:
    return float(-log_softmax(z)[np.arange(len(z)), Y[: len(z)]].mean())


def kl(a: np.ndarray, b: np.ndarray) -> float:
    wanted = log_softmax(a)
    return float((np.exp(wanted) * (wanted - log_softmax(b))).sum(axis=1).mean())


def evaluate(goal: Objective, progress: float = 0.0) -> tuple[np.ndarray, list[float]]:
    """(attacked samples or an empty array, [loss, accuracy, penalty]) of one compiled step."""

    def run(x, y):
        with goal.noise(keras.ops.convert_to_tensor(progress, "float32")):
            attacked = goal.attacked(x, y)
            return x[:0] if attacked is None else attacked, goal.loss(x, y, attacked)

    attacked, values = compiled(run, (X.shape, "float32"), (Y.shape, "int64"))(X, Y)
    return to_numpy(attacked), [float(v) for v in values]


def logits(model, x: np.ndarray) -> np.ndarray:
    return to_numpy(model(x, training=True))


def test_plain_loss_is_cross_entropy():
    model = network()
    attacked, (loss, accuracy, penalty) = evaluate(goal(model))
    z = logits(model, X)
    assert (len(attacked), penalty) == (0, 0)
    assert loss == pytest.approx(entropy(z), rel=1e-4)
    assert accuracy == pytest.approx(np.mean(z.argmax(axis=1) == Y))


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_pgd_learns_from_attacked_samples_only(share):
    model = network()
    statistics = to_numpy(model.get_layer("conv1_bn").moving_mean)
    attacked, (loss, _, _) = evaluate(goal(model, adversarial=AdversarialConfig(method="pgd", share=share, **EPS)))
    count = int(16 * share)
    assert len(attacked) == count and attacked.min() >= 0 and attacked.max() <= 1
    assert 0.9 * 16 / 255 < np.abs(attacked - X[:count]).max() <= 16 / 255 + 1e-6
    before, after = (logits(model, x) for x in (X[:count], attacked))
    assert entropy(after) > entropy(before) + 0.05
    assert loss == pytest.approx(entropy(logits(model, np.concatenate([attacked, X[count:]]))), rel=1e-4)
    assert not np.array_equal(statistics, to_numpy(model.get_layer("conv1_bn").moving_mean))


def test_the_attack_of_a_step_sees_its_noise_and_the_statistics_of_its_batch():
    """The same samples harm it more than the network at other draws, or with moving statistics."""
    model = network()
    for layer in blocks.weighted(model):
        layer.get_quantizers()[0].stochastic, layer.get_quantizers()[0].temperature = True, 4.0
    objective = goal(model, adversarial=AdversarialConfig(method="pgd", eps="16/255", steps=10))

    def run(x, y):
        with objective.noise(0.0):
            attacked = objective.attacked(x, y)
            own, moving = (model(attacked, training=training) for training in (True, False))
        return own, moving, model(attacked, training=True)

    step = compiled(run, (X.shape, "float32"), (Y.shape, "int64"))
    harm = np.mean([[entropy(to_numpy(z)) for z in step(X, Y)] for _ in range(8)], axis=0)
    assert harm[0] > harm[1] + 0.1 and harm[0] > harm[2] + 0.1


def test_trades_adds_the_divergence_of_the_answers():
    model = network()
    attacked, (loss, _, _) = evaluate(goal(model, adversarial=AdversarialConfig(method="trades", beta=2.0, **EPS)))
    clean, moved = logits(model, X), logits(model, attacked)
    assert kl(clean, moved) > 0.01
    assert loss == pytest.approx(entropy(clean) + 2 * kl(clean, moved), rel=1e-3)


def test_a_teacher_takes_its_share_of_the_loss():
    model = network()
    answers = RNG.normal(0, 3, (16, 10)).astype(np.float32)
    mixed = goal(model, lambda x: keras.ops.convert_to_tensor(answers), distill="x", distill_weight=0.3,
                 distill_temperature=2.0)  # fmt: skip
    _, (loss, _, _) = evaluate(mixed)
    z = logits(model, X)
    assert loss == pytest.approx(0.7 * entropy(z) + 0.3 * 4 * kl(answers / 2, z / 2), rel=1e-3)


def test_a_number_weighs_the_penalty_and_a_table_is_inside_it():
    model = network()
    plain = entropy(logits(model, X))
    for recipe, factor in (
        ({"jacobian_lambda": 0.5}, 0.5),
        ({"jacobian_lambda": 0.5, "jacobian_share": 0.25}, 0.5),
        ({"jacobian_lambda": 0.5, "jacobian": "network_input"}, 0.5),
        ({"jacobian_lambda": {"conv2": 0.5, "logits": 2.0}, "jacobian": "block_input"}, 1.0),
    ):
        _, (loss, _, penalty) = evaluate(goal(model, **recipe))
        assert penalty > 0
        assert loss == pytest.approx(plain + factor * penalty, rel=1e-3), recipe


def test_an_unknown_block_is_named():
    with pytest.raises(ConfigError, match="conv9: no such block") as caught:
        goal(network(), jacobian="block_input", jacobian_lambda={"conv9": 1.0})
    assert "conv1, conv2, conv3, logits" in caught.value.hint


@pytest.mark.parametrize("schedule, middle", [("linear", 6.5), ("cosine", 4 + 5 * (1 + np.cos(np.pi / 4 * 2)) / 2)])
def test_temperature_goes_from_one_end_to_the_other(schedule, middle):
    recipe = TrainConfig(epochs=1, temperature=9.0, final_temperature=4.0, temperature_schedule=schedule)
    reached = [float(objective.scheduled(recipe, share)) for share in (0.0, 0.5, 1.0)]
    assert reached == [pytest.approx(9.0), pytest.approx(middle), pytest.approx(4.0)]
    early = float(objective.scheduled(recipe, 0.1))
    assert early == pytest.approx(8.5 if schedule == "linear" else 4 + 5 * (1 + np.cos(0.1 * np.pi)) / 2)


def test_the_scheduled_temperature_reaches_the_weights():
    model = network()
    for layer in model.layers:
        for quantizer in getattr(layer, "get_quantizers", list)()[:1]:
            quantizer.stochastic = True
    calm = entropy(logits(network(), X))
    cooling = goal(model, temperature=0.5, final_temperature=1e4, temperature_schedule="linear")
    assert evaluate(cooling, progress=1.0)[1][0] == pytest.approx(calm, rel=0.02)
    assert abs(evaluate(cooling, progress=0.0)[1][0] - calm) > 0.1


def test_a_robust_teacher_labels_attacked_and_clean_samples():
    model, teacher = network(), lambda x: keras.ops.stack([x[:, i % 8, i // 2, 0] * 9 for i in range(10)], axis=1)
    attack = AdversarialConfig(method="pgd", **EPS, random_start=False)
    settings = {"stochastic": False, "adversarial": attack, "distill": "runs/teacher", "distill_temperature": 2.0}
    robust = goal(model, teacher, **settings, distill_robust=True)
    moved, (loss, *_) = evaluate(robust)
    wanted = np.stack([X[:, i % 8, i // 2, 0] * 9 for i in range(10)], axis=1)
    at, clean = (to_numpy(model(x, training=True)) for x in (moved, X))
    soft = 5 / 6 * kl(wanted / 2, at / 2) + 1 / 6 * kl(wanted / 2, clean / 2)
    assert loss == pytest.approx(0.5 * entropy(at) + 0.5 * 4 * soft, rel=1e-4)
    plain, _ = evaluate(goal(model, teacher, **settings))
    assert kl(wanted / 2, at / 2) > kl(wanted / 2, to_numpy(model(plain, training=True)) / 2)


def test_perturbed_kernels_move_by_their_share_to_a_larger_loss_and_come_back():
    model = network()
    attack = AdversarialConfig(method="fast_fgsm", eps="16/255", random_start=False)
    perturbing = goal(model, stochastic=False, adversarial=attack, awp=0.01)
    kernels = [v for v in model.trainable_variables if len(v.shape) > 1]
    before = [to_numpy(v.value).copy() for v in kernels]

    def run(x, y):
        first = perturbing.loss(x, y, x)[0]
        with perturbing.perturbed(x, y, x):
            harmed, moved = perturbing.loss(x, y, x)[0], [keras.ops.copy(kernel.value) for kernel in kernels]
        return first, harmed, moved

    first, harmed, moved = compiled(run, (X.shape, "float32"), (Y.shape, "int64"), state=model.variables)(X, Y)
    assert float(harmed) > float(first)
    for kernel, was, value in zip(kernels, before, moved, strict=True):
        assert np.linalg.norm(to_numpy(value) - was) == pytest.approx(0.01 * np.linalg.norm(was), rel=1e-3)
        assert np.array_equal(to_numpy(kernel.value), was)


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ({"awp": 0.01}, "awp: goes with adversarial"),
        ({"overfitting_guard": True}, "needs robust_samples"),
        ({"distill_robust": True}, "needs distill"),
        (
            {
                "distill_robust": True,
                "distill": "t",
                "adversarial": AdversarialConfig(method="trades", eps="1/255"),
            },
            "not with",
        ),
    ],
)
def test_options_that_need_others_say_so(recipe, told):
    with pytest.raises(ValueError, match=told):
        TrainConfig(epochs=1, **recipe)
