"""The one door to TensorFlow Lite's interpreter: tflite-runtime up to Python 3.11, its successor ai-edge-litert beyond;
the full TensorFlow where neither is installed.

It is not for a process that has loaded TensorFlow: tflite-runtime and TensorFlow share symbols and crash.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import ConfigError, ToolError
from pipeline.core.nouns import Int8Array
from pipeline.importers import tflite

PACKAGES = ("tflite_runtime.interpreter", "ai_edge_litert.interpreter", "tensorflow.lite.python.interpreter")


def interpreter(model: Path, *, reference: bool = True) -> Any:
    """An allocated interpreter of a file that `tflite.import_model` can import, on one thread. It gets only what was
    read and checked of the file. reference: its reference kernels, whose every tensor can be read; else its
    fast ones, which may round otherwise.

    ConfigError, UnsupportedError: as there; ToolError: no interpreter is installed, or NumPy is too new for it.
    """
    graph, _ = tflite.checked(model)
    module = _module()
    try:
        resolver = module.OpResolverType
        made = module.Interpreter(
            model_content=graph.contents(),
            experimental_op_resolver_type=resolver.BUILTIN_REF if reference else resolver.AUTO,
            experimental_preserve_all_tensors=reference,
            num_threads=1,
        )
        made.allocate_tensors()
    except (ValueError, RuntimeError, OSError) as error:
        raise ConfigError(f"{model}: no TensorFlow Lite model ({str(error).splitlines()[0]})") from error
    except (AttributeError, ImportError) as error:
        hint = "tflite-runtime 2.14 needs NumPy 1; install 'numpy<2' or ai-edge-litert"
        raise ToolError(f"the TensorFlow Lite interpreter does not start: {error}", hint) from error
    return made


def backend() -> str:
    """Name and version of the installed interpreter."""
    name = _module().__name__.split(".")[0]
    return f"{name} {getattr(importlib.import_module(name), '__version__', '')}".strip()


def _module() -> Any:
    for name in PACKAGES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ToolError("no TensorFlow Lite interpreter is installed", "pip install 'tritmcu[tflite]'")


def predict(model: Path, x: Int8Array) -> Int8Array:
    """int8 (n, *output shape) of what the interpreter's reference kernels answer to x int8 (n, *input shape), before a
    closing softmax. Errors as `interpreter`."""
    _, logits = tflite.checked(model)
    engine = interpreter(model)
    source = engine.get_input_details()[0]
    out = []
    for sample in x:
        engine.set_tensor(source["index"], sample.reshape(source["shape"]))
        engine.invoke()
        out.append(engine.get_tensor(logits)[0].copy())
    return np.asarray(out, dtype=np.int8)
