"""Which sample belongs to which split, and which class has how many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.config.dataset import SplitConfig, fold_of
from pipeline.core import names, text
from pipeline.core.errors import ConfigError

SHOWN = 20
"""Of the classes there are."""
SPLITS = ("train", "validation", "test")
Indices = NDArray[np.int64]


def stratified(y: Indices, shares: Mapping[str, float], seed: int, least: int = 0) -> dict[str, Indices]:
    """Rows of y (n,), class indices, by split: of every class the same share, at least `least`, for those that `shares`
    names, the rest for "train". Every order is random by `seed`."""
    rng = np.random.default_rng(seed)
    parts: dict[str, list[Indices]] = {name: [] for name in SPLITS if name == "train" or name in shares}
    for label in np.unique(y):
        rest = rng.permutation(np.flatnonzero(y == label))
        total = len(rest)
        for name, share in shares.items():
            count = max(least, round(share * total))
            parts[name].append(rest[:count])
            rest = rest[count:]
        parts["train"].append(rest)
    return {name: rng.permutation(np.concatenate(part)).astype(np.int64) for name, part in parts.items()}


def folded(y: Indices, groups: Sequence[str], fold: str, place: str) -> dict[str, Indices]:
    """Rows of y (n,), class indices, by split, in rising order, for one fold of a cross-validation, "1/5" the first of
    five: "test" is the fold, "validation" half of the next one, "train" the rest. Over all folds every row is tested
    once.

    Rows of one group, such as recordings of one speaker, stay together. Groups are taken in a fixed random order, each
    to the half fold that has fewest samples of its classes. ConfigError, at `place`: a class that has none in a split.
    """
    number, count = fold_of(fold)
    part = _dealt(y, groups, 2 * count)
    test, validation = (2 * number, 2 * number + 1), (2 * number + 2) % (2 * count)
    chosen = {"test": np.isin(part, test), "validation": part == validation}
    chosen["train"] = ~(chosen["test"] | chosen["validation"])
    for name, rows in chosen.items():
        if missing := sorted(set(y.tolist()) - set(y[rows].tolist())):
            what = f"{place}: class {missing[0]} has no sample in the {name} split of fold {fold}"
            raise ConfigError(what, "take fewer folds")
    return {name: np.flatnonzero(chosen[name]) for name in SPLITS}


def _dealt(y: Indices, groups: Sequence[str], parts: int) -> Indices:
    """The part of each row, 0 to parts - 1."""
    names, of_row = np.unique(np.array(groups), return_inverse=True)
    part, counts = np.zeros(len(y), np.int64), np.zeros((parts, int(y.max()) + 1), np.int64)
    members = np.split(np.argsort(of_row, kind="stable"), np.cumsum(np.bincount(of_row))[:-1])
    for group in np.random.default_rng(0).permutation(len(names)):
        own = np.bincount(y[members[group]], minlength=counts.shape[1])
        taken = min(range(parts), key=lambda p: (int(counts[p] @ own), int(counts[p].sum()), p))
        part[members[group]] = taken
        counts[taken] += own
    return part


def divided(
    y: Indices, own: Sequence[str], config: SplitConfig, classes: Sequence[str], place: str
) -> dict[str, Indices]:
    """Rows of y (n,) by split, in rising order. own: the split of each row as the files say, "" where they do not; what
    is missing of "test" and "validation" is drawn from the other rows. ConfigError, at `place`: a class that has no
    sample in one of the splits."""
    said = np.array(own)
    free = np.flatnonzero((said == "") | (said == "train"))
    shares = {name: getattr(config, name) for name in ("test", "validation") if not (said == name).any()}
    _require_enough(np.bincount(y[free], minlength=len(classes)), 1 + len(shares), classes, place)
    drawn = {name: free[rows] for name, rows in stratified(y[free], shares, config.seed, least=1).items()}
    rows = {name: np.sort(drawn[name] if name in drawn else np.flatnonzero(said == name)) for name in SPLITS}
    for name in SPLITS:
        missing = sorted(set(range(len(classes))) - set(y[rows[name]].tolist()))
        if missing:
            raise ConfigError(
                f"{place}: class {classes[missing[0]]!r} has no sample in the {name} split",
                "add some, or leave the class out of classes",
            )
    return rows


def _require_enough(counts: NDArray[np.int64], least: int, classes: Sequence[str], place: str) -> None:
    for name, count in zip(classes, counts, strict=True):
        if count < least:
            number = "1 sample" if count == 1 else f"{count or 'no'} samples"
            raise ConfigError(
                f"{place}: class {name!r} has {number} to train with and to draw splits from; it needs {least}",
                "add some, or name the other classes in classes",
            )


def ordered_classes(labels: Sequence[str], wanted: Sequence[str], place: str) -> tuple[str, ...]:
    """The classes of these labels: `wanted`, or all of them sorted, numbers by value. ConfigError, at `place`: fewer
    than two, one that no sample has, a label that cannot be shown."""
    found = set(labels)
    for label in sorted(found):
        try:
            names.LABEL(label)
        except ValueError as error:
            raise ConfigError(f"{place}: class {error}") from error
    for name in wanted:
        if name not in found:
            raise ConfigError(
                f"{place}: class {name!r} has no samples", f"there are: {text.listed(sorted(found), SHOWN)}"
            )
    classes = tuple(wanted) or tuple(sorted(found, key=_by_number))
    if len(classes) < 2:
        what = f"only the class {classes[0]!r}" if classes else "no samples"
        raise ConfigError(f"{place}: {what}; a classifier needs at least two classes")
    return classes


def _by_number(label: str) -> tuple[int, str]:
    return (int(label), label) if label.isdecimal() and len(label) < 10 else (1 << 31, label)
