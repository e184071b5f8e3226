"""Campaigns: the attacks of one entry of a job at one eps, in turn, on one network.

What is scored decides what is attacked: the samples that the network itself, integer for integer, answers rightly. An
attack after the first one of a suite gets those that are left.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.config.job import SUITES, AttackConfig, attack_settings, variants
from pipeline.core import registry
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import AttackOutcome, Dataset, Progress, Split, no_progress
from pipeline.robustness import suites
from pipeline.robustness.budget import Budget
from pipeline.robustness.oracle import Oracle, shards
from pipeline.robustness.projection import Lattice
from pipeline.robustness.trial import Trial
from pipeline.robustness.waveform import Sound, WaveformOracle

BATCH = 50
"""Samples one thread attacks at a time. What is found does not depend on it: all randomness is per sample."""
SHOW_EVERY_S = 0.2
"""Between two looks at how far an attack is."""
SHARES = 100
"""Steps in which the progress of one sample is told."""
COUNTS = ("steps", "restarts", "targets", "queries")
"""Settings whose product is the number of answers, or of ANSWERS, that an attack asks for."""
OracleFor = Callable[[AttackConfig], Oracle]
"""The oracle that an attack with these settings asks."""


@dataclass(frozen=True)
class Campaign:
    """One entry of a job's attacks at one eps."""

    config: AttackConfig
    """The entry: an attack or a suite."""
    budget: Budget
    """Of every attack of it."""
    variant: str = ""
    """See config.job.variants."""

    @property
    def attacks(self) -> tuple[AttackConfig, ...]:
        """In turn; each gets the samples that those before it did not fool."""
        return suites.expand(self.config)

    @property
    def params(self) -> dict[str, object]:
        """Settings, as AttackInfo stores them: an attack's own; of a suite, those of all its attacks by their place."""
        if self.config.name not in SUITES:
            return settings(self.config)
        return {str(place): {"name": a.name, **settings(a)} for place, a in enumerate(self.attacks)}


def settings(config: AttackConfig) -> dict[str, object]:
    """The settings that an attack uses, by name."""
    return config.model_dump(include=set(attack_settings(config.name)))


def campaigns(configs: Sequence[AttackConfig], dataset: Dataset, sound: Sound | None = None) -> tuple[Campaign, ...]:
    """Every entry at every eps. ConfigError names the entry whose eps or norm cannot be, or two that are the same,
    before any work."""
    made = []
    for place, (config, variant) in enumerate(zip(configs, _variants(configs), strict=True)):
        for part in suites.expand(config):
            norms = registry.load("attacks", part.name).NORMS
            if config.norm not in norms:
                raise ConfigError(
                    f"attacks.{place}.norm = {config.norm}: {part.name!r} works in {' and '.join(norms)}",
                    f'use norm = "{norms[0]}", or another attack',
                )
        for label in config.eps:
            made.append(Campaign(config, Budget.of(config, label, dataset, f"attacks.{place}.eps", sound), variant))
    return tuple(made)


def _variants(configs: Sequence[AttackConfig]) -> tuple[str, ...]:
    try:
        return variants(configs)
    except ValueError as error:
        raise ConfigError(str(error), "leave one out, or let a setting differ") from error


def run(
    campaign: Campaign,
    clean: Dataset,
    oracle_for: OracleFor,
    seed: int,
    progress: Progress = no_progress,
    sound: Sound | None = None,
) -> tuple[Dataset, tuple[AttackOutcome, ...]]:
    """(the attacked copies of the campaign's samples, what each attack did). Samples that the oracle answers wrongly
    when clean stay as they are; every other one becomes the point that fooled it, or came nearest to it. sound: the
    recordings, for a budget of waveforms: they are attacked, and the copies are what the front end makes of them."""
    split = clean.splits["test"].subset(campaign.config.samples, seed)
    if campaign.config.on_waveform:
        assert sound is not None, "a budget of waveforms without recordings"
        run = _Run(campaign, split, sound.read(split.index), hearing(sound, oracle_for), seed, progress)
    else:
        run = _Run(campaign, split, split.x, oracle_for, seed, progress)
    outcomes = run.all()
    x = sound.features(run.x) if sound is not None and campaign.config.on_waveform else run.x
    info = campaign.budget.info(campaign.config.name, campaign.params, campaign.variant)
    attacked = replace(clean, splits={"test": replace(split, x=x)}, parent=clean.digest, attack=info)
    return attacked, tuple(replace(outcome, label=attacked.label) for outcome in outcomes)


def hearing(sound: Sound, oracle_for: OracleFor) -> OracleFor:
    """The same oracles, asked about recordings."""
    return lambda config: WaveformOracle(sound, oracle_for(config))


