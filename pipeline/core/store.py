"""Noun <-> folder. A stored noun is a folder with meta.json (what, format, key, digest, plain values), arrays.npz and
any files of its own. Folders appear whole or not at all: written beside their place, then moved into it.

`key` is the digest of everything the noun was made from; a stage whose folder carries the key it would write is
skipped.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
import types
import typing
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pipeline.core.errors import ConfigError

FORMAT = 1
T = TypeVar("T")


def save(folder: Path, value: Any, key: str) -> None:
    """Stores a dataclass."""
    create(folder, key, lambda path: value)


def create(folder: Path, key: str, make: Callable[[Path], T]) -> T:
    """What make(path) returns, a dataclass, stored; `path` is the unfinished folder, for files of its own."""
    made: list[T] = []

    def write(path: Path) -> None:
        value = make(path)
        made.append(value)
        arrays: dict[str, Any] = {}
        meta = {"noun": type(value).__name__, "format": FORMAT, "key": key, "value": _encode(value, "", arrays)}
        if arrays:
            np.savez_compressed(path / "arrays.npz", **arrays)
        (path / "meta.json").write_text(json.dumps(meta, indent=1, sort_keys=True) + "\n")

    write_folder(folder, write)
    return made[0]


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Fills a fresh folder with write(path) and moves it to `folder`, replacing what was there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        write(fresh)
        fresh.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text)
    fresh.replace(path)


def read_meta(folder: Path) -> dict[str, Any]:
    """meta.json of a stored noun. ConfigError when the folder is missing, foreign, damaged or of another format."""
    path = folder / "meta.json"
    try:
        meta = json.loads(path.read_text())
        noun, form = meta["noun"], meta["format"]
    except FileNotFoundError as error:
        raise ConfigError(f"{folder}: nothing stored here (no meta.json)") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: damaged or not written by tritmcu ({error})", "delete the folder and run again"
        ) from error
    if form != FORMAT:
        raise ConfigError(
            f"{path}: {noun} in format {form}, this version reads {FORMAT}", "delete the folder and run again"
        )
    return dict(meta)


def key_of(folder: Path) -> str:
    """Key of the noun stored in the folder; "" when there is none that can be read."""
    try:
        return str(read_meta(folder)["key"])
    except ConfigError:
        return ""


def load(folder: Path, noun: type[T]) -> T:
    """The stored noun. ConfigError when it is of another kind, truncated or damaged."""
    meta = read_meta(folder)
    if meta["noun"] != noun.__name__:
        raise ConfigError(f"{folder}: holds a {meta['noun']}, a {noun.__name__} is needed here")
    try:
        path = folder / "arrays.npz"
        if path.exists():
            with np.load(path, allow_pickle=False) as archive:
                arrays: Mapping[str, Any] = {name: archive[name] for name in archive.files}
        else:
            arrays = {}
        return typing.cast(T, _decode(noun, meta["value"], arrays))
    except (KeyError, ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{folder}: damaged {noun.__name__} ({error})", "delete the folder and run again") from error


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


def _decode(hint: Any, raw: Any, arrays: Mapping[str, Any]) -> Any:
    if isinstance(raw, dict) and set(raw) == {"array"}:
        return arrays[raw["array"]]
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if raw is None:
            return None
        return _decode(next(a for a in args if a is not type(None)), raw, arrays)
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return hint(**{k: _decode(hints[k], v, arrays) for k, v in raw.items()})  # type: ignore[operator]
    if origin is tuple:
        inner = args[:1] * len(raw) if len(args) == 2 and args[1] is Ellipsis else args
        return tuple(_decode(h, v, arrays) for h, v in zip(inner, raw, strict=True))
    if isinstance(raw, dict):
        inner_hint = args[1] if len(args) == 2 else Any
        return {k: _decode(inner_hint, v, arrays) for k, v in raw.items()}
    return tuple(_decode(Any, v, arrays) for v in raw) if isinstance(raw, list) else raw
