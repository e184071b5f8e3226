"""What a stored network is fed with: a data set on the network's own input lattice, or random inputs.

An imported network keeps the lattice of its file. Its input scale is stated in the units of the data set that it was
imported with, so a budget such as 8/255 means the same for it as for every other network of that data set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from pipeline import datasets
from pipeline.config.dataset import DatasetConfig
from pipeline.core import text
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Dataset, Int8Array, QModel, Quantization, Split, TensorSpec, same_classes, with_metrics
from pipeline.network import twin
from pipeline.robustness.waveform import Sound
from pipeline.stages import lower

RANDOM = "random"
"""Name of the data set that every network has: random inputs."""
RANDOM_SAMPLES = 256
SHIFT = "input_shift"
"""Metric of a network: what is added to the data set's real values, in their units, before they are put on its lattice;
0 where it is left out."""
GAIN = "input_gain"
"""Metric of a network: its own units of input in those of the data set; 1 where it is left out."""
NEUTRAL = {GAIN: 1.0, SHIFT: 0.0}
SHOWN_CLASSES = 4
"""Of those that differ."""
FLOAT32_MAX = float(np.finfo(np.float32).max)
LEAST_OVERLAP = 2 / 3
"""Share of the larger of two input ranges that both have to cover, or they are in different units."""


@dataclass(frozen=True)
class Units:
    """How the real inputs of a network follow from those of a data set: gain * (value + shift)."""

    gain: float = 1.0
    """Above 0."""
    shift: float = 0.0
    """In the data set's units."""

    @staticmethod
    def of(input_range: tuple[float, float] | None, dataset: Dataset) -> Units:
        """Those of a network that takes input_range, (lowest, highest), where the data set's lattice ends; None: the
        data set's own. ConfigError unless the range is one."""
        if input_range is None:
            return Units()
        low, high = input_range
        if not -FLOAT32_MAX < low < high < FLOAT32_MAX:
            what = f"--input-range {low:g} {high:g}: not a range"
            raise ConfigError(what, "the lowest, then the highest real input, as in --input-range 0 255")
        first, last = dataset.input.quantization.reach
        gain = (high - low) / (last - first)
        return Units(gain, low / gain - first)

    def then(self, scale: float, offset: float) -> Units:
        """Those of a network that takes input * scale + offset, scale above 0, of what this one takes."""
        return Units(self.gain * scale, self.shift + offset / (self.gain * scale))

    def stated(self, model: QModel) -> QModel:
        """The network of an input in its own units, stated in those of the data set: the same integers."""
        q = model.input.quantization
        spec = TensorSpec(model.input.shape, Quantization(q.scale / self.gain, q.zero_point, q.bits))
        known = {name: value for name, value in ((GAIN, self.gain), (SHIFT, self.shift)) if value != NEUTRAL[name]}
        return with_metrics(replace(model, input=spec), **known)

    def applied(self, dataset: Dataset) -> Dataset:
        """The data set in the network's units, on a lattice that holds zero."""
        q = dataset.input.quantization
        low, high = (self.gain * (value + self.shift) for value in q.reach)
        own = Quantization(q.scale * self.gain, q.zero_point, q.bits) if not self.shift else lower.calibrated(low, high)
        return replace(_requantized(dataset, own, self), input=TensorSpec(dataset.input.shape, own))


def _requantized(dataset: Dataset, own: Quantization, units: Units) -> Dataset:
    """The data set's samples on the lattice `own`, in the units of the network."""
    every = np.arange(-128, 128).astype(np.int8)
    values = dataset.input.quantization.dequantize(every).astype(np.float64)
    moved = own.quantize(units.gain * (values + units.shift))
    return replace(
        dataset, splits={name: replace(split, x=_looked_up(moved, split.x)) for name, split in dataset.splits.items()}
    )


