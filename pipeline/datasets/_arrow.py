"""Folders that the library `datasets` of Hugging Face has saved (save_to_disk): images or recordings in Arrow files.

The one door to pyarrow, which the extra [data] brings; the library itself is not needed. dataset_dict.json names the
folders of splits; in each, or in the folder itself, state.json names the files, dataset_info.json the columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.core import schema
from pipeline.core.errors import ConfigError, ToolError

SPLITS, FILES, COLUMNS = "dataset_dict.json", "state.json", "dataset_info.json"
"""What such a folder holds: the first where there are splits, the others beside the data."""
FEATURES = {"image": "Image", "WAV": "Audio"}
"""The type of a column that holds a file, by what such files are called."""
CONVERT = "open it with the library datasets and save it again"


def is_saved(folder: Path) -> bool:
    """Whether the folder is one of these."""
    return (folder / SPLITS).is_file() or (folder / FILES).is_file()


def rows(folder: Path, what: str, labels: str | None) -> Iterator[tuple[str, str, str]]:
    """(path, class, name of its split, "" for none) of every row. path: below the folder, its last part the row. what:
    one of FEATURES; labels: the column of classes, None for the only one with names of classes.

    ConfigError: damaged files, no such columns, a row without a class. ToolError: no pyarrow.
    """
    for split, part in _parts(folder):
        features = _features(part)
        _content_column(part, features, what)
        column = _label_column(part, features, labels)
        names = features[column].get("names")
        for path in _files(part):
            for row, value in enumerate(_read(path, column).to_pylist()):
                yield (
                    f"{path.relative_to(folder).as_posix()}/{row:09d}",
                    _class(value, names, f"{path}, row {row}"),
                    split,
                )


def contents(folder: Path, paths: Sequence[str], what: str) -> Iterator[bytes]:
    """The file in each of these rows, as `rows` calls them. ConfigError: a row that holds none."""
    opened, column = PurePosixPath(), None
    for path in map(PurePosixPath, paths):
        if path.parent != opened:
            opened, file = path.parent, folder / path.parent
            column = _read(file, _content_column(file.parent, _features(file.parent), what))
        assert column is not None
        value = column[int(path.name)].as_py()
        content = value.get("bytes") if isinstance(value, dict) else None
        if not isinstance(content, bytes):
            raise ConfigError(f"{folder / path}: the row holds no {what} file", CONVERT)
        yield content


def _parts(folder: Path) -> list[tuple[str, Path]]:
    """(split, folder)."""
    if not (folder / SPLITS).is_file():
        return [("", folder)]
    names = _table(folder / SPLITS).get("splits")
    if not isinstance(names, list) or not names:
        raise ConfigError(f"{folder / SPLITS}: names no splits", CONVERT)
    return [(str(name), folder / _inside(name, folder / SPLITS)) for name in names]


def _files(part: Path) -> list[Path]:
    """The Arrow files of a split, in order."""
    found = _table(part / FILES).get("_data_files")
    if not isinstance(found, list) or not all(isinstance(file, dict) for file in found):
        raise ConfigError(f"{part / FILES}: names no files", CONVERT)
    return [part / _inside(file.get("filename"), part / FILES) for file in found]


def _inside(name: object, place: Path) -> str:
    """The name of something that lies in the folder itself."""
    if not isinstance(name, str) or PurePosixPath(name).name != name or "\\" in name:
        raise ConfigError(f"{place}: {name!r:.100} names nothing in its folder", CONVERT)
    return name


def _features(part: Path) -> dict[str, dict[str, Any]]:
    """What dataset_info.json says of each column; {} of one that is no plain value."""
    features = _table(part / COLUMNS).get("features")
    if not isinstance(features, dict):
        raise ConfigError(f"{part / COLUMNS}: names no columns", CONVERT)
    return {name: feature if isinstance(feature, dict) else {} for name, feature in features.items()}


def _table(path: Path) -> dict[str, Any]:
    table = schema.parse_json(schema.read_text(path), path)
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: not an object", CONVERT)
    return table


def _content_column(part: Path, features: dict[str, dict[str, Any]], what: str) -> str:
    found = [name for name, feature in features.items() if feature.get("_type") == FEATURES[what]]
    if len(found) != 1:
        raise ConfigError(f"{part}: {_listed(features)}", f"needed: one column of type {FEATURES[what]}")
    return found[0]


def _label_column(part: Path, features: dict[str, dict[str, Any]], labels: str | None) -> str:
    if labels is not None:
        if labels not in features:
            raise ConfigError(f"{part}: no column {labels!r}, {_listed(features)}", "dataset.labels names a column")
        return labels
    found = [name for name, feature in features.items() if feature.get("_type") == "ClassLabel"]
    if len(found) != 1:
        raise ConfigError(f"{part}: {_listed(features)}", 'labels = "COLUMN" says which one holds the classes')
    return found[0]


def _listed(features: dict[str, dict[str, Any]]) -> str:
    shown = [f"{name} ({feature.get('_type')})" for name, feature in features.items()]
    return f"columns {', '.join(shown) or 'none'}"


def _class(value: object, names: object, place: str) -> str:
    """The name of a class from what the label column holds."""
    if isinstance(names, list) and isinstance(value, int) and 0 <= value < len(names):
        return str(names[value])
    if not isinstance(names, list) and isinstance(value, (str, int)) and value != "":
        return str(value)
    raise ConfigError(f"{place}: label {value!r:.100} is no class", "leave such rows out")


def _read(path: Path, column: str) -> Any:
    """The column of a file, mapped into memory and checked: what pyarrow then reads lies inside it."""
    try:
        import pyarrow
        from pyarrow import ipc
    except ImportError as error:
        raise ToolError(f"{path}: needs the package pyarrow ({error})", "pip install 'tritmcu[data]'") from error
    try:
        table = ipc.open_stream(pyarrow.memory_map(str(path))).read_all().select([column])
        table.validate(full=True)
    except Exception as error:  # a damaged file raises almost anything
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"{path}: not an Arrow file that can be read ({why:.200})", CONVERT) from error
    return table.column(column)
