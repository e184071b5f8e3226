"""What networks do with inputs that their cards say nothing of: recordings attacked as a microphone delivers them, and
digits of SVHN shown to networks that know CIFAR-10. Part of `make comparison`, which keeps the results.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.robustness import STEP_SIZE, STEPS, accuracy
from bench.sweeps import HERE
from pipeline import datasets
from pipeline.config.dataset import DatasetConfig
from pipeline.config.job import AttackConfig
from pipeline.core import shell, store
from pipeline.core.nouns import Dataset, Int8Array, Progress, QModel, Split, no_progress
from pipeline.network import twin
from pipeline.robustness import suites
from pipeline.robustness.waveform import Sound
from pipeline.stages import attack
from pipeline.workflow import binding, zoo
from pipeline.workflow.plan import load_network

STORED = HERE / "results" / "other_inputs.json"
"""Results by `key`."""
SNR = ("40", "30")
"""Budgets of attacked recordings, in dB."""
SIGMA = ("0.1", "0.3")
"""Budgets of attacked features, in standard deviations of each."""
QUERIES = 1000
"""Of the black-box attack on features, a sample."""
RECORDINGS, FAMILIAR = 200, 2000
"""Recordings attacked, and test samples of CIFAR-10 that the digits are told from; drawn evenly from all classes."""
SOUND, IMAGES, UNFAMILIAR = "speech_commands", "cifar10", "svhn"
SEED = 1


def stored() -> dict[str, Any]:
    """What is kept, by `key`."""
    return dict(json.loads(STORED.read_text(encoding="utf-8"))) if STORED.exists() else {}


def key(card: zoo.Card) -> str:
    """Of a network in the stored file."""
    return f"{card.digest} {suites.VERSION}"


def measure(cards: Sequence[zoo.Card], progress: Progress) -> None:
    """Measures the networks that are new or changed, one after the other; keeps what is still wanted."""
    known = stored()
    for card in cards:
        if key(card) not in known:
            model = load_network(zoo.find(Path(card.name)))
            known[key(card)] = MEASURED[card.dataset](model, progress)
            store.write_text(STORED, json.dumps(known, indent=1) + "\n")
    wanted = {key(card): known[key(card)] for card in cards}
    store.write_text(STORED, json.dumps(wanted, indent=1) + "\n")


def recordings(model: QModel, progress: Progress = no_progress) -> dict[str, Any]:
    """`at_snr` and `at_sigma` of the same test recordings of Speech Commands, drawn evenly from all classes."""
    config = DatasetConfig(name=SOUND)
    sound, whole = binding.sound(config, model), datasets.load(config, cache=_cache())
    assert sound is not None
    clean = replace(whole, splits={"test": whole.splits["test"].subset(RECORDINGS, SEED)})
    return {**at_snr(model, clean, sound, progress), **at_sigma(model, clean, progress)}


def at_snr(model: QModel, clean: Dataset, sound: Sound, progress: Progress = no_progress) -> dict[str, Any]:
    """Plain JSON values: accuracy, with interval and n, on the test samples, "clean" and after PGD on their recordings
    at each signal-to-noise ratio of SNR."""
    config = AttackConfig(name="pgd", eps=SNR, unit="snr", steps=STEPS, step_size=STEP_SIZE)
    oracle_for = attack.oracles(model, lambda _: model)
    made, _ = attack.attack(oracle_for, clean, (config,), SEED, progress=progress, sound=sound)
    return {name: accuracy(model, data, progress) for name, data in zip(("clean", *SNR), made, strict=True)}


def at_sigma(model: QModel, clean: Dataset, progress: Progress = no_progress) -> dict[str, Any]:
    """Plain JSON values: accuracy, with interval and n, on the test samples after the attacks on their features, by
    `sigma_key`."""
    attacks = (
        AttackConfig(name="pgd", eps=SIGMA, unit="sigma", steps=STEPS, step_size=STEP_SIZE),
        AttackConfig(name="square", eps=SIGMA, unit="sigma", queries=QUERIES),
    )
    made, _ = attack.attack(attack.oracles(model, lambda _: model), clean, attacks, SEED, progress=progress)
    names = [sigma_key(config.name, eps) for config in attacks for eps in SIGMA]
    return {name: accuracy(model, data, progress) for name, data in zip(names, made[1:], strict=True)}


def sigma_key(attack_name: str, eps: str) -> str:
    """Of an attack on features in the stored results.

    >>> sigma_key("pgd", "0.1")
    'pgd 0.1 sigma'
    """
    return f"{attack_name} {eps} sigma"


def digits(model: QModel, progress: Progress = no_progress) -> dict[str, Any]:
    """`told_apart` of CIFAR-10's test samples and all digits of SVHN that are there."""
    familiar, unfamiliar = (datasets.load(DatasetConfig(name=name), cache=_cache()) for name in (IMAGES, UNFAMILIAR))
    every = np.concatenate([split.x for split in unfamiliar.splits.values()])
    return told_apart(model, familiar.splits["test"].subset(FAMILIAR, SEED), every, progress)


def told_apart(
    model: QModel, familiar: Split, unfamiliar: Int8Array, progress: Progress = no_progress
) -> dict[str, Any]:
    """Plain JSON values: "auroc" of the largest logit, [0, 1], the number of samples on each side, and the mean largest
    logit of either, in steps of the output."""
    known, other = (twin.run(model, x, progress).max(axis=1) for x in (familiar.x, unfamiliar))
    means = {"familiar_logit": float(known.mean()), "unfamiliar_logit": float(other.mean())}
    return {"auroc": auroc(known, other), "familiar": len(known), "unfamiliar": len(other), **means}


def auroc(higher: NDArray[Any], lower: NDArray[Any]) -> float:
    """Probability that a random one of `higher` lies above a random one of `lower`, ties counting half: the area under
    the receiver operating characteristic."""
    ordered = np.sort(lower)
    places = np.searchsorted(ordered, higher, "left") + np.searchsorted(ordered, higher, "right")
    return float(places.mean() / (2 * len(ordered)))


def _cache() -> Path:
    return shell.cache_folder() / "data"


MEASURED: Mapping[str, Any] = {SOUND: recordings, IMAGES: digits}
"""What is measured of networks of a data set."""
