"""Samples that are a file each: paths, classes and splits, from folders, file names, a CSV file or Arrow files."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from pipeline.config.dataset import FOLDERS, NAMES, DatasetConfig
from pipeline.core import schema
from pipeline.core.digest import digest_of
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Progress
from pipeline.datasets import _arrow, _cache, _split

SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What folders of splits are called."""
LITTER = {"thumbs.db", "desktop.ini"}
"""Files that file managers leave behind; those that begin with a dot are passed over as well."""


@dataclass(frozen=True)
class Sample:
    """One file."""

    path: str
    """Below the folder of the data set, with slashes."""
    label: str
    """Name of its class."""
    split: str
    """A name of _split.SPLITS; "" where the files do not say."""


@dataclass(frozen=True)
class Listing:
    """All files of a data set, sorted by path."""

    folder: Path
    """That of the job's path."""
    samples: tuple[Sample, ...]
    """Of the classes below, no others."""
    classes: tuple[str, ...]
    """In the order of the logits."""
    rows: dict[str, NDArray[np.int64]]
    """Places in samples by split."""
    what: str
    """What such files are called."""

    @property
    def y(self) -> NDArray[np.int64]:
        """(n,) class indices of samples."""
        number = {name: place for place, name in enumerate(self.classes)}
        return np.array([number[sample.label] for sample in self.samples], dtype=np.int64)


def listing(config: DatasetConfig, suffixes: Sequence[str], what: str) -> Listing:
    """The files that a job means. suffixes: of such files, in lower case; what: what such files are called.

    ConfigError: no such folder, a file of another kind, a label or split that cannot be, a class with too few samples.
    """
    folder = Path(str(config.path))
    if not folder.is_dir():
        state = "is a file, not a folder" if folder.exists() else "no such folder"
        raise ConfigError(f"{folder}: {state}", f"dataset.path names the folder that holds the {what} files")
    found = sorted(_found(folder, config, suffixes, what), key=lambda sample: sample.path)
    classes = _split.ordered_classes([sample.label for sample in found], config.classes, str(folder))
    samples = tuple(sample for sample in found if sample.label in set(classes))
    unsplit = Listing(folder, samples, classes, {}, what)
    own = [sample.split for sample in samples]
    return Listing(folder, samples, classes, _split.divided(unsplit.y, own, config.split, classes, str(folder)), what)


@dataclass(frozen=True)
class File:
    """What a sample is read from."""

    path: Path
    """What messages call it."""
    content: Path | io.BytesIO
    """The path again, or the bytes of a file in an Arrow file."""


def opened(listed: Listing, samples: Sequence[Sample]) -> Iterator[File]:
    """The files of these samples of the listing."""
    paths = [sample.path for sample in samples]
    if _arrow.is_saved(listed.folder):
        contents = _arrow.contents(listed.folder, paths, listed.what)
        yield from (File(listed.folder / p, io.BytesIO(c)) for p, c in zip(paths, contents, strict=True))
    else:
        yield from (File(listed.folder / path, listed.folder / path) for path in paths)


def read_all(
    listed: Listing,
    settings: object,
    cache: Path,
    name: str,
    make: Callable[[Iterator[File]], NDArray[np.generic]],
    progress: Progress,
) -> NDArray[np.generic]:
    """make(files), an array (n, ...) of one row a file, kept in `cache` for these settings until a file changes."""
    paths = [sample.path for sample in listed.samples]

    def shown() -> Iterator[File]:
        for number, file in enumerate(opened(listed, listed.samples)):
            yield file
            progress("data", number + 1, len(paths), f"{name}: {listed.folder.name}")

    place = digest_of(str(listed.folder.resolve()), settings)[:16]
    arrow = _arrow.is_saved(listed.folder)
    files = sorted({str(PurePosixPath(path).parent) for path in paths}) if arrow else paths
    key = [settings, paths, _cache.states(listed.folder, files)]
    return _cache.kept(cache, f"{name}-{place}", key, lambda: {"x": make(shown())})["x"]


def _found(folder: Path, config: DatasetConfig, suffixes: Sequence[str], what: str) -> Iterator[Sample]:
    if _arrow.is_saved(folder):
        yield from _from_arrow(folder, None if config.labels == FOLDERS else config.labels, what)
        return
    if config.labels not in (FOLDERS, NAMES):
        yield from _from_table(folder, folder / config.labels)
        return
    for split, part in _parts(folder):
        if config.labels == NAMES:
            yield from _from_names(folder, part, split, suffixes, what)
        else:
            yield from _from_folders(folder, part, split, suffixes, what)


