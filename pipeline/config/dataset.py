"""The `[dataset]` table of a job: which samples, and how files of a user's own become samples."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from pipeline.core import registry, schema
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Quantization
from pipeline.core.schema import Label, Positive, PositiveFloat, Strict

FOLDERS, NAMES = "folders", "names"
"""Where labels may come from, besides a file."""
Share = Annotated[float, Field(gt=0, lt=1)]
Extent = Annotated[int, Field(ge=1, le=512)]
Hertz = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
MOST_FOLDS = 20


def fold_of(label: str) -> tuple[int, int]:
    """(number from 0, how many there are) of a fold written "1/5". ValueError: no such fold.

    >>> fold_of("1/5"), fold_of("5/5")
    ((0, 5), (4, 5))
    """
    found = re.fullmatch(r"([1-9]\d?)/([1-9]\d?)", label, re.ASCII)
    number, count = map(int, found.groups()) if found else (0, 0)
    if not (1 <= number <= count and 2 <= count <= MOST_FOLDS):
        raise ValueError(f'must be one of 2 to {MOST_FOLDS} folds, such as "1/5", the first of five')
    return number - 1, count


def _fold(label: str) -> str:
    fold_of(label)
    return label


class SplitConfig(Strict):
    """How splits that the files do not define are drawn: the same share of every class."""

    test: Share = 0.2
    """Of all samples, in (0, 1)."""
    validation: Share = 0.1
    """Of all samples, in (0, 1)."""
    seed: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    """Of the draw; the job's own seed does not change it."""

    @model_validator(mode="after")
    def _leaves_some(self) -> SplitConfig:
        if self.test + self.validation >= 1:
            raise ValueError(f"test {self.test:g} and validation {self.validation:g} leave nothing to train with")
        return self


class LatticeConfig(Strict):
    """The lattice that inputs lie on, such as that of an imported network: real = (q - zero_point) * scale."""

    scale: PositiveFloat
    """Real value of one step, above 0."""
    zero_point: Annotated[int, Field(ge=-128, le=127)]
    """The int8 that represents real 0."""

    @property
    def quantization(self) -> Quantization:
        """The same as part of a noun."""
        return Quantization(self.scale, self.zero_point)


class MfccConfig(Strict):
    """How sound becomes mel-frequency cepstral coefficients; the defaults are those of MLPerf-Tiny."""

    sample_rate: Annotated[int, Field(ge=1000, le=192_000)] = 16000
    """Of every file, Hz, 1,000 to 192,000."""
    seconds: Annotated[float, Field(gt=0, le=60)] = 1.0
    """Of every clip, in (0, 60]: longer ones are cut, shorter ones padded with zeros."""
    window_ms: Annotated[float, Field(gt=0, le=1000)] = 30.0
    """Length of a frame, in (0, 1000]."""
    stride_ms: Annotated[float, Field(gt=0, le=1000)] = 20.0
    """From frame to frame, in (0, 1000]."""
    mel_bins: Annotated[int, Field(ge=1, le=256)] = 40
    """Triangles on the mel scale, 1 to 256."""
    low_hz: Hertz = 20.0
    """Lower end of the first triangle."""
    high_hz: Hertz = 4000.0
    """Upper end of the last triangle, at most half the sample rate."""
    coefficients: Annotated[int, Field(ge=1, le=256)] = 10
    """How many are kept, at most mel_bins."""

    @model_validator(mode="after")
    def _consistent(self) -> MfccConfig:
        if not self.low_hz < self.high_hz <= self.sample_rate / 2:
            raise ValueError(f"low_hz < high_hz <= {self.sample_rate / 2:g}, half the sample_rate, must hold")
        if self.coefficients > self.mel_bins:
            raise ValueError(f"coefficients: at most mel_bins = {self.mel_bins}")
        if not 2 <= self.window <= self.samples or self.stride < 1:
            raise ValueError(f"window_ms, stride_ms: a clip has {self.samples} samples, a window {self.window}")
        return self

    @property
    def samples(self) -> int:
        """Of a clip."""
        return round(self.seconds * self.sample_rate)

    @property
    def window(self) -> int:
        """Samples of a frame."""
        return round(self.window_ms * self.sample_rate / 1000)

    @property
    def stride(self) -> int:
        """Samples from frame to frame."""
        return round(self.stride_ms * self.sample_rate / 1000)

    @property
    def frames(self) -> int:
        """Of a clip; what does not fill a window at its end is left out."""
        return 1 + (self.samples - self.window) // self.stride