@dataclass
class _Run:
    """One campaign on its samples."""

    campaign: Campaign
    split: Split
    clean: Lattice
    """What is attacked of each sample: itself, or its recording."""
    oracle_for: OracleFor
    seed: int
    progress: Progress
    x: Lattice = field(init=False)
    """The copies so far."""
    left: NDArray[np.bool_] = field(init=False)
    """Samples that are still answered rightly."""
    margin: NDArray[np.float64] = field(init=False)
    """Of x, see Trial.margin."""

    def all(self) -> list[AttackOutcome]:
        """Every attack in turn."""
        oracle = self.oracle_for(self.campaign.attacks[0])
        self.x = self.clean.copy()
        self.left = oracle.logits(self.clean).argmax(axis=1) == self.split.y
        self.margin = np.full(len(self.split), np.inf)
        return [self._attack(place, config) for place, config in enumerate(self.campaign.attacks)]

    def _attack(self, place: int, config: AttackConfig) -> AttackOutcome:
        started, rows = time.monotonic(), np.flatnonzero(self.left)
        outcome = _blank(config, self.left)
        for part, trial in self._trials(place, config, rows):
            for name in ("fooled", "queries", "gradients", "zero_gradients", "smallest"):
                getattr(outcome, name)[part] = getattr(trial, name)
            nearer = part[trial.margin < self.margin[part]]
            self.x[nearer] = trial.best[trial.margin < self.margin[part]]
            self.margin[part] = np.minimum(self.margin[part], trial.margin)
        self.left &= ~outcome.fooled
        return replace(outcome, seconds=time.monotonic() - started)

    def _trials(
        self, place: int, config: AttackConfig, rows: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], Trial]]:
        """(rows, finished trial) of every batch, as they finish."""
        name = f"{self.campaign.config.name} {place + 1}: " if len(self.campaign.attacks) > 1 else ""
        oracle = self.oracle_for(config)
        most = expected_answers(config, oracle.classes)
        shown = _Shown(self.progress, f"{name}{config.name} eps {self.campaign.budget.label}", len(rows), most)
        with ExitStack() as pools:
            futures = dict(self._submit(oracle, config, rows, shown, pools))
            try:
                for future in as_completed(futures):
                    trial = future.result()
                    shown.finish(trial)
                    yield futures[future], trial
            except BaseException:
                for future in futures:
                    future.cancel()
                raise

    def _submit(
        self, oracle: Oracle, config: AttackConfig, rows: NDArray[np.int64], shown: _Shown, pools: ExitStack
    ) -> Iterator[tuple[Future[Trial], NDArray[np.int64]]]:
        """(future, rows) of every batch: on all cores, or with one thread for each shard of the oracle, which gets its
        fixed share of the samples."""
        parts = shards(oracle)
        owners, threads = (parts, 1) if parts else ((oracle,), os.cpu_count())
        for number, owner in enumerate(owners):
            pool = pools.enter_context(ThreadPoolExecutor(threads))
            mine = rows[number :: len(owners)]
            for start in range(0, len(mine), BATCH):
                part = mine[start : start + BATCH]
                yield pool.submit(self._trial, owner, config, part, shown), part

    def _trial(self, oracle: Oracle, config: AttackConfig, part: NDArray[np.int64], shown: _Shown) -> Trial:
        split = self.split.at(part)
        trial = Trial(oracle, self.clean[part], split.y, self.campaign.budget, split.index, self.seed, shown.count)
        registry.load("attacks", config.name).run(trial, config)
        return trial


class _Shown:
    """Tells `progress` how far an attack on `total` samples is, also within a batch: a sample is done when it is fooled
    or has had `most` answers. what: name and eps of the attack."""

    def __init__(self, progress: Progress, what: str, total: int, most: int) -> None:
        self._progress, self._what, self._total, self._most = progress, what, total, most
        self._done = self._fooled = self._answers = 0
        self._running: dict[int, Trial] = {}
        self._shown_s = 0.0
        self._lock = threading.Lock()  # batches count at the same time; what is told never goes back

    def count(self, trial: Trial, answers: int) -> None:
        """So many more answers have come in an unfinished batch."""
        with self._lock:
            self._answers += answers
            self._running[id(trial)] = trial
            if time.monotonic() - self._shown_s >= SHOW_EVERY_S:
                self._show()

    def finish(self, trial: Trial) -> None:
        """One more batch is done."""
        with self._lock:
            self._running.pop(id(trial), None)
            self._done, self._fooled = self._done + len(trial.x), self._fooled + int(trial.fooled.sum())
            self._show()

    def _show(self) -> None:
        self._shown_s = time.monotonic()
        running = self._running.values()
        fooled = self._fooled + sum(int(trial.fooled.sum()) for trial in running)
        done = self._done + sum(self._share(trial) for trial in running)
        info = f"{self._what}: {fooled} of {self._total} fooled, {self._answers} answers"
        self._progress("attack", int(SHARES * done), SHARES * self._total, info)

    def _share(self, trial: Trial) -> float:
        """Samples of the batch that are done, those under way in part."""
        return float(np.where(trial.fooled, 1.0, np.minimum(trial.queries / self._most, 1.0)).sum())


def expected_answers(config: AttackConfig, classes: int) -> int:
    """How many answers a sample that is never fooled takes, by the settings of its attack; an estimate: those of the
    adversarial-robustness-toolbox decide for themselves."""
    module = registry.load("attacks", config.name)
    counts = {name: int(getattr(config, name)) for name in COUNTS if name in module.SETTINGS}
    counts |= {"targets": min(counts["targets"], classes - 1)} if "targets" in counts else {}
    return int(getattr(module, "ANSWERS", 1)) * math.prod(counts.values())


def _blank(config: AttackConfig, attacked: NDArray[np.bool_]) -> AttackOutcome:
    n = len(attacked)
    return AttackOutcome(
        label="",
        attack=config.name,
        params=settings(config),
        attacked=attacked.copy(),
        fooled=np.zeros(n, bool),
        queries=np.zeros(n, np.int64),
        gradients=np.zeros(n, np.int64),
        zero_gradients=np.zeros(n, np.int64),
        smallest=np.full(n, np.inf),
        seconds=0.0,
    )