def _from_arrow(folder: Path, labels: str | None, what: str) -> Iterator[Sample]:
    for path, label, split in _arrow.rows(folder, what, labels):
        if split.lower() not in ("", *SPLIT_FOLDERS):
            raise ConfigError(
                f"{folder}: split {split!r:.100}", f"save it with splits {', '.join(_split.SPLITS)} alone"
            )
        yield Sample(path, label, SPLIT_FOLDERS.get(split.lower(), ""))


def _parts(folder: Path) -> list[tuple[str, Path]]:
    """(split, folder) of folders that are called after splits, where there are no others; else the folder itself.
    ConfigError: two for one split, none to train with."""
    inside = _folders(folder)
    if not inside or not all(path.name.lower() in SPLIT_FOLDERS for path in inside):
        return [("", folder)]
    parts: dict[str, Path] = {}
    for path in inside:
        split = SPLIT_FOLDERS[path.name.lower()]
        if split in parts:
            raise ConfigError(f"{folder}: {parts[split].name} and {path.name} are both the {split} split")
        parts[split] = path
    if "train" not in parts:
        raise ConfigError(f"{folder}: has folders for {' and '.join(parts)}, but none called train")
    return list(parts.items())


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _from_folders(folder: Path, part: Path, split: str, suffixes: Sequence[str], what: str) -> Iterator[Sample]:
    inside = _folders(part)
    if not inside:
        raise ConfigError(
            f"{part}: holds no folder for each class",
            f'labels = "{NAMES}" takes the part of a name before the first _; or labels = "FILE.csv"',
        )
    for labelled in inside:
        count = 0
        for path in _walk(labelled, suffixes, what):
            count += 1
            yield Sample(path.relative_to(folder).as_posix(), labelled.name, split)
        if count == 0:
            raise ConfigError(f"{labelled}: class {labelled.name!r} has no samples", "delete the folder, or fill it")


def _from_names(folder: Path, part: Path, split: str, suffixes: Sequence[str], what: str) -> Iterator[Sample]:
    for path in _walk(part, suffixes, what):
        label, underscore, _ = path.name.partition("_")
        if not underscore or not label:
            raise ConfigError(f"{path}: its name has no class before an underscore", "such as 7_jackson_32.wav")
        yield Sample(path.relative_to(folder).as_posix(), label, split)


def _walk(folder: Path, suffixes: Sequence[str], what: str) -> Iterator[Path]:
    """Every file below the folder. ConfigError: one of another kind, a folder that cannot be read."""

    def refuse(error: OSError) -> None:
        raise ConfigError(f"{error.filename}: {error.strerror}") from error

    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.startswith(".") or name.lower() in LITTER:
                continue
            if not name.lower().endswith(tuple(suffixes)):
                raise ConfigError(
                    f"{Path(place) / name}: {what} files end in {', '.join(suffixes)}", "convert it, or move it away"
                )
            yield Path(place) / name


def _from_table(folder: Path, path: Path) -> Iterator[Sample]:
    """The rows of a CSV file, separated by commas, semicolons or tabs."""
    text = schema.read_text(path)
    header = text.partition("\n")[0]
    rows = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=header.count))
    if not {"path", "label"} <= set(rows.fieldnames or ()):
        columns = ", ".join(rows.fieldnames or ()) or "none"
        raise ConfigError(f"{path}: columns {columns:.200}", "needed: path, label; if wanted: split")
    seen: dict[str, int] = {}
    try:
        for row in rows:
            yield _of_row(folder, row, f"{path}, line {rows.line_num}", seen, rows.line_num)
    except csv.Error as error:
        raise ConfigError(f"{path}, line {rows.line_num}: {error}") from error


def _of_row(folder: Path, row: dict[str, str | None], place: str, seen: dict[str, int], line: int) -> Sample:
    name, label, split = ((row.get(key) or "").strip() for key in ("path", "label", "split"))
    inside = PurePosixPath(name)
    if not name or inside.is_absolute() or ".." in inside.parts:
        raise ConfigError(f"{place}: path {name!r}", f"a path that stays in {folder}")
    if not label:
        raise ConfigError(f"{place}: {name!r} has no label")
    if split.lower() not in ("", *SPLIT_FOLDERS):
        raise ConfigError(f"{place}: split {split!r}", f"allowed: {', '.join(_split.SPLITS)}, or nothing")
    if str(inside) in seen:
        raise ConfigError(f"{place}: {name!r} is already in line {seen[str(inside)]}")
    seen[str(inside)] = line
    return Sample(str(inside), label, SPLIT_FOLDERS.get(split.lower(), ""))
