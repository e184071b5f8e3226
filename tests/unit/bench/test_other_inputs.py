"""Recordings attacked and unfamiliar inputs: what is counted."""

from __future__ import annotations

import numpy as np
import pytest

from bench import other_inputs
from pipeline.core.nouns import Split
from pipeline.network import twin
from pipeline.workflow import zoo
from tests.support import tiny


@pytest.mark.parametrize(
    ("higher", "lower", "share"),
    [([3, 4], [1, 2], 1.0), ([1, 2], [3, 4], 0.0), ([2], [1, 2, 3], 0.5), ([5, 5], [5], 0.5), ([1, 3], [2, 2], 0.5)],
)
def test_auroc_counts_pairs_and_half_of_ties(higher, lower, share):
    assert other_inputs.auroc(np.array(higher), np.array(lower)) == share
    assert other_inputs.auroc(np.array(lower), np.array(higher)) == 1 - share


def test_inputs_are_told_apart_by_the_largest_logit():
    model = tiny.qmodel()
    x = tiny.samples(model, 60)
    largest = twin.run(model, x).max(axis=1)
    order = np.argsort(largest)
    low, high = x[order[:30]], x[order[30:]]
    found = other_inputs.told_apart(model, Split(high, np.zeros(30, np.int64), np.arange(30)), low)
    assert found["auroc"] == other_inputs.auroc(largest[order[30:]], largest[order[:30]]) > 0.5
    assert found["familiar_logit"] == largest[order[30:]].mean() > found["unfamiliar_logit"]
    assert (found["familiar"], found["unfamiliar"]) == (30, 30)


def test_only_new_networks_are_measured_and_old_results_go(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(other_inputs, "STORED", tmp_path / "other.json")
    monkeypatch.setattr(
        other_inputs, "MEASURED", {"speech_commands": lambda model, _: done.append(model.name) or {"a": 1}}
    )
    first, second = zoo.card("kws_dscnn_stq"), zoo.card("kws_dscnn_float")
    other_inputs.measure([first], lambda *_: None)
    other_inputs.measure([first, second], lambda *_: None)
    assert len(done) == 2 and set(other_inputs.stored()) == {other_inputs.key(first), other_inputs.key(second)}
    other_inputs.measure([second], lambda *_: None)
    assert len(done) == 2 and set(other_inputs.stored()) == {other_inputs.key(second)}


def test_the_stored_results_say_what_the_page_shows():
    found = list(other_inputs.stored().values())
    sound, images = [one for one in found if "clean" in one], [one for one in found if "auroc" in one]
    assert len(sound) + len(images) == len(found) and sound and images
    for one in sound:
        sigma = {other_inputs.sigma_key(name, eps) for name in ("pgd", "square") for eps in other_inputs.SIGMA}
        assert set(one) == {"clean", *other_inputs.SNR, *sigma}
        assert one["30"]["accuracy"] <= one["40"]["accuracy"] <= one["clean"]["accuracy"]
        for name in ("pgd", "square"):
            small, large = (one[other_inputs.sigma_key(name, eps)]["accuracy"] for eps in other_inputs.SIGMA)
            assert large <= small <= one["clean"]["accuracy"]
        assert {point["n"] for point in one.values()} == {other_inputs.RECORDINGS}
    for one in images:
        assert 0 <= one["auroc"] <= 1 and one["familiar"] == other_inputs.FAMILIAR
