"""Training: it learns, it continues exactly, it stops in time."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.config.dataset import DatasetConfig
from pipeline.config.job import AdversarialConfig, Job, ModelConfig, TrainConfig
from pipeline.core import interrupt, processor, registry
from pipeline.core.errors import ConfigError, ToolError, UnsupportedError
from pipeline.core.nouns import Dataset, Quantization, Split, TensorSpec
from pipeline.stages import train
from pipeline.training import checkpoint, keras_model
from pipeline.training.keras_backend import has_bfloat16, keras, to_numpy
from pipeline.training.run import Run, overfits

pytestmark = pytest.mark.slow


class ProcessDiesError(Exception):
    """What ends the process in the middle of an epoch."""


EVERYTHING = {
    "stochastic": True,
    "final_temperature": 16.0,
    "temperature_schedule": "cosine",
    "jacobian": "network_input",
    "jacobian_lambda": {"conv2": 1e-2, "logits": 1e-3},
    "adversarial": AdversarialConfig(method="pgd", eps="8/255", steps=2, share=0.5),
    "ema": 0.8,
    "robust_samples": 16,
    "best_by": "robust_accuracy",
}
"""A recipe with most of what a recipe can have; everything random is drawn anew in each step."""


def job(**recipe) -> Job:
    settings = {"epochs": 3, "batch_size": 32, "learning_rate": 3e-3, "jacobian_lambda": 1e-3, **recipe}
    return Job(
        name="test",
        dataset=DatasetConfig(name="digits", limit_train=192),
        model=ModelConfig(name="digits_cnn", width=0.5),
        train=TrainConfig(**settings),
        calibration=64,
    )


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Dataset:
    return registry.load("datasets", "digits").load(None, cache=tmp_path_factory.mktemp("cache"))


def weights(folder) -> list[np.ndarray]:
    return [np.array(v) for v in keras_model.load(folder).weights]


def equal(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def dies_in_epoch(number: int):
    def progress(what: str, done: int, total: int, info: str = "") -> None:
        if info.startswith(f"epoch {number}/"):
            raise ProcessDiesError

    return progress


def test_resumed_training_ends_with_the_same_weights(digits, tmp_path):
    whole = train.train(job(), digits, tmp_path / "whole")
    with pytest.raises(ProcessDiesError):
        train.train(job(), digits, tmp_path / "broken", progress=dies_in_epoch(3))
    assert not (tmp_path / "broken" / "model.keras").exists()
    resumed = train.train(job(), digits, tmp_path / "broken", resume=True)
    assert resumed.history == whole.history
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "broken"))


@pytest.fixture(scope="module")
def unbroken(digits, tmp_path_factory):
    """(folder, TrainedModel) of the whole recipe, trained without a break: 3 epochs of 6 steps."""
    folder = tmp_path_factory.mktemp("unbroken")
    return folder, train.train(job(**EVERYTHING), digits, folder)


@pytest.mark.parametrize("step", [9, 12])
def test_a_signal_in_the_middle_of_an_epoch_costs_nothing(digits, unbroken, tmp_path, step):
    """Terminated as the command line is: within an epoch, and at the end of one."""

    def progress(what: str, done: int, total: int, info: str = "") -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGTERM)
        interrupt.check()

    with interrupt.handled(), pytest.raises(KeyboardInterrupt):
        train.train(job(**EVERYTHING), digits, tmp_path, progress=progress)
    seen: list[int] = []
    resumed = train.train(
        job(**EVERYTHING), digits, tmp_path, resume=True, progress=lambda what, done, *_: seen.append(done)
    )
    assert seen == list(range(step + 1, 19))
    assert resumed.history == unbroken[1].history
    assert equal(weights(tmp_path), weights(unbroken[0]))


def test_an_interrupt_during_validation_costs_nothing(digits, unbroken, tmp_path, monkeypatch):
    predict, calls = keras_model.predict, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return predict(*arguments)

    monkeypatch.setattr(keras_model, "predict", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train.train(job(**EVERYTHING), digits, tmp_path)
    resumed = train.train(job(**EVERYTHING), digits, tmp_path, resume=True)
    assert resumed.history == unbroken[1].history
    assert equal(weights(tmp_path), weights(unbroken[0]))


def test_the_history_tells_robust_accuracy(digits, unbroken):
    _, trained = unbroken
    robust = [epoch["validation_robust_accuracy"] for epoch in trained.history]
    assert all(0 <= value <= 1 and value * 16 == round(value * 16) for value in robust)
    assert trained.metrics["validation_robust_accuracy"] == max(robust)


def test_the_averaged_weights_are_those_validated_and_kept(tmp_path):
    recipe = job(ema=0.5, jacobian_lambda=0, epochs=1)
    run = Run(recipe, recipe.train, flat(), tmp_path / "last.npz")
    average, compared = None, []
    for x, y in run.batches(0):
        run.step(x, y)
        now = [to_numpy(v).copy() for v in run.model.trainable_variables]
        average = now if average is None else [0.5 * a + 0.5 * b for a, b in zip(average, now, strict=True)]
    run.close_epoch()
    kept = dict(zip([v.path for v in run.model.variables], run.done.best, strict=True))
    for variable, wanted, raw in zip(run.model.trainable_variables, average, now, strict=True):
        assert np.array_equal(to_numpy(variable), raw)
        if np.abs(raw).max() < 1:  # QKeras clips kernels to [-1, 1], after Keras has averaged them
            assert np.allclose(kept[variable.path], wanted, atol=1e-6), variable.path
            assert not np.allclose(kept[variable.path], raw, atol=1e-6), variable.path
            compared.append(variable.path)
    assert {"conv2/kernel", "logits/kernel", "conv1_bn/gamma"} & set(compared)


def test_a_checkpoint_without_sums_is_still_read(tmp_path):
    """Those written before epochs could be broken off."""
    data, recipe = flat(), job(epochs=1)
    train.train(recipe, data, tmp_path)
    path = tmp_path / "checkpoints" / "last.npz"
    run = Run(recipe, recipe.train, data, path)
    facts, arrays = checkpoint.load(path, run._key())
    old = {key: facts[key] for key in ("epoch", "history", "best_score")}
    checkpoint.save(path, run._key(), old, arrays)
    assert len(train.train(job(epochs=2), data, tmp_path, resume=True).history) == 2


def test_options_at_their_defaults_do_not_change_what_a_training_is():
    plain = job().train
    assert set(plain.identity()) == TrainConfig.FIRST
    assert set(job(ema=0.5).train.identity()) == TrainConfig.FIRST | {"ema"}
    config = ModelConfig(name="digits_cnn")
    assert set(config.identity()) == ModelConfig.FIRST
    assert config.model_copy(update={"alpha": "auto_po2"}).identity()["alpha"] == "auto_po2"


def test_weights_of_an_earlier_training_go_to_the_layers_of_the_same_name(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = job(epochs=1)
    floats = base.model_copy(update={"model": base.model.model_copy(update={"weight_bits": 32})})
    trained = train.train(floats, digits, tmp_path / "runs" / "base" / "train")
    assert {layer.config["bits"] for layer in trained.layers if "codes" in layer.arrays} == {8}
    recipe = job(initial="base", distill="base")
    run = Run(recipe, recipe.train, digits, tmp_path / "last.npz")
    theirs = keras_model.load(tmp_path / "runs" / "base" / "train")
    for layer in theirs.layers:
        ours = run.model.get_layer(layer.name).weights
        assert all(np.array_equal(to_numpy(a), to_numpy(b)) for a, b in zip(layer.weights, ours, strict=True))
    x = digits.input.quantization.dequantize(digits.splits["test"].x[:4])
    assert np.allclose(run.objective.teacher(x), theirs(x, training=False), atol=1e-5)
    key = run._key()
    train.train(floats.model_copy(update={"seed": 5}), digits, tmp_path / "runs" / "base" / "train")
    assert Run(recipe, recipe.train, digits, tmp_path / "last.npz")._key() != key
    narrower = recipe.model_copy(update={"model": recipe.model.model_copy(update={"width": 0.25})})
    with pytest.raises(ConfigError, match=r"layer 'conv1' of 'base' and of the job: \[\(3, 3, 1, 12\)\] and"):
        train.train(narrower, digits, tmp_path / "narrower")


@pytest.mark.parametrize(
    "recipe, model, said",
    [
        ({"initial": "nonesuch"}, {}, "'nonesuch' is no earlier training"),
        ({"distill": "nonesuch"}, {}, "'nonesuch' is no earlier training"),
        ({"distill": "mlperf_tiny"}, {}, r"takes \(32, 32, 3\) and has 10 classes, the job \(4, 4, 1\) and 10"),
        ({}, {"layer_bits": {"logit": 8}}, "model.layer_bits.logit: digits_cnn has no such layer"),
    ],
)
def test_what_is_not_there_is_named(recipe, model, said, tmp_path):
    wanted = job(**recipe)
    with pytest.raises(ConfigError, match=said):
        train.train(wanted.model_copy(update={"model": wanted.model.model_copy(update=model)}), flat(), tmp_path)
    assert not any(tmp_path.rglob("*.keras"))


def test_adversarial_training_buys_robustness(digits, tmp_path):
    def robust(name: str, **recipe) -> float:
        settings = {"epochs": 5, "learning_rate": 5e-3, "jacobian_lambda": 0}
        wanted = job(**settings, robust_samples=200, robust_eps="24/255", **recipe)
        wanted = wanted.model_copy(
            update={
                "dataset": DatasetConfig(name="digits", limit_train=960),
                "model": ModelConfig(name="digits_cnn", width=0.5, weight_bits=32),
            }
        )
        trained = train.train(wanted, digits, tmp_path / name)
        assert trained.history[-1]["validation_accuracy"] > 0.9
        return trained.history[-1]["validation_robust_accuracy"]

    attack = AdversarialConfig(method="fast_fgsm", eps="24/255")
    assert robust("adversarial", adversarial=attack) > robust("plain") + 0.1


def test_shares_are_of_the_time_that_training_takes(monkeypatch, tmp_path):
    """By a clock that every look at it moves on by a second: 2 epochs of 2 batches, 2 steps and 1 validation."""
    monkeypatch.setattr("pipeline.training.run.time", SimpleNamespace(perf_counter=itertools.count().__next__))
    metrics = train.train(job(epochs=2, jacobian_lambda=0), flat(), tmp_path).metrics
    assert (metrics["input_share"], metrics["validation_share"]) == (0.4, 0.2)


def test_what_the_device_does_not_compute_is_refused_before_the_first_step(digits, tmp_path, monkeypatch):
    def build(*_: object) -> keras.Model:
        inputs = keras.Input(digits.input.shape)
        return keras.Model(inputs, keras.layers.LeakyReLU(name="leaky")(inputs))

    def refuse(trained: object) -> None:
        raise UnsupportedError("its shapes do not fit")

    steps: list[int] = []
    watch = {"progress": lambda what, done, *_: steps.append(done)}
    with pytest.raises(UnsupportedError, match="its shapes do not fit"):
        train.train(job(), digits, tmp_path, check=refuse, **watch)
    monkeypatch.setattr(registry.load("models", "digits_cnn"), "build", build)
    with pytest.raises(UnsupportedError, match="'leaky' is a LeakyReLU"):
        train.train(job(jacobian_lambda=0.0), digits, tmp_path, **watch)
    assert steps == []


def test_without_resume_training_starts_over(digits, tmp_path):
    train.train(job(), digits, tmp_path, epochs=1)
    again = train.train(job(), digits, tmp_path, epochs=1)
    assert len(again.history) == 1


def test_another_seed_trains_other_weights(digits, tmp_path):
    train.train(job(), digits, tmp_path / "a", epochs=1)
    train.train(job().model_copy(update={"seed": 2}), digits, tmp_path / "b", epochs=1)
    assert not equal(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_a_few_epochs_learn(digits, tmp_path):
    seen: list[tuple[int, int, str]] = []
    trained = train.train(
        job(epochs=6), digits, tmp_path, progress=lambda what, done, total, info="": seen.append((done, total, info))
    )
    assert trained.metrics["validation_accuracy"] > 0.5
    assert trained.metrics["validation_accuracy"] == max(h["validation_accuracy"] for h in trained.history)
    assert [int(h["epoch"]) for h in trained.history] == [1, 2, 3, 4, 5, 6]
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]
    assert [done for done, _, _ in seen] == list(range(1, 37)) and {total for _, total, _ in seen} == {36}
    assert "epoch 6/6 loss" in seen[-1][2] and "val" in seen[-1][2]
    model = keras_model.load(tmp_path)
    validation = digits.splits["validation"]
    answers = keras_model.predict(model, validation.x, digits.input.quantization).argmax(axis=1)
    assert np.mean(answers == validation.y) == pytest.approx(trained.metrics["validation_accuracy"])


def test_the_penalty_flattens_the_network(digits, tmp_path):
    def last_penalty(strength: float) -> float:
        recipe = job(epochs=4, jacobian_lambda=strength)
        return train.train(recipe, digits, tmp_path / str(strength)).history[-1]["jacobian"]

    assert last_penalty(0.1) < 0.5 * last_penalty(1e-6)


def flat(shape=(4, 4, 1), n: int = 64) -> Dataset:
    """Noise and random labels."""
    rng = np.random.default_rng(0)
    x = rng.integers(-128, 128, (n, *shape)).astype(np.int8)
    split = Split(x, rng.integers(0, 10, n), np.arange(n))
    names = tuple("0123456789")
    splits = {"train": split, "validation": split, "test": split}
    return Dataset("flat", TensorSpec(shape, Quantization(1 / 255, -128)), names, splits)


def test_a_diverging_loss_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    data = flat()
    train.train(job(epochs=1, jacobian_lambda=0), data, tmp_path)
    kept = (tmp_path / "checkpoints" / "last.npz").read_bytes()
    with pytest.raises(ConfigError, match="loss is not finite at step") as caught:
        train.train(job(epochs=2, jacobian_lambda=1e38), data, tmp_path)
    assert "train.learning_rate or train.jacobian_lambda" in caught.value.hint
    assert (tmp_path / "checkpoints" / "last.npz").read_bytes() == kept


def test_foreign_and_damaged_checkpoints_are_refused(tmp_path):
    data = flat()
    train.train(job(epochs=1), data, tmp_path)
    with pytest.raises(ConfigError, match="checkpoint of another job"):
        train.train(job(epochs=1, temperature=4.0), data, tmp_path, resume=True)
    path = tmp_path / "checkpoints" / "last.npz"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ConfigError, match=r"last\.npz: damaged checkpoint"):
        train.train(job(epochs=1), data, tmp_path, resume=True)


def test_a_full_disk_leaves_the_previous_checkpoint(tmp_path, monkeypatch):
    data = flat()
    train.train(job(epochs=1), data, tmp_path)
    kept = (tmp_path / "checkpoints" / "last.npz").read_bytes()

    def full(path, content):
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ToolError, match=r"last\.npz: .*No space left"):
        train.train(job(epochs=2), data, tmp_path, resume=True)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.npz"]
    assert (tmp_path / "checkpoints" / "last.npz").read_bytes() == kept


def test_a_model_without_reference_weights_is_named(tmp_path):
    with pytest.raises(ConfigError, match="'digits_cnn' has no reference weights"):
        train.train(job(initial="mlperf_tiny"), flat(), tmp_path)


def epochs(*robust_and_fgsm: tuple[float, float]) -> list[dict[str, float]]:
    names = ("validation_robust_accuracy", "validation_fgsm_accuracy")
    return [dict(zip(names, shares, strict=True)) for shares in robust_and_fgsm]


@pytest.mark.parametrize(
    ("now", "seen"),
    [((0.0, 0.9), True), ((0.0, 0.1), False), ((0.36, 0.9), False), ((0.38, 0.4), False), ((0.5, 0.9), False)],
)
def test_catastrophic_overfitting_is_what_pgd_alone_sees(now, seen):
    """Of 100 samples: 36 and 40 lie in each other's intervals."""
    (last,) = epochs(now)
    assert overfits(last, epochs((0.2, 0.3), (0.4, 0.45)), 100) == seen
    assert not overfits(last, [], 100)


