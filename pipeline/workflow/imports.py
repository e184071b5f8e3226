"""Networks that other tools wrote become stored ones in zoo/ of the current folder, found by name as shipped ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.analysis import agreement, statistics
from pipeline.config import dataset as datasets
from pipeline.config.job import Job
from pipeline.core import names, registry, store, text
from pipeline.core.errors import ConfigError, PipelineError
from pipeline.core.nouns import Dataset, Progress, QModel, Split, no_progress, with_metrics
from pipeline.network import twin
from pipeline.stages import lower
from pipeline.workflow import binding, checks, zoo
from pipeline.workflow.binding import Units

FOLDER = Path("zoo")
"""A user's own networks: where imported ones are written, in the current folder."""
AGREEMENT_SAMPLES = 64
"""Test samples on which every layer is compared with the original."""
JUDGED_SAMPLES = 200
"""Test samples whose answers show at once whether network and data set belong together."""


@dataclass(frozen=True)
class Request:
    """What is to be imported."""

    path: Path
    """The file."""
    name: str = ""
    """Of the network; "": the file's."""
    dataset: str = ""
    """Data set that it was trained on, by name or a TOML file (config/dataset.py); "": not known."""
    input_range: tuple[float, float] | None = None
    """Lowest and highest real input of the network, where the data set's lattice has its ends; None: the data set's."""


@dataclass(frozen=True)
class Imported:
    """What an import made."""

    folder: Path
    """Where the network is stored."""
    model: QModel
    """The network."""
    right: int = 0
    """Right answers among `judged` test samples."""
    judged: int = 0
    """0 where no data set is known."""
    original: int | None = None
    """Right answers of the original in floating point among the same samples; None: the file holds integers."""
    agreement: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Of the original and the integer network, per layer (analysis/agreement.py); empty: the file holds integers."""

    @property
    def guesses(self) -> bool:
        """Whether the original, or the integers of a file that holds them, may have found its right answers by chance:
        one of as many as there are classes lies in or above their 95 % interval."""
        right = self.right if self.original is None else self.original
        return self.judged > 0 and statistics.wilson(right, self.judged)[0] <= 1 / len(self.model.classes)


@dataclass(frozen=True)
class _Read:
    """What was read from a file."""

    model: QModel
    right: int | None = None
    agreement: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def network(request: Request, *, progress: Progress = no_progress) -> Imported:
    """The network in the file, stored under its name.

    ConfigError: a file that is missing or damaged, a name that exists or cannot be one, a data set that does not fit.
    UnsupportedError: a layer, operation or setting that no layer kind computes.
    """
    name = checked_name(request)
    config = datasets.named(request.dataset) if request.dataset else None
    data = checks.load_data(config, progress) if config else None
    if data is None and request.input_range is not None:
        raise ConfigError("--input-range: is meant for a data set", "add --dataset NAME")
    read = _READERS[request.path.suffix.lower()](request, name, data, progress)
    known: dict[str, Any] = {zoo.IMPORTED: text.printable(request.path.name)}
    if config is not None:
        known[zoo.DATASET] = config.model_dump(mode="json", exclude_defaults=True)
    model = with_metrics(read.model, **known)
    right, judged = _judge(model, data)
    folder = FOLDER / name
    store.save(folder, model, model.digest)
    return Imported(folder, model, right, judged, read.right, read.agreement)


def checked_name(request: Request) -> str:
    """The name of the new network: the given one, else the file's, spelt as names are. ConfigError: it cannot be
    one, or is taken."""
    name = request.name or re.sub(r"[^A-Za-z0-9_.+-]+", "_", request.path.stem).strip("_.+-")[: names.LONGEST_NAME]
    try:
        names.NAME(name)
    except ValueError as error:
        raise ConfigError(f"--name: {error}", "choose another --name") from error
    if name == binding.RANDOM:
        raise ConfigError(f"--name {name}: means random inputs elsewhere", "choose another --name")
    known = registry.files("zoo")
    if name in known or (FOLDER / name).exists():
        place = known[name].parent if name in known else FOLDER / name
        raise ConfigError(f"network {name!r} exists: {place}", "choose another --name, or move that folder away")
    return name


def _judge(model: QModel, data: Dataset | None) -> tuple[int, int]:
    """(right answers, samples) on a few test samples. ConfigError: the data set does not fit the network."""
    if data is None:
        return 0, 0
    split = _judged(binding.bind(model, data))
    return int(np.sum(twin.run(model, split.x).reshape(len(split), -1).argmax(axis=1) == split.y)), len(split)


def _judged(data: Dataset) -> Split:
    return data.splits["test"].subset(JUDGED_SAMPLES, 0)


def _tflite(request: Request, name: str, data: Dataset | None, progress: Progress) -> _Read:
    from pipeline.importers import tflite

    model = tflite.import_model(request.path, name, data.classes if data else ())
    return _Read(Units.of(request.input_range, data).stated(model) if data else model)


def _keras(request: Request, name: str, data: Dataset | None, progress: Progress) -> _Read:
    """Weights as their quantizers make them, plain ones at 8 bits; ranges that the file leaves open from samples."""
    from pipeline.training import keras_model

    if data is None:
        what = f"{request.path}: samples must show the ranges of its tensors"
        raise ConfigError(what, "add --dataset: a name, files, or a TOML file with [dataset]")
    made = calibrated(request.path, name, data, request.input_range)
    judged, q = _judged(made.data), made.data.input.quantization
    names = [layer.keras_name for layer in made.model.layers if layer.keras_name]
    x = judged.x[:AGREEMENT_SAMPLES]
    agreeing = agreement.agreement(made.model, x, keras_model.layer_outputs(made.keras, x, q, names))
    answers = keras_model.predict(made.keras, judged.x, q, progress=progress)
    return _Read(made.stated, int(np.sum(answers.argmax(axis=1) == judged.y)), agreeing)


@dataclass(frozen=True)
class Calibrated:
    """The network of a Keras file in integers."""

    keras: Any
    """The keras.Model, without softmax and rescaling of its input."""
    model: QModel
    """The integer network; its input in its own units."""
    data: Dataset
    """The data set in these units."""
    units: Units
    """How they follow from those of the data set."""

    @property
    def stated(self) -> QModel:
        """The integer network, its input in the units of the data set."""
        return self.units.stated(self.model)


def calibrated(path: Path, name: str, data: Dataset, input_range: tuple[float, float] | None) -> Calibrated:
    """The network in a Keras file, lowered on the ranges that training samples show. Errors as of `network`."""
    from pipeline.training import keras_file, keras_forms, keras_model

    loaded = keras_file.load(path)
    try:
        keras, scale, offset = keras_forms.without_rescaling(keras_forms.fitted(loaded, data.input.shape))
        units = Units.of(input_range, data).then(scale, offset)
        own = units.applied(data)
        keras_forms.require_shapes(keras, own.input.shape, len(own.classes))
        described = keras_model.describe(keras, own, Job.model_fields["calibration"].default)
        return Calibrated(keras, lower.lower(replace(described, name=name)), own, units)
    except PipelineError as error:
        raise type(error)(f"{path}: {error}", error.hint) from error


Reader = Callable[[Request, str, Dataset | None, Progress], _Read]
_READERS: Mapping[str, Reader] = {".tflite": _tflite, ".keras": _keras, ".h5": _keras, ".hdf5": _keras}
"""By suffix."""
