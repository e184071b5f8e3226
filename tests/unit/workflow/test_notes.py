"""Notes: what they count agrees with its number."""

from __future__ import annotations

import numpy as np

from pipeline.core.nouns import AttackResult, Dataset, Split
from pipeline.workflow import notes
from tests.support import tiny


def test_a_note_counts_one_thing_as_one():
    model = tiny.qmodel()
    split = Split(tiny.samples(model, 1), np.zeros(1, np.int64), np.arange(1))
    data = Dataset("tiny", model.input, model.classes, {"test": split})
    one = notes.attacks(AttackResult((data, data), (), {}, {}))
    assert one == "1 attack on 1 sample"
    assert notes.attacks(AttackResult((data, data, data), (), {}, {})) == "2 attacks on 1 sample"
