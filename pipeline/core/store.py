"""Noun <-> folder. A stored noun is a folder with meta.json (what, format, key, plain values), arrays.npz and any files
of its own. Folders appear whole or not at all: written beside their place, then moved into it.

`key` is the digest of everything the noun was made from; a stage whose folder carries the key it would write is
skipped. meta.json carries the SHA-256 digests of itself and of every other file: whatever changed since is found before
it is read. What is read is hostile all the same, as whoever changes it can write digests too: every value is checked
against the annotation of its field.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import glob
import hashlib
import io
import json
import os
import shutil
import tempfile
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from pipeline.core import lock, schema
from pipeline.core.errors import ConfigError

FORMAT = 2
META, ARRAYS = "meta.json", "arrays.npz"
REPAIR = "restore it from a copy, or delete the folder and run again"
"""What to do about a damaged folder that this program wrote."""
FOREIGN = "name a folder that tritmcu stored"
T = TypeVar("T")


def save(folder: Path, value: Any, key: str) -> None:
    """Stores a dataclass."""
    create(folder, key, lambda path: value)


def create(folder: Path, key: str, make: Callable[[Path], T]) -> T:
    """What make(path) returns, a dataclass, stored; `path` is the unfinished folder, for files of its own.

    ConfigError: `folder` is somebody else's. TypeError, ValueError: a field holds what its annotation does not allow.
    """
    made: list[T] = []

    def write(path: Path) -> None:
        value = make(path)
        made.append(value)
        arrays: dict[str, Any] = {}
        encoded = _encode(value, "", arrays)
        _decode(type(value), encoded, arrays, type(value).__name__)  # nothing is stored that could not be loaded
        if arrays:
            content = io.BytesIO()  # a zip file on a full disk would complain once more when it is collected
            np.savez_compressed(content, **arrays)
            (path / ARRAYS).write_bytes(content.getbuffer())
        meta = {"noun": type(value).__name__, "format": FORMAT, "key": key, "value": encoded, "files": _files(path)}
        (path / META).write_text(_sealed(meta), encoding="utf-8")

    write_folder(folder, write)
    return made[0]


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Fills a fresh folder with write(path) and moves it to `folder`, replacing what this program stored there; a link
    stays one. ConfigError: what is there was not stored by this program."""
    folder = folder.resolve()
    if folder.exists() and not (folder.is_dir() and ((folder / META).is_file() or not any(folder.iterdir()))):
        raise ConfigError(
            f"{folder}: exists and was not stored by tritmcu", "move it away, or choose another place with --run-dir"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _fresh_folder(folder) as fresh:
        write(fresh)
        fresh.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        fresh.rename(folder)


@contextlib.contextmanager
def _fresh_folder(folder: Path) -> Iterator[Path]:
    """A new folder next to `folder`, removed after the block unless it was moved. Removes first what killed processes
    have left there: its name tells the process, which besides holds a lock on it."""
    for leftover in folder.parent.glob(f".{glob.escape(folder.name)}.*.*"):
        _remove_leftover(leftover)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.{os.getpid()}.", dir=folder.parent))
    try:
        with lock.holding(fresh):
            yield fresh
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _remove_leftover(folder: Path) -> None:
    if _is_orphan(folder.name.split(".")[-2]) and folder.is_dir():
        with lock.holding(folder) as is_free:
            if is_free:
                shutil.rmtree(folder, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Writes a file in UTF-8, whole or not at all."""
    write_file(path, lambda file: file.write(text.encode()))


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Writes what write(file) puts into it, whole or not at all, in a folder that is made. Removes first what killed
    processes have left there: its name tells the process."""
    if path.is_dir():  # "." has no name beside which to write
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if _is_orphan(leftover.suffix[1:]) and leftover.is_file():
            leftover.unlink(missing_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with fresh.open("wb") as file:
            write(file)
        fresh.replace(path)
    except OSError as error:  # a full disk names no file
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        fresh.unlink(missing_ok=True)


def _is_orphan(owner: str) -> bool:
    """Whether this is the number of a process that is gone."""
    return owner.isdecimal() and not lock.is_alive(int(owner))


def read_meta(folder: Path) -> dict[str, Any]:
    """meta.json of a stored noun. ConfigError when the folder is missing, foreign, damaged or of another format."""
    path = folder / META
    if folder.is_file():
        raise ConfigError(f"{folder}: a file, not a folder that tritmcu stored")
    if not path.exists():
        raise ConfigError(f"{folder}: nothing stored here (no {META})")
    text = schema.read_text(path)
    try:
        meta = schema.parse_json(text, path)
        noun, form = meta["noun"], meta["format"]
        if not (noun.isidentifier() and type(form) is int):
            raise TypeError("no noun and format")
    except (ConfigError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: not written by tritmcu, or damaged ({error})", FOREIGN) from error
    if form != FORMAT:
        raise ConfigError(f"{path}: {noun} in format {form}, this version reads {FORMAT}", REPAIR)
    if text != _sealed({key: value for key, value in meta.items() if key != "digest"}):
        raise ConfigError(f"{path}: damaged, its content does not match its digest", REPAIR)
    return dict(meta)


def key_of(folder: Path) -> str:
    """Key of the noun stored in the folder; "" when there is none that can be read."""
    try:
        return str(read_meta(folder)["key"])
    except (ConfigError, KeyError):
        return ""


def load(folder: Path, noun: type[T]) -> T:
    """The stored noun. ConfigError when it is of another kind, truncated or damaged."""
    meta = read_meta(folder)
    if meta["noun"] != noun.__name__:
        raise ConfigError(f"{folder}: holds a {meta['noun']}, a {noun.__name__} is needed here")
    try:
        if _files(folder, meta["files"]) != meta["files"]:
            raise ValueError("the content of a file does not match its digest")
        arrays = _read_arrays(folder / ARRAYS) if ARRAYS in meta["files"] else {}
        return typing.cast(T, _decode(noun, meta["value"], arrays, noun.__name__))
    # A forged archive or value may raise anything in zipfile, zlib, tokenize or NumPy: the folder is at fault.
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ConfigError(f"{folder}: damaged {noun.__name__} ({why})", REPAIR) from error


def _sealed(meta: Mapping[str, Any]) -> str:
    """The text of meta.json: `meta` and its digest."""
    digest = hashlib.sha256(_json(meta).encode()).hexdigest()
    return _json({**meta, "digest": digest})


def _json(meta: Mapping[str, Any]) -> str:
    return json.dumps(meta, indent=1, sort_keys=True) + "\n"


def _files(folder: Path, only: Mapping[str, str] | None = None) -> dict[str, str]:
    """SHA-256 digests by path of the files in the folder; with `only` of those, as far as they exist. Its meta.json and
    nouns stored inside, which carry digests of their own, are left out."""
    paths = folder.rglob("*") if only is None else (folder / name for name in only)
    found = {path.relative_to(folder).as_posix(): path for path in paths if path.is_file()}
    nouns = tuple(name.removesuffix(META) for name in found if name.endswith(f"/{META}"))
    own = {name: path for name, path in found.items() if name != META and not name.startswith(nouns)}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in own.items()}


def _read_arrays(path: Path) -> dict[str, Any]:
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _encode(value: Any, path: str, arrays: dict[str, Any]) -> Any:
    if isinstance(value, np.ndarray):
        name = path.strip(".") or "value"
        arrays[name] = value
        return {"array": name}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _encode(getattr(value, f.name), f"{path}.{f.name}", arrays) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): _encode(v, f"{path}.{k}", arrays) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encode(v, f"{path}.{i}", arrays) for i, v in enumerate(value)]
    return value.item() if isinstance(value, np.generic) else value


def _decode(hint: Any, raw: Any, arrays: Mapping[str, Any], place: str) -> Any:
    """`raw` as a value of the annotation `hint`. TypeError, ValueError or KeyError when it is none."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        value = _decode(args[0], raw, arrays, place)
        for check in args[1:]:
            check(value)
        return value
    if origin in (typing.Union, types.UnionType):
        (wanted,) = (a for a in args if a is not types.NoneType)
        return None if raw is None else _decode(wanted, raw, arrays, place)
    if origin is np.ndarray or (isinstance(raw, dict) and set(raw) == {"array"}):
        return _array(hint, raw, arrays, place)
    if dataclasses.is_dataclass(hint):
        return _dataclass(hint, raw, arrays, place)
    if origin is tuple:
        _require(raw, list, place)
        inner = args[:1] * len(raw) if len(args) == 2 and args[1] is Ellipsis else args
        return tuple(_decode(h, v, arrays, f"{place}.{i}") for i, (h, v) in enumerate(zip(inner, raw, strict=True)))
    if isinstance(raw, dict) and (origin is not None or hint is Any):
        keys, values = args if len(args) == 2 else (str, Any)
        return {_decode(keys, k, {}, place): _decode(values, v, arrays, f"{place}.{k}") for k, v in raw.items()}
    if hint is Any:
        return tuple(_decode(Any, v, arrays, place) for v in raw) if isinstance(raw, list) else raw
    _require(raw, hint, place)
    return raw


def _dataclass(hint: Any, raw: Any, arrays: Mapping[str, Any], place: str) -> Any:
    _require(raw, dict, place)
    hints = _field_hints(hint)
    return hint(**{name: _decode(hints[name], value, arrays, f"{place}.{name}") for name, value in raw.items()})


@functools.cache
def _field_hints(noun: type) -> dict[str, Any]:
    return typing.get_type_hints(noun, include_extras=True)


def _array(hint: Any, raw: Any, arrays: Mapping[str, Any], place: str) -> Any:
    """The array that `raw` names; where the annotation names a type, of that type."""
    _require(raw, dict, place)
    array = arrays[raw["array"]]
    if hint is Any:
        return array
    if typing.get_origin(hint) is not np.ndarray:
        raise TypeError(f"{place} must not be an array")
    (wanted,) = typing.get_args(typing.get_args(hint)[1])
    if wanted is not Any and array.dtype != np.dtype(wanted):
        raise TypeError(f"{place} is {array.dtype}, not {np.dtype(wanted)}")
    return array


def _require(raw: Any, wanted: Any, place: str) -> None:
    """TypeError unless `raw` is of the plain type; a whole number will do for a float, a truth value for neither."""
    origin = typing.get_origin(wanted) or wanted
    allowed = {float: (int, float), Mapping: (dict,)}.get(origin, (origin,))
    if type(raw) not in allowed:
        raise TypeError(f"{place} must be {getattr(origin, '__name__', origin)}, not {type(raw).__name__}")
