"""Digests tell apart what is not the same."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.core.digest import digest_of

FLAT = np.arange(6, dtype=np.int8)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (FLAT.reshape(2, 3), FLAT.reshape(3, 2)),
        (FLAT, FLAT.reshape(6, 1)),
        (FLAT, FLAT.astype(np.uint8)),
        (FLAT, FLAT.tobytes()),
        (FLAT, FLAT[::-1]),
        ([1, 23], [12, 3]),
        (["a", "bc"], ["ab", "c"]),
        ([[1], 2], [[1, 2]]),
        (b"1", "1"),
        (1, "1"),
        (1, 1.0),
        (1, True),
        (None, ""),
        ({"a": 1}, {"b": 1}),
    ],
)
def test_what_differs_has_another_digest(one, other):
    assert digest_of(one) != digest_of(other)


def test_layout_in_memory_and_order_of_a_mapping_do_not_count():
    wide = np.arange(12, dtype=np.int8).reshape(3, 4)
    assert digest_of(wide[:, ::2]) == digest_of(wide[:, ::2].copy())
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
