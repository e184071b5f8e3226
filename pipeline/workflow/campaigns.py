"""What an unfinished attack has done, kept from campaign to campaign, and an unfinished audit from attack to attack."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config.job import AttackConfig
from pipeline.core import store
from pipeline.core.digest import digest_of
from pipeline.core.nouns import AttackOutcome, AttackResult

if TYPE_CHECKING:
    from pipeline.robustness import evidence
    from pipeline.robustness.campaign import Campaign
    from pipeline.stages.attack import Attacked, Keep


def kept(folder: Path, key_of: Callable[[AttackConfig], str]) -> Keep:
    """Runs a campaign and stores what it did in a subfolder, or returns what is stored there. key_of: digest of all
    that the outcome of one entry at one eps depends on."""

    def keep(item: Campaign, run: Callable[[], Attacked]) -> Attacked:
        one = item.config.model_copy(update={"eps": (item.budget.label,)})
        key = digest_of(key_of(one), item.variant)
        place = folder / key
        if store.key_of(place) == key:
            done = store.load(place, AttackResult)
            return done.datasets[0], done.outcomes
        attacked, outcomes = run()
        store.save(place, AttackResult((attacked,), outcomes, {}, {}), key)
        return attacked, outcomes

    return keep


def kept_outcomes(folder: Path, key: str) -> evidence.Keep:
    """Runs an attack of an audit and stores what it did in a subfolder, or returns what is stored there. key: digest of
    all that its outcome depends on besides its settings and budget."""

    def keep(attack: str, run: Callable[[], AttackOutcome]) -> AttackOutcome:
        whole = digest_of(key, attack)
        if store.key_of(folder / whole) == whole:
            return store.load(folder / whole, AttackOutcome)
        outcome = run()
        store.save(folder / whole, outcome, whole)
        return outcome

    return keep
