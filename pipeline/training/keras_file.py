"""Keras files of other people: loaded without running code that they carry, and refused in one line."""

from __future__ import annotations

import io
import json
import math
import re
import tempfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from pipeline.core import schema
from pipeline.core.errors import ConfigError, UnsupportedError
from pipeline.training import blocks, keras_forms
from pipeline.training.keras_backend import keras, noted_variables, qkeras
from pipeline.training.quantizers import FixedLinear

MOST_BYTES = 1 << 28
"""Of a file, and of what a zip file unpacks to. No network for a microcontroller comes near."""
PARAMETER_BYTES = 4
"""Of a parameter in a file: float32."""
WEIGHTS = "model.weights.h5"
"""The HDF5 file in a .keras file."""
ELSEWHERE = ("its weights are in other files", "save it again with model.save")
CLASS = re.compile(r"(?:Unknown layer: '?|Could not locate class '|Unknown object: '?)(\w+)")


def load(path: Path) -> Any:
    """The keras.Model in a .keras or .h5 file, in the form of keras_forms.normal: of layers that the device has, to
    logits. What the file is, its content says, not its name.

    ConfigError: no such file, or none of Keras; UnsupportedError: it holds Python code, or layers that neither Keras
    nor QKeras has.
    """
    _require_small(path)
    _require_few_parameters(path)
    try:
        _require_few_weights(path)
        model = keras_forms.normal(_loaded(path))
        for layer in blocks.nested_layers(model):
            if type(getattr(layer, "activation", None)) is qkeras.quantized_linear:
                layer.activation = FixedLinear(**layer.activation.get_config())
        return model
    except UnsupportedError as error:
        raise UnsupportedError(f"{path}: {error}", error.hint) from error
    except Exception as error:  # Keras raises whatever its zip, json and h5 readers raise
        raise _refusal(path, " ".join(str(error).split()) or type(error).__name__) from error


def _loaded(path: Path) -> Any:
    """What Keras loads, which goes by the end of a name: it gets a name that fits the content."""
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / ("model.keras" if zipfile.is_zipfile(path) else "model.h5")
        link.symlink_to(path.absolute())
        return keras.saving.load_model(link, compile=False, safe_mode=True)


def _require_small(path: Path) -> None:
    try:
        size = schema.file_size(path)
        if path.suffix.lower() == ".keras" and not (zipfile.is_zipfile(path) or h5py.is_hdf5(path)):
            raise ConfigError(f"{path}: not a zip file, as .keras files are, or truncated", "copy or save it again")
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                size = max(size, sum(part.file_size for part in archive.infolist()))
    except (OSError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or "a damaged zip file"
        raise ConfigError(f"{path}: {reason}", "name a .keras or .h5 file") from error
    if size > MOST_BYTES:
        raise UnsupportedError(f"{path}: more than {MOST_BYTES} bytes", "no such network fits a microcontroller")


def _require_few_parameters(path: Path) -> None:
    """UnsupportedError when the file describes more parameters than a file of MOST_BYTES holds: Keras would make room
    for all of them before it reads any. Of a description that cannot be read, Keras says why."""
    try:
        # What Keras notes of variables without values is a thread's own.
        with ThreadPoolExecutor(1) as aside:
            count = sum(math.prod(shape) for shape in aside.submit(_described, path).result())
    except Exception:  # whatever Keras raises; it will again, and then that is the answer
        return
    if count > MOST_BYTES // PARAMETER_BYTES:
        raise UnsupportedError(f"{path}: describes {count} parameters", "no such network fits a microcontroller")


def _described(path: Path) -> list[tuple[int, ...]]:
    """Shapes of all variables of the model that the file describes, none of which gets a value."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            described = json.loads(archive.read("config.json"))
    else:
        with h5py.File(path) as file:
            described = {"module": "keras", **json.loads(file.attrs["model_config"])}
        if described["class_name"] == "Functional":
            described["class_name"] = "Model"
    with keras.StatelessScope(initialize_variables=False):
        try:
            model = keras.saving.deserialize_keras_object(described, safe_mode=True)
        except Exception:  # up to what it fails at, Keras would make room
            made = noted_variables()
            if not made:
                raise
            return [tuple(variable.shape) for variable in made]
        return [tuple(variable.shape) for variable in model.variables]


def _require_few_weights(path: Path) -> None:
    """UnsupportedError when the arrays in the file claim more than MOST_BYTES, as an array of zeros may in a few bytes,
    or are in other files: Keras would read them before it compares any shape."""
    with _weights(path) as file:
        items = [file, *_linked(file)]
        arrays = (item for item in items if isinstance(item, h5py.Dataset))
        listed = (array for item in items if isinstance(item, h5py.Group) for array in _listed(item))
        claimed = max(sum(map(_bytes, arrays)), sum(map(_bytes, listed)))
    if claimed > MOST_BYTES:
        raise UnsupportedError(f"claims weights of {claimed} bytes", "no such network fits a microcontroller")


@contextmanager
def _weights(path: Path) -> Iterator[h5py.File]:
    """The HDF5 file that the weights are in."""
    if not zipfile.is_zipfile(path):
        with h5py.File(path) as file:
            yield file
        return
    with zipfile.ZipFile(path) as archive:
        content = archive.read(WEIGHTS)
    with h5py.File(io.BytesIO(content)) as file:
        yield file


def _linked(file: h5py.File) -> list[Any]:
    """All groups and arrays, each as often as a link names it."""
    links: dict[str, Any] = {}
    file.visititems_links(links.__setitem__)
    if any(isinstance(link, h5py.ExternalLink) for link in links.values()):
        raise UnsupportedError(*ELSEWHERE)
    return [file.get(name) for name in links]


def _listed(group: h5py.Group) -> Iterator[h5py.Dataset]:
    """The arrays that the group's lists of weights name, of which older files are read."""
    for attribute in group.attrs:
        if attribute.startswith("weight_names"):
            yield from (group[name] for name in group.attrs[attribute])


def _bytes(array: h5py.Dataset) -> int:
    """What it takes to read an array: its size, or that of a piece it is packed in, if that is larger."""
    if array.external or array.is_virtual:
        raise UnsupportedError(*ELSEWHERE)
    return int(array.dtype.itemsize * max(array.size or 0, math.prod(array.chunks or ())))


def _refusal(path: Path, reason: str) -> ConfigError | UnsupportedError:
    """What to say of a file that Keras does not load."""
    if "Lambda" in reason or "unsafe" in reason.lower():
        what = f"{path}: holds Python code (a Lambda layer), which is not run"
        return UnsupportedError(what, "write it with layers of Keras, and save it again")
    if found := CLASS.search(reason):
        what = f"{path}: layer class {found[1]} is neither Keras's nor QKeras's"
        return UnsupportedError(what, "write it with their layers, or as a builder in models/NAME.py")
    reason = reason.rpartition("Exception encountered: ")[2]
    return ConfigError(f"{path}: not a Keras file, damaged, or of another version ({reason[:150]})", "save it again")
