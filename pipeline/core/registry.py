"""The file system is the registry: a file in a folder of a kind is registered under its name.

Plug-ins are modules of the package, boards and jobs are TOML files among the resources, networks of the zoo are folders
there. A user's own boards, jobs, data sets, models, attacks and networks lie in folders of these names in the current
folder, or where TRITMCU_PATH says, and are found beside the shipped ones.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from pipeline.core import paths
from pipeline.core.errors import ConfigError, PipelineError


@dataclass(frozen=True)
class Kind:
    """A kind of things that are found by their files."""

    what: str
    """What messages call one of them."""
    folder: str
    """Where the shipped ones lie: below the package, those that are no Python below the resources."""
    suffix: str = ".py"
    """Of their files; "/" and a name: each is a folder that holds a file of that name."""
    defines: tuple[str, ...] = ()
    """What every module of the kind defines; empty: a user cannot add one."""

    @property
    def is_code(self) -> bool:
        """Whether they are modules."""
        return self.suffix == ".py"

    @property
    def shipped(self) -> Path:
        """The folder of the shipped ones. ToolError when this installation lacks it."""
        return paths.PACKAGE / self.folder if self.is_code else paths.shipped(self.folder)


KINDS: Mapping[str, Kind] = {
    "datasets": Kind("data set", "datasets", defines=("load",)),
    "models": Kind("model", "training/models", defines=("build",)),
    "attacks": Kind("attack", "robustness/attacks", defines=("run", "NEEDS", "SETTINGS", "NORMS")),
    "layers": Kind("layer kind", "network/layers"),
    "kernels": Kind("kernel family", "codegen/kernels"),
    "runners": Kind("runner", "device/runners"),
    "links": Kind("link", "device/links"),
    "boards": Kind("board", "boards", ".toml"),
    "jobs": Kind("job", "jobs", ".toml"),
    "zoo": Kind("stored network", "zoo", "/meta.json"),
}
"""Everything that one file adds; the keys of those a user can add are the names of the user's folders."""


def files(kind: str) -> dict[str, Path]:
    """The file of everything of a kind, by sorted name; imports nothing. Names that start with _ or . are left out.
    ConfigError when two folders hold the same name."""
    found: dict[str, Path] = {}
    for folder in _folders(kind):
        for path in sorted(folder.glob(f"*{KINDS[kind].suffix}")):
            name = path.parent.name if KINDS[kind].suffix.startswith("/") else path.stem
            if name.startswith(("_", ".")):
                continue
            if name in found:
                _refuse(KINDS[kind].what, name, found[name], path)
            found[name] = path
    return dict(sorted(found.items()))


def names(kind: str) -> tuple[str, ...]:
    """Sorted names of everything of a kind; imports nothing."""
    return tuple(files(kind))


def path(kind: str, name: str) -> Path:
    """The file of that name. An unknown name is a ConfigError that lists what exists."""
    known = files(kind)
    if name not in known:
        raise ConfigError(*unknown(KINDS[kind].what, name, known))
    return known[name]


def load(kind: str, name: str) -> ModuleType:
    """The module of that name. ConfigError: an unknown name (it lists what exists); a user's file that is not valid
    Python, fails when it is imported or lacks what its kind defines."""
    file = path(kind, name)
    if file.parent == KINDS[kind].shipped:
        return importlib.import_module(f"pipeline.{KINDS[kind].folder.replace('/', '.')}.{name}")
    return _load_own(kind, file)


def is_own(kind: str, name: str) -> bool:
    """Whether the name is one of the user's own; False for one that does not exist."""
    known = files(kind)
    return name in known and known[name].parent != KINDS[kind].shipped


def unknown(what: str, name: str, known: Iterable[str]) -> tuple[str, str]:
    """(message, hint) for a name that does not exist: what it was, the nearest match, everything there is."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    guess = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown {what} {name!r}{guess}", f"known: {', '.join(known) or 'none'}"


def _folders(kind: str) -> Iterator[Path]:
    """Folders of a kind, each once: the shipped one, then the user's. In a checkout these may be the same."""
    seen = [KINDS[kind].shipped]
    yield seen[0]
    if KINDS[kind].defines or not KINDS[kind].is_code:
        for folder in paths.own(kind):
            if not any(folder.samefile(other) for other in seen):
                seen.append(folder)
                yield folder


def _refuse(what: str, name: str, first: Path, second: Path) -> None:
    raise ConfigError(
        f"{what} {name!r} exists twice: {first} and {second}", f"rename {second}, or remove it from this folder"
    )


def _load_own(kind: str, file: Path) -> ModuleType:
    """A user's module, imported once under a name that no package has."""
    place = str(file.resolve())
    name = f"tritmcu_{kind}_{file.stem}"
    if (known := sys.modules.get(name)) is not None and known.__file__ == place:
        return known
    spec = importlib.util.spec_from_file_location(name, place)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        del sys.modules[name]
        raise ConfigError(f"{file}:{error.lineno or 1}: not valid Python: {error.msg}") from error
    except (PipelineError, ModuleNotFoundError):  # which package brings the module, main knows
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        raise ConfigError(f"{file}:{_line(place, error)}: {type(error).__name__}: {error}") from error
    except BaseException:
        del sys.modules[name]
        raise
    if lacking := [name for name in KINDS[kind].defines if not hasattr(module, name)]:
        raise ConfigError(
            f"{file}: does not define {', '.join(lacking)}, as every {KINDS[kind].what} does",
            f"example: {KINDS[kind].shipped}",
        )
    return module


def _line(place: str, error: Exception) -> int:
    """The line of the file at which the exception left it."""
    return next((f.lineno or 1 for f in reversed(traceback.extract_tb(error.__traceback__)) if f.filename == place), 1)
