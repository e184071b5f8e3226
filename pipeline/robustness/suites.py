"""Suites: attacks in turn, each on the samples not yet fooled; what is left is the worst case."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.config.job import AttackConfig

SUITES: Mapping[str, tuple[Mapping[str, object], ...]] = {
    "quick": (
        {"name": "pgd", "steps": 20, "step_size": 0.125},
        {"name": "pgd", "steps": 20, "step_size": 0.125, "loss": "scaled"},
        {"name": "apgd_t", "steps": 20, "targets": 3},
    ),
    "strict": (
        {"name": "apgd", "steps": 100, "loss": "cross_entropy"},
        {"name": "apgd_t", "steps": 100, "targets": 9},
        {"name": "fab_t", "steps": 100, "targets": 9},
        {"name": "square", "queries": 5000},
    ),
}
"""strict is AutoAttack's standard version (Croce, Hein 2020, arXiv 2003.01690); quick finds most of what it finds in a
tenth of the time."""

VERSION = 1
"""Version of the attacks of this package; rises when they find other samples, to recognize cards measured before."""


def expand(config: AttackConfig) -> tuple[AttackConfig, ...]:
    """The attacks that an entry of a job means: itself, or those of the suite it names."""
    if config.name not in SUITES:
        return (config,)
    common = {"eps": config.eps, "norm": config.norm, "unit": config.unit, "samples": config.samples}
    return tuple(AttackConfig.model_validate({**common, **settings}) for settings in SUITES[config.name])