def bind(model: QModel, dataset: Dataset) -> Dataset:
    """The data set on the input lattice of the network, its classes in the order of the network's. ConfigError: another
    shape, other classes, or a range that says that the two are in different units."""
    if model.input.shape != dataset.input.shape or len(model.classes) != len(dataset.classes):
        raise ConfigError(
            f"network {model.name!r} takes {_shape(model.input)} samples and has {len(model.classes)} classes; "
            f"data set {dataset.name!r} has {_shape(dataset.input)} and {len(dataset.classes)}",
            "name its own with --dataset",
        )
    gain, shift = (float(model.metrics.get(name, NEUTRAL[name])) for name in (GAIN, SHIFT))
    theirs, ours = dataset.input.quantization, model.input.quantization
    _require_same_units(model, dataset, Units(gain, shift))
    dataset = _in_order(model, dataset)
    if not shift and np.isclose(theirs.scale, ours.scale, rtol=1e-6) and theirs.zero_point == ours.zero_point:
        return replace(dataset, input=model.input)
    return replace(_requantized(dataset, ours, Units(shift=shift)), input=model.input)


def _in_order(model: QModel, dataset: Dataset) -> Dataset:
    """The data set with the network's numbers of its classes, told by their names; where either only numbers them, in
    the order they have. ConfigError: names of which one has others."""
    theirs, ours = dataset.classes, model.classes
    if same_classes(theirs, ours):
        return dataset
    if other := [name for name in theirs if name not in ours]:
        lacking = [name for name in ours if name not in theirs]
        raise ConfigError(
            f"data set {dataset.name!r} has classes that network {model.name!r} does not have: {_names(other)}; it "
            f"lacks {_names(lacking)}",
            "give its folders or labels the names of the network's classes",
        )
    number = np.array([ours.index(name) for name in theirs])
    splits = {name: replace(split, y=number[split.y]) for name, split in dataset.splits.items()}
    return replace(dataset, classes=ours, splits=splits)


def _names(classes: Sequence[str]) -> str:
    return text.listed(list(map(repr, classes)), SHOWN_CLASSES)


def sound(config: DatasetConfig, model: QModel) -> Sound | None:
    """The recordings behind the samples of a data set, as the network receives them; None where it offers none."""
    front = datasets.front_end(config)
    if front is None or not datasets.has_recordings(config):
        return None
    shift = float(model.metrics.get(SHIFT, 0.0))
    return Sound(partial(datasets.recordings, config), front, model.input.quantization, shift)


def _looked_up(table: Int8Array, x: Int8Array) -> Int8Array:
    """table[q + 128] for every element q of x."""
    return np.asarray(table[x.view(np.uint8) ^ np.uint8(0x80)])


def _require_same_units(model: QModel, dataset: Dataset, units: Units) -> None:
    a, b = (value - units.shift for value in model.input.quantization.reach)
    c, d = dataset.input.quantization.reach
    low, high = (min(c, -units.shift), max(d, -units.shift)) if units.shift else (c, d)  # a lattice holds zero
    if min(b, high) - max(a, low) < LEAST_OVERLAP * max(b - a, high - low):
        own = " ".join(f"{units.gain * value:.6g}" for value in model.input.quantization.reach)
        raise ConfigError(
            f"network {model.name!r} takes inputs from {a:.6g} to {b:.6g}, data set {dataset.name!r} has {c:.6g} to "
            f"{d:.6g}",
            f"name its own with --dataset; where only the units differ, import it with --input-range, as in "
            f"--input-range {own}",
        )


def _shape(spec: TensorSpec) -> str:
    return "x".join(map(str, spec.shape))


def random_inputs(model: QModel, seed: int) -> Dataset:
    """RANDOM_SAMPLES inputs, each element uniform on the network's lattice. Their labels are the network's own answers:
    accuracy on them is agreement, and an attack succeeds where an answer changes."""
    q = model.input.quantization
    random = np.random.default_rng(seed)
    x = random.integers(q.qmin, q.qmax + 1, (RANDOM_SAMPLES, *model.input.shape)).astype(np.int8)
    logits = twin.run(model, x).reshape(len(x), -1)
    split = Split(x, logits.argmax(axis=1).astype(np.int64), np.arange(len(x), dtype=np.int64))
    return Dataset(RANDOM, model.input, model.classes, {"test": split})