class DatasetConfig(schema.Identified):
    """Which samples. Of the keys after fold a data set uses those that its module lists in SETTINGS; others are
    refused."""

    FIRST = frozenset({"name", "limit_train", "limit_test"})

    name: Annotated[str, schema.registered("datasets")]
    """Module of datasets/."""
    limit_train: Positive | None = None
    """Use only so many training samples, drawn evenly from all classes; None for all."""
    limit_test: Positive | None = None
    """Use only so many test samples, drawn evenly from all classes; None for all."""
    fold: Annotated[str, AfterValidator(_fold)] | None = None
    """Cross-validation: the test split is this one of several folds of all samples, "1/5" the first of five; None: the
    data set's own splits. Of digits and speech_commands."""
    path: Annotated[str, Field(min_length=1)] | None = None
    """The file or folder that holds the samples; a relative path starts at the current folder."""
    labels: Annotated[str, Field(min_length=1)] = FOLDERS
    """Where the class of a file is found: "folders": its folder; "names": its name, up to the first underscore; or a
    CSV file with the columns path, label and perhaps split; paths, its own too, are relative to `path`. Of a folder
    that Hugging Face's `datasets` saved: the column; "folders": the only one of the type ClassLabel."""
    classes: tuple[Label, ...] = ()
    """Only these classes, in the order of the logits; for numbered classes, their names. Empty: all, sorted."""
    split: SplitConfig = SplitConfig()
    """How splits that the files do not define are drawn."""
    lattice: LatticeConfig | None = None
    """Of the input; None: the one that covers the training samples and holds 0."""
    range: tuple[Finite, Finite] = (0.0, 1.0)
    """Real values that the pixels 0 and 255 stand for."""
    size: tuple[Extent, Extent] | None = None
    """Height and width that images are brought to, 1 to 512 each; None: all have the same one."""
    colour: Literal["rgb", "grey"] = "rgb"
    """Channels of an image: three, or the luminance (ITU-R BT.601)."""
    fit: Literal["stretch", "crop", "pad"] = "stretch"
    """How an image of other proportions comes to `size`: stretched, cropped to its middle, or padded with black."""
    mfcc: MfccConfig = MfccConfig()
    """How sound becomes features."""
    augment: Literal["none", "crop", "crop_flip", "shift"] | None = None
    """How a training varies samples (training/augment.py); None: as the data set says."""

    @model_validator(mode="after")
    def _used_settings(self) -> DatasetConfig:
        used = dataset_settings(self.name)
        for key in sorted(self.model_fields_set - {"name", "limit_train", "limit_test", "fold", *used}):
            if getattr(self, key) != type(self).model_fields[key].default:
                known = f"it uses {', '.join(sorted(used))}" if used else "it has no settings"
                raise ValueError(f"{key}: data set {self.name!r} does not use it; {known}")
        if self.fold is not None and not has_folds(self.name):
            raise ValueError(f"fold: data set {self.name!r} has splits of its own and no folds")
        if "path" in used and self.path is None:
            raise ValueError(f"path: data set {self.name!r} needs the file or folder of its samples")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes: one is named twice")
        if not self.range[0] < self.range[1]:
            raise ValueError("range: the first number must be smaller than the second")
        return self


def dataset_settings(name: str) -> tuple[str, ...]:
    """The keys of DatasetConfig that a data set uses besides name, limits and fold; none for most."""
    return tuple(getattr(registry.load("datasets", name), "SETTINGS", ()))


def has_folds(name: str) -> bool:
    """Whether the data set's load takes a fold."""
    return bool(getattr(registry.load("datasets", name), "FOLDS", False))


def _files(text: str) -> dict[str, Any] | None:
    """The table for files of a user's own, by what they are; None: the name of a data set, or of nothing."""
    path = Path(text)
    if text in registry.names("datasets") or not path.exists():
        return None
    if path.is_dir():
        return {"name": "wav" if any(path.rglob("*.wav")) else "images", "path": text}
    return {"name": "npz", "path": text} if path.suffix.lower() == ".npz" else None


def named(text: str) -> DatasetConfig:
    """What --dataset means: a data set by name, an .npz file, a folder of images or recordings, or the `[dataset]`
    table of a TOML file. ConfigError: none of these."""
    if not Path(text).exists() and (Path(text).suffix or "/" in text):
        raise ConfigError(f"--dataset {text}: no such file or folder", "a relative path starts at the current folder")
    if not text.endswith(".toml"):
        return schema.validate(DatasetConfig, _files(text) or {"name": text}, "--dataset")
    table: Any = schema.read_toml(Path(text)).get("dataset")
    if not isinstance(table, dict):
        raise ConfigError(f"{text}: no table [dataset]", 'write one, such as name = "npz", path = "samples.npz"')
    return schema.validate(DatasetConfig, table, f"{text}: dataset")