def test_the_guard_stops_and_keeps_an_earlier_epoch(digits, tmp_path, monkeypatch):
    """The overfit epoch has the best clean accuracy; a run that is resumed stays stopped."""
    attack = AdversarialConfig(method="fast_fgsm", eps="8/255")
    recipe = job(epochs=9, adversarial=attack, robust_samples=60, overfitting_guard=True)
    shares = [(0.5, 0.4, 0.5), (0.6, 0.5, 0.6), (0.9, 0.0, 0.9)]
    names = ("validation_accuracy", "validation_robust_accuracy", "validation_fgsm_accuracy")
    script = iter({**dict(zip(names, each, strict=True)), "validation_loss": 1.0} for each in shares)
    run = Run(recipe, recipe.train, digits, tmp_path / "last.npz")
    marked = []
    monkeypatch.setattr(run, "validate", lambda: next(script))
    monkeypatch.setattr(run, "_steps", lambda progress: marked.append(run.model.trainable_variables[0].assign(
        np.full(run.model.trainable_variables[0].shape, len(marked), np.float32))))  # fmt: skip
    run.train(lambda *_: None)
    assert [record.get("overfitting") for record in run.done.history] == [None, None, 1.0]
    assert run.metrics()["validation_accuracy"] == 0.6
    trainable = [v.path for v in run.model.variables].index(run.model.trainable_variables[0].path)
    assert np.unique(run.done.best[trainable]).tolist() == [1.0]
    again = Run(recipe, recipe.train, digits, tmp_path / "last.npz")
    again.restore()
    monkeypatch.setattr(again, "_steps", lambda progress: pytest.fail("goes on"))
    again.train(lambda *_: None)
    assert again.done.history == run.done.history


def test_bfloat16_is_refused_where_the_processor_lacks_it(digits, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("flags : sse2 avx2\n")
    monkeypatch.setattr(processor, "INFO", tmp_path / "cpuinfo")
    with pytest.raises(ConfigError, match=r'train\.precision = "bfloat16": .* \(avx512_bf16, amx_bf16, bf16\)'):
        train.train(job(precision="bfloat16"), digits, tmp_path)


@pytest.mark.skipif(not has_bfloat16(), reason="no bfloat16 here")
def test_a_step_in_bfloat16_is_nearly_one_in_float32_and_inference_is_exactly_the_same(digits, tmp_path):
    attack = AdversarialConfig(method="n_fgsm", eps="8/255")
    jobs = [job(precision=name, adversarial=attack, stochastic=False) for name in ("float32", "bfloat16")]
    exact, near = (Run(one, one.train, digits, tmp_path / "last.npz") for one in jobs)
    assert exact.validate() == near.validate()
    losses = [to_numpy(run.step(*next(run.batches(0))))[0] for run in (exact, near)]
    assert 0 < abs(losses[0] - losses[1]) < 0.02 * losses[0]
