"""What a report knows of every sample, in one small file: each of its figures of accuracy and robustness can be drawn
and counted again from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core import store
from pipeline.core.nouns import AttackInfo, AttackOutcome, Dataset, FloatArray, Int8Array, Trace

FILE = "samples.npz"
"""In the folder of the report."""
SHOWN = 8
"""Samples of the gallery."""
COUNTED = ("attacked", "fooled", "queries", "gradients", "zero_gradients", "smallest")
"""Arrays of an AttackOutcome."""


@dataclass(frozen=True)
class Answers:
    """The classes that were answered to one data set."""

    label: str
    """Dataset.label."""
    attack: AttackInfo | None
    """What made the samples; None for clean ones."""
    index: NDArray[np.int64]
    """(n,) positions in the official split."""
    y: NDArray[np.int64]
    """(n,) class indices."""
    answers: Mapping[str, NDArray[np.int64]]
    """(n,) by who answers: device, twin and, where known, keras."""

    @property
    def right(self) -> NDArray[np.bool_]:
        """(n,): whether the device classifies the sample correctly."""
        return np.asarray(self.answers["device"] == self.y)


@dataclass(frozen=True)
class Gallery:
    """Some samples before and after the attack that fooled the device most often."""

    clean: Int8Array
    """(k, *shape)."""
    attacked: Int8Array
    """(k, *shape); of no samples where nothing was attacked."""
    clean_rows: NDArray[np.int64]
    """(k,) their places among the clean answers."""
    attacked_rows: NDArray[np.int64]
    """(k,) their places among the answers to the attacked samples."""
    label: str
    """Of the attacked data; "" for none."""


@dataclass(frozen=True)
class Samples:
    """Everything that is known of single samples."""

    data: tuple[Answers, ...]
    """Of every data set, the clean one first."""
    outcomes: tuple[AttackOutcome, ...]
    """Of every attack."""
    gallery: Gallery
    """A few samples themselves."""

    def answers(self, label: str) -> Answers:
        """Of the data set of that label."""
        return next(answers for answers in self.data if answers.label == label)


def collect(
    trace: Trace, datasets: Sequence[Dataset], outcomes: Sequence[AttackOutcome], keras: Mapping[str, FloatArray]
) -> Samples:
    """What a run knows of its samples. keras: logits by the label of the data set."""
    data = []
    for part in trace.datasets:
        logits = {"device": part.logits, "twin": part.twin_logits, "keras": keras.get(part.label)}
        answers = {who: np.argmax(values, axis=1) for who, values in logits.items() if values is not None}
        data.append(Answers(part.label, part.attack, part.index, part.y, answers))
    by_digest = {dataset.digest: dataset for dataset in datasets}
    inputs = {part.label: by_digest[part.dataset] for part in trace.datasets}
    return Samples(tuple(data), tuple(outcomes), _gallery(data, inputs))


def _gallery(data: Sequence[Answers], inputs: Mapping[str, Dataset]) -> Gallery:
    """The first samples, up to half of them fooled."""
    clean, pixels = data[0], inputs[data[0].label].splits["test"].x
    strongest = min(data[1:], key=lambda answers: float(np.mean(answers.right)), default=None)
    if strongest is None:
        rows = np.arange(min(SHOWN, len(clean.y)))
        return Gallery(pixels[rows], pixels[:0], rows, rows[:0], "")
    _, there, here = np.intersect1d(strongest.index, clean.index, return_indices=True)
    chosen = _worth_showing(clean.right[here] & ~strongest.right[there])
    changed = inputs[strongest.label].splits["test"].x[there[chosen]]
    return Gallery(pixels[here[chosen]], changed, here[chosen], there[chosen], strongest.label)


def _worth_showing(fooled: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Places of up to SHOWN samples: the first ones, half of them fooled where there are that many."""
    some = np.flatnonzero(fooled)[: SHOWN // 2]
    others = np.setdiff1d(np.arange(len(fooled)), some)
    return np.sort(np.concatenate([some, others[: SHOWN - len(some)]]))


def save(folder: Path, samples: Samples) -> None:
    """Writes FILE into the folder of the report."""
    arrays: dict[str, NDArray[Any]] = {}
    for i, answers in enumerate(samples.data):
        arrays |= {f"data.{i}.index": answers.index, f"data.{i}.y": answers.y}
        arrays |= {f"data.{i}.{who}": classes for who, classes in answers.answers.items()}
    for i, outcome in enumerate(samples.outcomes):
        arrays |= {f"outcome.{i}.{name}": getattr(outcome, name) for name in COUNTED}
    names = {name: value for name, value in vars(samples.gallery).items() if name != "label"}
    arrays |= {f"gallery.{name}": value for name, value in names.items()}
    about = np.array(json.dumps(_about(samples)))
    store.write_file(folder / FILE, lambda file: np.savez_compressed(file, about=about, **arrays))


def _about(samples: Samples) -> dict[str, Any]:
    """What is no array."""
    return {
        "data": [
            {"label": a.label, "attack": asdict(a.attack) if a.attack else None, "who": list(a.answers)}
            for a in samples.data
        ],
        "outcomes": [
            {"label": o.label, "attack": o.attack, "params": dict(o.params), "seconds": o.seconds}
            for o in samples.outcomes
        ],
        "gallery": samples.gallery.label,
    }


def load(folder: Path) -> Samples:
    """What `save` wrote there."""
    with np.load(folder / FILE, allow_pickle=False) as arrays:
        about = json.loads(str(arrays["about"]))
        data = tuple(
            Answers(
                *(each["label"], AttackInfo(**each["attack"]) if each["attack"] else None),
                *(arrays[f"data.{i}.index"], arrays[f"data.{i}.y"]),
                {who: arrays[f"data.{i}.{who}"] for who in each["who"]},
            )
            for i, each in enumerate(about["data"])
        )
        outcomes = tuple(
            AttackOutcome(**each, **{name: arrays[f"outcome.{i}.{name}"] for name in COUNTED})
            for i, each in enumerate(about["outcomes"])
        )
        shown = {name: arrays[f"gallery.{name}"] for name in ("clean", "attacked", "clean_rows", "attacked_rows")}
        return Samples(data, outcomes, Gallery(**shown, label=about["gallery"]))
