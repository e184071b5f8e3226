"""A sample as its differences to another one: an adversarial sample is near its clean one, and few bits are enough."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.core.nouns import Int8Array
from pipeline.network import packing
from pipeline.protocol import wire


@dataclass(frozen=True)
class Delta:
    """A sample as differences to its base."""

    values: Int8Array
    """(elements,) added modulo 256 to the base."""
    bits: int
    """The width that holds them all, one of wire.DELTA_BITS."""

    def piece(self, start: int, most_bytes: int) -> tuple[bytes, int]:
        """(tail of a DELTA that starts at element `start`, first element after it). The tail is never longer than
        most_bytes, and has one element at least."""
        end = min(start + 8 * max(most_bytes, 1) // self.bits, len(self.values))
        return packing.pack(self.values[None, start:end], self.bits).tobytes(), end


def between(x: bytes, base: bytes) -> Delta | None:
    """The differences of two samples (int8 elements as bytes) in the smallest width that holds them; None when that is
    not shorter than the sample itself."""
    values = (np.frombuffer(x, np.uint8) - np.frombuffer(base, np.uint8)).view(np.int8)
    low, high = int(values.min()), int(values.max())
    bits = next((b for b in wire.DELTA_BITS if -(1 << b - 1) <= low and high < 1 << b - 1), 8)
    packed_bytes = -(-len(values) * bits // 8)
    if packed_bytes + wire.fixed_bytes("DELTA") >= len(x) + wire.fixed_bytes("INPUT"):
        return None
    return Delta(values, bits)
