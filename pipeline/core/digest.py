"""Digests of values by content: what keys, image digests and file comparisons are made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


def digest_of(*parts: Any) -> str:
    """SHA-256 hex digest (64 characters) of the parts, by content: independent of process, platform and dict order.

    Accepts None, bool, int, float, str, bytes, NumPy arrays, sequences, mappings with string keys and dataclasses.
    """
    h = hashlib.sha256()
    for part in parts:
        _feed(h, part)
    return h.hexdigest()


def _feed(h: Any, part: Any) -> None:
    if isinstance(part, np.ndarray):
        a = np.ascontiguousarray(part)
        h.update(f"a{a.dtype.str}{a.shape}".encode() + a.tobytes())
    elif isinstance(part, bytes):
        h.update(b"b%d:" % len(part) + part)
    elif is_dataclass(part) and not isinstance(part, type):
        h.update(type(part).__name__.encode())
        _feed(h, {f.name: getattr(part, f.name) for f in fields(part) if f.metadata.get("digest", True)})
    elif isinstance(part, Mapping):
        h.update(b"m%d:" % len(part))
        for key in sorted(part):
            _feed(h, key)
            _feed(h, part[key])
    elif isinstance(part, (list, tuple)):
        h.update(b"s%d:" % len(part))
        for item in part:
            _feed(h, item)
    else:
        if isinstance(part, np.generic):
            part = part.item()
        h.update((json.dumps(part) + ";").encode())
