"""Networks in files of other tools: `tritmcu convert`. A file is kept only if what it says, read again, is the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from pipeline.core.errors import ConfigError, MismatchError, UnsupportedError
from pipeline.core.nouns import QModel
from pipeline.importers import tflite, tflite_writer
from pipeline.network import twin
from pipeline.workflow import binding

SEED = 1
"""Of the inputs that are compared."""


def convert(model: QModel, form: str, output: Path) -> int:
    """Writes the network to `output`, and returns the number of random inputs on which what was written has answered
    as the network, logit for logit.

    ConfigError: an unknown form, or a file of that name exists; UnsupportedError, naming the layer: what the form
    cannot express exactly; MismatchError: the file computes something else, and is not kept.
    """
    if form not in FORMS:
        raise ConfigError(f"--to {form}: unknown", f"known: {', '.join(FORMS)}")
    if output.exists():
        raise ConfigError(f"{output}: exists", "name another file with --output, or move that one away")
    try:
        content = FORMS[form](model)
    except UnsupportedError as error:
        raise UnsupportedError(f"network {model.name!r}: {error}", error.hint) from error
    fresh = output.with_name(f".{os.getpid()}.{output.name}")
    try:
        fresh.write_bytes(content)
        samples = _compared(model, fresh)
        fresh.replace(output)
    finally:
        fresh.unlink(missing_ok=True)
    return samples


def _compared(model: QModel, path: Path) -> int:
    """MismatchError unless the file's network and the model answer random inputs alike."""
    x = binding.random_inputs(model, SEED).splits["test"].x
    again = tflite.import_model(path, model.name, model.classes)
    wanted, found = (twin.run(network, x).reshape(len(x), -1) for network in (model, again))
    differing = int(np.sum(wanted != found))
    if differing:
        what = f"network {model.name!r}: {differing} of {wanted.size} logits of its file differ"
        raise MismatchError(what, "report it with the network; nothing was written")
    return len(x)


def _tflite(model: QModel) -> bytes:
    return tflite_writer.contents(model, float(model.metrics.get(binding.GAIN, 1.0)))


FORMS: Mapping[str, Callable[[QModel], bytes]] = {"tflite": _tflite}
"""What makes a file of a network, by the name of its form."""
