"""Strict TOML or JSON -> frozen pydantic models. A mistake is one ConfigError line: file, key, value, what may be."""

from __future__ import annotations

import codecs
import difflib
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from pipeline.core import names, registry
from pipeline.core.errors import ConfigError


class Strict(BaseModel):
    """Frozen; unknown keys are refused; no type coercion beyond int -> float and list -> tuple."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _lists_are_tuples(cls, data: Any) -> Any:
        """TOML and JSON have lists only."""
        return {key: _frozen(value) for key, value in data.items()} if isinstance(data, dict) else data


class Identified(Strict):
    """Options of which the digest outlives new ones."""

    FIRST: ClassVar[frozenset[str]] = frozenset()

    def identity(self) -> dict[str, Any]:
        """What tells one from another: the options named in FIRST, and every other one that is not at its default. So
        a new option leaves what was stored before it valid."""
        return {**self.model_dump(include=set(self.FIRST)), **self.model_dump(exclude_defaults=True)}


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


Name = Annotated[str, AfterValidator(names.NAME)]
Label = Annotated[str, AfterValidator(names.LABEL)]
RelativePath = Annotated[str, AfterValidator(names.RELATIVE_PATH)]
Word = Annotated[str, AfterValidator(names.WORD)]
Positive = Annotated[int, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def registered(kind: str) -> AfterValidator:
    """What refuses a name that nothing of this kind of the registry has."""

    def check(name: str) -> str:
        if name not in registry.names(kind):
            raise ValueError("; ".join(registry.unknown(registry.KINDS[kind].what, name, registry.names(kind))))
        return name

    return AfterValidator(check)


Model = TypeVar("Model", bound=Strict)


def file_size(path: Path) -> int:
    """Bytes of a file. OSError: there is none. ConfigError: a folder, or a device or pipe, which may never end."""
    size = path.stat().st_size
    if not path.is_file():
        raise ConfigError(f"{path}: not a file", "name the file itself")
    return size


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without the byte order mark some editors put first. ConfigError when it cannot be read
    or is of another encoding."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content[:2]:
        raise ConfigError(f"{path}: is UTF-16", "save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 (byte {error.start})", "save it as UTF-8") from error


def parse_json(text: str, path: Path) -> Any:
    """The value in a JSON text. ConfigError when it is no JSON."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ConfigError(f"{path}: not valid JSON: nested too deeply") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not valid JSON: {_brief(error)}") from error


def read_toml(path: Path) -> dict[str, Any]:
    """The table in the file. ConfigError when it cannot be read or is no TOML."""
    text = read_text(path)
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ConfigError(f"{path}: not valid TOML: nested too deeply") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not valid TOML: {_brief(error)}") from error


def _brief(error: ValueError) -> str:
    """What is wrong, without advice to programmers: Python's about numbers of thousands of digits ends with some."""
    return str(error).partition("; use sys.")[0]


def validate(model: type[Model], data: dict[str, Any], place: str) -> Model:
    """`data` as a `model`; the first mistake as a ConfigError that starts with `place`."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        message, hint = _explain(model, error)
        raise ConfigError(f"{place}: {message}", hint) from error


def load(model: type[Model], path: Path) -> Model:
    """The validated content of a TOML file."""
    return validate(model, read_toml(path), str(path))


KINDS = {
    "tuple_type": "must be a list",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "mapping_type": "must be a table",
}
"""What a value must be that is of another kind, in the words of TOML, by pydantic's name of the mistake."""

EMPTY = "must not be empty"


def _explain(model: type[BaseModel], error: ValidationError) -> tuple[str, str]:
    errors = error.errors()
    # A misspelt key is also a missing one: the misspelling says more.
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    location = [str(part) for part in first["loc"] if not str(part).startswith("function-")]
    key = ".".join(location)
    if first["type"] == "extra_forbidden":
        known = sorted(_keys_at(model, location[:-1]))
        near = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
        guess = f"; did you mean {near[0]!r}?" if near else ""
        return f"unknown key {key!r}{guess}", f"allowed here: {', '.join(known)}" if known else ""
    if first["type"] == "missing":
        return f"key {key!r} is missing", ""
    same = _of_one_union(model, errors, first)
    key = ".".join(location[:-1]) if len(same) > 1 else key
    message = ", or ".join(map(_told, same))
    if isinstance(first["input"], dict) and first["type"] == "value_error":
        return f"table {key!r}: {message}" if key else message, ""
    return f"key {key!r} = {first['input']!r}: {message}", ""


def _told(error: ErrorDetails) -> str:
    """What is wrong with the value, without the key."""
    return EMPTY if _is_empty(error) else KINDS.get(error["type"]) or error["msg"].removeprefix("Value error, ")


def _is_empty(error: Any) -> bool:
    """Whether the mistake is that there is nothing where something must be."""
    return error["type"] in ("too_short", "string_too_short") and not error["input"]


def _of_one_union(model: type[BaseModel], errors: Sequence[ErrorDetails], first: ErrorDetails) -> list[ErrorDetails]:
    """The errors with the value of `first`, one for each type that it may have, which the last part of their places
    names; `first` alone where it may have one."""
    place, last = first["loc"][:-1], first["loc"][-1:]
    if not last or not isinstance(last[0], str) or last[0] in _keys_at(model, list(map(str, place))):
        return [first]
    return [e for e in errors if e["loc"][:-1] == place and e["input"] is first["input"]]


def _keys_at(model: type[BaseModel], path: list[str]) -> set[str]:
    """Keys allowed at a dotted place of a nested model; empty when the place is no table of fixed keys."""
    here: Any = model
    for part in path:
        if part.isdigit():
            continue
        annotation = here.model_fields[part].annotation if part in here.model_fields else None
        here = next((t for t in _flatten(annotation) if isinstance(t, type) and issubclass(t, BaseModel)), None)
        if here is None:
            return set()
    return set(here.model_fields)


def _flatten(annotation: Any) -> list[Any]:
    arguments = getattr(annotation, "__args__", ())
    return [annotation, *(inner for a in arguments for inner in _flatten(a))]
