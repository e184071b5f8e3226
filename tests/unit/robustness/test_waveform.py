"""Attacks on sound: the front end's gradient against differences, budgets of the waveform, and what is scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline import datasets
from pipeline.config.dataset import DatasetConfig, MfccConfig
from pipeline.config.job import AttackConfig
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Dataset, Quantization
from pipeline.robustness import audit, campaign, waveform
from pipeline.robustness.evidence import Evidence
from pipeline.robustness.losses import LOSSES
from pipeline.robustness.waveform import Sound, WaveformOracle
from pipeline.stages import attack
from pipeline.workflow import binding
from tests.support import linear_oracle, own_files

FRONT = MfccConfig(sample_rate=8000, seconds=0.1, mel_bins=12, coefficients=5)
SNR = AttackConfig(name="pgd", eps=("12",), norm="l2", unit="snr", steps=5, step_size=0.4)


def recorded(n: int = 6) -> np.ndarray:
    """Tones in noise, int16 (n, samples)."""
    random, time = np.random.default_rng(3), np.arange(FRONT.samples) / FRONT.sample_rate
    pitch = random.uniform(200, 3000, (n, 1))
    return np.rint(6000 * np.sin(2 * np.pi * pitch * time) + random.normal(0, 300, (n, len(time)))).astype(np.int16)


def heard(pcm: np.ndarray) -> Sound:
    """The recordings, on a lattice that holds all their features."""
    real = datasets.features(pcm, FRONT)
    return Sound(lambda index: pcm[index], FRONT, Quantization(float(np.abs(real).max()) * 1.2 / 127, 0))


def problem(n: int = 6):
    """(oracle of features, sound, Dataset), a linear network that answers all samples rightly."""
    pcm = recorded(n)
    sound = heard(pcm)
    w = np.random.default_rng(1).normal(size=(4, FRONT.frames, FRONT.coefficients, 1)) * 0.002
    oracle = linear_oracle.LinearOracle(w, sound.quantization)
    _, like = linear_oracle.problem(n)
    x = sound.features(pcm)
    split = like.splits["test"]
    y = oracle.logits(x).argmax(axis=1).astype(np.int64)
    data = Dataset("tones", oracle.input, tuple("abcd"), {"test": type(split)(x, y, np.arange(n))})
    return oracle, sound, data


def heard_by(monkeypatch) -> list[np.ndarray]:
    """Everything that the front end hears from now on, the attacked recordings last."""
    asked: list[np.ndarray] = []
    features = Sound.features
    monkeypatch.setattr(Sound, "features", lambda self, pcm: asked.append(pcm.copy()) or features(self, pcm))
    return asked


@pytest.mark.parametrize("loudest", [30000, 1, 0])
def test_the_gradient_of_the_front_end_is_that_of_its_formula(loudest):
    """Against central differences of the formula in float64, in random directions, the loudest sample moving too."""
    random = np.random.default_rng(0)
    pcm = recorded(2)
    if loudest <= 1:
        pcm = np.minimum(pcm, loudest).astype(np.int16)
    slope = random.normal(size=(2, FRONT.frames, FRONT.coefficients, 1)).astype(np.float32)
    sound = heard(pcm)
    found = sound.backward(pcm, slope) * sound.quantization.scale

    def value(wave: np.ndarray) -> np.ndarray:
        return (waveform._Pass.of(wave, FRONT).cepstrum * slope[..., 0]).sum(axis=(1, 2))

    for _ in range(3):
        direction = random.normal(size=pcm.shape)
        direction[np.arange(2), pcm.argmax(axis=1)] = 5 if loudest > 1 else 0
        if loudest <= 1:  # the peak is where many samples are: only what lies below may move
            direction[pcm >= loudest] = 0
        ahead, behind = (value(pcm + sign * 1e-3 * direction) for sign in (1, -1))
        np.testing.assert_allclose((found * direction).sum(axis=1), (ahead - behind) / 2e-3, rtol=2e-3)


def test_the_front_ends_own_figures_are_asked_about_and_its_formula_is_theirs():
    oracle, sound, _ = problem()
    pcm = recorded()
    listening = WaveformOracle(sound, oracle)
    np.testing.assert_array_equal(listening.logits(pcm), oracle.logits(sound.features(pcm)))
    real = datasets.features(pcm, FRONT)[..., 0]
    np.testing.assert_allclose(waveform._Pass.of(pcm, FRONT).cepstrum, real, atol=2e-4)
    found = listening.gradient(pcm, np.zeros(6, np.int64), LOSSES["margin"])
    assert found.gradient.shape == pcm.shape
    np.testing.assert_array_equal(found.answers, listening.logits(pcm))


def test_no_gradient_passes_features_beyond_the_lattice():
    pcm = recorded(2)
    sound = heard(pcm)
    narrow = Sound(sound.read, FRONT, Quantization(1e-6, 0))
    slope = np.ones((2, FRONT.frames, FRONT.coefficients, 1), np.float32)
    assert sound.backward(pcm, slope).any()
    assert not narrow.backward(pcm, slope).any()


@pytest.mark.parametrize("config", [SNR, SNR.model_copy(update={"name": "noise", "queries": 5})])
def test_a_signal_to_noise_ratio_is_kept_by_every_recording(config, monkeypatch):
    oracle, sound, data = problem()
    asked = heard_by(monkeypatch)
    (item,) = campaign.campaigns([config], data, sound)
    attacked, (outcome,) = campaign.run(item, data, lambda _: oracle, 1, sound=sound)
    assert outcome.label == f"{config.name} eps=12 dB"
    assert (attacked.attack.unit, attacked.attack.eps_lsb) == ("snr", None)
    assert outcome.attacked.all()
    last = asked[-1]
    assert last.dtype == np.int16
    np.testing.assert_array_equal(attacked.splits["test"].x, sound.features(last))
    clean = recorded().astype(float)
    ratio = 10 * np.log10((clean**2).sum(axis=1) / ((last - clean) ** 2).sum(axis=1))
    assert ratio.min() >= 12 - 1e-5
    assert ratio.min() < 12.5
    wrong = oracle.logits(attacked.splits["test"].x).argmax(axis=1) != data.splits["test"].y
    np.testing.assert_array_equal(wrong, outcome.fooled)


def test_gradients_find_more_than_noise_of_the_same_ratio():
    oracle, sound, data = problem(20)
    fooled = []
    for config in (SNR, SNR.model_copy(update={"name": "noise", "queries": 6})):
        (item,) = campaign.campaigns([config], data, sound)
        fooled.append(campaign.run(item, data, lambda _: oracle, 1, sound=sound)[1][0].fooled.sum())
    assert fooled[0] > fooled[1]


@pytest.mark.parametrize("name", ["pgd", "square", "simba", "apgd_t"])
def test_steps_of_int16_bound_every_sample(name, monkeypatch):
    oracle, sound, data = problem()
    few = {"queries": 20} if name in ("square", "simba") else {"steps": 3}
    (item,) = campaign.campaigns([AttackConfig(name=name, eps=("100.5",), unit="int16", **few)], data, sound)
    asked = heard_by(monkeypatch)
    attacked, (outcome,) = campaign.run(item, data, lambda _: oracle, 1, sound=sound)
    assert outcome.label == attacked.label == f"{name} eps=100.5 int16 steps"
    change = np.abs(asked[-1].astype(int) - recorded())
    assert 0 < change.max() <= 100


def test_silence_cannot_be_attacked_by_a_ratio():
    budget = campaign.campaigns([SNR], problem()[2], problem()[1])[0].budget
    silent = np.zeros((1, FRONT.samples), np.int16)
    assert not budget.project(np.ones(silent.shape) * 50, silent).any()
    assert budget.distance(silent + np.int16(1), silent)[0] == np.inf


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"unit": "snr", "norm": "l2", "eps": ["200"]}, r"attacks\.0\.eps = 200: a noise so far below the signal"),
        ({"unit": "int16", "eps": ["0.5"]}, r"attacks\.0\.eps = 0\.5: not 1 to 65535 steps"),
    ],
)
def test_a_budget_that_changes_no_sample_is_refused(config, says):
    _, sound, data = problem()
    with pytest.raises(ConfigError, match=says):
        attack.check(data, [AttackConfig(name="pgd", **config)], sound)


def test_data_without_recordings_and_norms_without_a_meaning_are_refused():
    _, _, data = problem()
    with pytest.raises(ConfigError, match="unit snr is one of waveforms, data set tones offers no recordings"):
        attack.check(data, [SNR])
    with pytest.raises(ValueError, match='unit: "snr" goes with norm "l2"'):
        AttackConfig(name="pgd", eps=("20",), unit="snr", norm="linf")
    assert AttackConfig(name="pgd", eps=("20",), unit="snr").norm == "l2"


@pytest.mark.parametrize("config", [SNR, AttackConfig(name="pgd", eps=("300",), unit="int16")])
def test_a_budget_of_waveforms_is_audited(config, monkeypatch):
    """Recordings are attacked and answered; half of such a budget is half of the change."""
    oracle, sound, data = problem()
    (item,) = campaign.campaigns([config], data, sound)
    evidence = Evidence(lambda _: oracle, data, item.budget, 1, sound=sound)
    assert evidence.x.dtype == np.int16
    half, pcm = evidence.scaled(0.5), recorded()
    np.testing.assert_allclose(half.radii(pcm) * 2, item.budget.radii(pcm))
    assert not evidence.scaled(0).radius.any()
    for exact in ("repeat_inference", "surrogate", "eps_zero"):
        assert audit.CHECKS[exact](evidence)[:2] == (0.0, 0.0)
    monkeypatch.setattr("pipeline.robustness.evidence.STEPS", 3)
    rise, by_chance, why = audit.CHECKS["monotone"](evidence)
    assert rise <= by_chance
    assert f"0.5 x {item.budget.label}, {item.budget.label}, whole range" in why


def test_recordings_of_files_are_those_the_samples_were_made_from(tmp_path: Path):
    config = own_files.config("wav", tmp_path)
    data = datasets.load(config, cache=tmp_path / "cache")
    split = data.splits["test"]
    model = type("Network", (), {"metrics": {}, "input": data.input})()
    sound = binding.sound(config, model)
    pcm = sound.read(split.index)
    assert (pcm.dtype, pcm.shape) == (np.int16, (len(split), config.mfcc.samples))
    np.testing.assert_array_equal(sound.features(pcm), split.x)
    assert binding.sound(DatasetConfig(name="digits"), model) is None
