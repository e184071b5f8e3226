"""Evidence of an audit: attacks of one network on the same samples, each run once, and how two of them compare."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.statistics import LEVEL, fair_coin_limit, wilson
from pipeline.config.job import AttackConfig
from pipeline.core.digest import digest_of
from pipeline.core.nouns import AttackOutcome, Dataset, Progress, Trace, no_progress
from pipeline.robustness import campaign
from pipeline.robustness.budget import Budget
from pipeline.robustness.campaign import Campaign, OracleFor
from pipeline.robustness.oracle import Oracle
from pipeline.robustness.projection import Lattice
from pipeline.robustness.waveform import Sound

Keep = Callable[[str, Callable[[], AttackOutcome]], AttackOutcome]
Fooled = NDArray[np.bool_]
"""(n,) of the samples."""
STEPS = 20
"""Of PGD, where a check does not compare numbers of steps."""


def anew(key: str, run: Callable[[], AttackOutcome]) -> AttackOutcome:
    """The Keep of an audit that keeps nothing."""
    return run()


@dataclass
class Evidence:
    """What can be asked of a network about its robustness inside one budget."""

    oracle_for: OracleFor
    """Who answers an attack."""
    clean: Dataset
    """The test split is what is attacked, all of it."""
    budget: Budget
    """The eps that is audited."""
    seed: int
    """Of all attacks."""
    sources: tuple[str, ...] = ()
    """Other networks, to transfer from."""
    trace: Trace | None = None
    """What a device answered to clean and attacked samples of this network."""
    sound: Sound | None = None
    """The recordings, for a budget of waveforms."""
    progress: Progress = no_progress
    """Told of every batch of every attack."""
    keep: Keep = anew
    """Runs an attack, or knows what it did; the key is the digest of its settings and budget."""
    _ran: dict[tuple[str, str], AttackOutcome] = field(default_factory=dict)
    """What attacks did, by their settings and budget."""

    def __post_init__(self) -> None:
        """ConfigError, before any work: a network that nothing can be transferred from."""
        for source in self.sources:
            self.oracle_for(self._config("transfer", {"source": source}))

    @cached_property
    def x(self) -> Lattice:
        """What is attacked: the clean samples, or their recordings."""
        split = self.clean.splits["test"]
        return split.x if self.sound is None else self.sound.read(split.index)

    @cached_property
    def oracle(self) -> Oracle:
        """Who gives the gradients of the audited network."""
        return self._asked("pgd")

    @cached_property
    def judge(self) -> Oracle:
        """The oracle for attacks that need no gradients."""
        return self._asked("square")

    @cached_property
    def right(self) -> Fooled:
        """Clean samples that are answered rightly."""
        return self.run("fgsm").attacked

    def run(self, name: str, budget: Budget | None = None, **settings: object) -> AttackOutcome:
        """What an attack does to all samples that are answered rightly; budget: instead of the audited one."""
        budget, config = budget or self.budget, self._config(name, settings)
        key = config.model_dump_json(), budget.label
        if key not in self._ran:
            how = self.oracle_for, self.seed, self.progress, self.sound
            self._ran[key] = self.keep(
                digest_of(*key), lambda: campaign.run(Campaign(config, budget), self.clean, *how)[1][0]
            )
        return self._ran[key]

    def pgd(self, loss: str = "cross_entropy", budget: Budget | None = None, **settings: object) -> AttackOutcome:
        """PGD of STEPS steps, or as the settings say."""
        return self.run("pgd", budget, loss=loss, **{"steps": STEPS, **settings})

    def scaled(self, share: float) -> Budget:
        """A share of the audited budget; of linf rounded down to whole lattice steps."""
        radius = self.budget.radius * share
        radius = np.floor(radius) if self.budget.norm == "linf" else radius
        return replace(self.budget, label=f"{share:g} x {self.budget.label}", radius=radius)

    def whole_range(self) -> Budget:
        """Every element may take every value."""
        span = self.budget.quantization.qmax - self.budget.quantization.qmin
        reach = span if self.budget.norm == "linf" else span * math.sqrt(self.x[0].size)
        radius = np.full_like(self.budget.radius, reach, dtype=np.float64)
        return replace(self.budget, label="whole range", radius=radius, relative=False)

    def standing(self, fooled: Fooled) -> int:
        """How many samples are still answered rightly."""
        return int(np.sum(self.right & ~fooled))

    def robust(self, fooled: Fooled) -> float:
        """Their share of all samples."""
        return self.standing(fooled) / len(self.right)

    def slack(self, fooled: Fooled) -> float:
        """How far the robust accuracy may fall before it leaves its 95 % Wilson interval."""
        hits, n = self.standing(fooled), len(self.right)
        return hits / n - wilson(hits, n)[0]

    def _config(self, name: str, settings: dict[str, object]) -> AttackConfig:
        common = {"eps": (repr(self.budget.eps),), "norm": self.budget.norm, "unit": self.budget.unit}
        return AttackConfig.model_validate({"name": name, **common, **settings})

    def _asked(self, attack: str) -> Oracle:
        """Who answers that attack, about what it attacks."""
        oracle_for = self.oracle_for if self.sound is None else campaign.hearing(self.sound, self.oracle_for)
        return oracle_for(self._config(attack, {}))


@dataclass(frozen=True)
class Duel:
    """Two attacks on the same samples, as the exact sign test sees them."""

    first_alone: int
    """Samples that only the first one fooled."""
    second_alone: int
    """Samples that only the second one fooled."""
    samples: int
    """Of the whole comparison."""
    level: float
    """Of significance."""

    @staticmethod
    def of(first: Fooled, second: Fooled, comparisons: int) -> Duel:
        """comparisons: how many there are; together they go wrong by chance in one audit of twenty (Bonferroni)."""
        alone = int(np.sum(first & ~second)), int(np.sum(second & ~first))
        return Duel(*alone, len(first), LEVEL / comparisons)

    @property
    def lead(self) -> float:
        """By how much of all samples the second one fooled more; below 0 where the first one did."""
        return (self.second_alone - self.first_alone) / self.samples

    @property
    def by_chance(self) -> float:
        """Largest lead of either one that chance explains."""
        return (self.least_ahead - 2) / self.samples

    @property
    def beyond_chance(self) -> float:
        """Smallest lead of either one that chance does not explain; may be one that cannot be."""
        return self.least_ahead / self.samples

    @property
    def least_ahead(self) -> int:
        """That lead as a number of samples."""
        apart = self.first_alone + self.second_alone
        return 2 * fair_coin_limit(apart, self.level) - apart + 2


def union(outcomes: Iterable[AttackOutcome]) -> Fooled:
    """Samples that any of them fooled."""
    return np.asarray(np.any([outcome.fooled for outcome in outcomes], axis=0))
