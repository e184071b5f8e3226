"""Answers that devices have given, by the content of what was asked, in a file that is only ever appended to: a run
that was broken off, however it ended, goes on without asking again.

The file: a line that names what answered, then records of a digest, the device's and the twin's logits and a CRC-32.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Int8Array

DIGEST_BYTES = 16
_CRC_BYTES = 4
_FORMAT = "tritmcu answers 1"


class Answer(NamedTuple):
    """What was answered to one input."""

    logits: bytes
    """int8 (classes,) of the device."""
    twin: bytes
    """int8 (classes,) of the twin."""
    is_reused: bool
    """Known from an earlier run."""


class Answers:
    """The answers in a file. key: what gives them, such as the digest of a firmware; those of another key are dropped.

    ConfigError: a damaged file, or one that is something else. A record that a killed process has left unfinished is
    cut off.
    """

    def __init__(self, path: Path, key: str, classes: int) -> None:
        self.path, self._classes = path, classes
        self._known: dict[bytes, Answer] = {}
        header = f"{_FORMAT} {key}\n".encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes() if path.exists() else b""
        if content.startswith(header):
            self._known = dict(self._records(content[len(header) :]))
        elif not (content.startswith(_FORMAT.encode()) or header.startswith(content)):
            raise ConfigError(f"{path}: not a file of answers that tritmcu wrote", "move it away")
        self._file = self._open(header)

    def _open(self, header: bytes) -> io.FileIO:
        """The file, holding the header and the whole records of it."""
        file = self.path.open("ab", buffering=0)
        if self._known:
            file.truncate(len(header) + len(self._known) * self._record_bytes)
        else:
            file.truncate(0)
            file.write(header)
        return file

    @property
    def _record_bytes(self) -> int:
        return DIGEST_BYTES + 2 * self._classes + _CRC_BYTES

    def _records(self, content: bytes) -> Iterator[tuple[bytes, Answer]]:
        size, n = self._record_bytes, self._classes
        for number in range(len(content) // size):
            record = content[number * size : (number + 1) * size]
            body = record[:-_CRC_BYTES]
            if zlib.crc32(body) != int.from_bytes(record[-_CRC_BYTES:], "little"):
                raise ConfigError(
                    f"{self.path}: damaged, record {number}", "remove it: the answers are asked for again"
                )
            logits = body[DIGEST_BYTES:]
            yield body[:DIGEST_BYTES], Answer(logits[:n], logits[n:], is_reused=True)

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._known

    def __getitem__(self, digest: bytes) -> Answer:
        return self._known[digest]

    def __len__(self) -> int:
        return len(self._known)

    def add(self, digest: bytes, logits: Int8Array, twin: Int8Array) -> None:
        """Keeps what was answered, each (classes,), to the input of this digest. Several threads may add at once."""
        answer = Answer(logits.tobytes(), twin.tobytes(), is_reused=False)
        body = digest + answer.logits + answer.twin
        self._file.write(body + zlib.crc32(body).to_bytes(_CRC_BYTES, "little"))
        self._known[digest] = answer

    def close(self) -> None:
        """Closes the file. Safe to call twice."""
        self._file.close()


def digest_of_input(x: Int8Array) -> bytes:
    """DIGEST_BYTES bytes that tell one input of a network from all others."""
    return hashlib.blake2b(np.ascontiguousarray(x).tobytes(), digest_size=DIGEST_BYTES).digest()
