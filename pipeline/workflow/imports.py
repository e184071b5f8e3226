"""Networks that other tools wrote become stored ones in zoo/ of the current folder, found by name as shipped ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import dataset as datasets
from pipeline.core import names, registry, store, text
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Dataset, Progress, QModel, no_progress, with_metrics
from pipeline.network import twin
from pipeline.workflow import binding, checks, zoo
from pipeline.workflow.binding import Units

FOLDER = Path("zoo")
"""A user's own networks: where imported ones are written, in the current folder."""
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
    agreement: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Of the original and the integer network, per layer (analysis/agreement.py); empty: the file holds integers."""


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
    made = _READERS[request.path.suffix.lower()](request, name, data, progress)
    known: dict[str, Any] = {zoo.IMPORTED: text.printable(request.path.name)}
    if config is not None:
        known[zoo.DATASET] = config.model_dump(mode="json", exclude_defaults=True)
    model = with_metrics(made, **known)
    judged = _judge(model, data)
    folder = FOLDER / name
    store.save(folder, model, model.digest)
    return Imported(folder, model, *judged)


def checked_name(request: Request) -> str:
    """The name of the new network: what was asked for, else the file's, spelt as names are. ConfigError: it cannot be
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
    split = binding.bind(model, data).splits["test"].subset(JUDGED_SAMPLES, 0)
    return int(np.sum(twin.run(model, split.x).reshape(len(split), -1).argmax(axis=1) == split.y)), len(split)


def _tflite(request: Request, name: str, data: Dataset | None, progress: Progress) -> QModel:
    from pipeline.importers import tflite

    model = tflite.import_model(request.path, name, data.classes if data else ())
    return Units.of(request.input_range, data).stated(model) if data else model


Reader = Callable[[Request, str, Dataset | None, Progress], QModel]
_READERS: Mapping[str, Reader] = {".tflite": _tflite}
"""By suffix."""
