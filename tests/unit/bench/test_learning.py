"""The goals are read from the cards, histories are kept by name, the picture shows what is stored."""

from __future__ import annotations

import pytest

from bench import learning
from pipeline.workflow import zoo

HISTORY = [{"epoch": epoch, "loss": 1.5, "accuracy": 0.5, "validation_accuracy": 0.123456} for epoch in (1, 2)]


def card(clean: float, worst: float, kib: float = 20, suite: str = "strict", **changed: object) -> zoo.Card:
    known = zoo.card("cifar10_resnet8_nfgsm").model_dump()
    point = {"accuracy": worst, "interval": (worst, worst), "n": 1000, "eps": "8/255", "suite": suite}
    accuracy = {"accuracy": clean, "interval": (clean, clean), "n": 10000}
    return zoo.Card(**{**known, "clean": accuracy, "worst": [point], "tables_bytes": round(1024 * kib), **changed})


@pytest.mark.parametrize(
    ("clean", "worst", "kib", "missing"),
    [
        (0.66, 0.31, 99, 0.0),
        (0.64, 0.31, 99, 1.0),
        (0.64, 0.28, 100, 3.0),
        (0.66, 0.31, 101, None),
    ],
)
def test_what_a_network_lacks(clean: float, worst: float, kib: float, missing: float | None) -> None:
    assert learning.GOALS[0].missing(card(clean, worst, kib)) == pytest.approx(missing)


def test_a_network_that_was_not_attacked_at_the_goals_eps_is_no_candidate() -> None:
    assert learning.GOALS[2].missing(card(0.8, 0.6)) is None
    assert learning.GOALS[3].missing(card(0.84, 0.0)) == pytest.approx(1.0)


def test_the_strict_suite_counts_where_there_are_two() -> None:
    both = card(0.5, 0.2)
    quick = both.worst[0].model_copy(update={"suite": "quick", "accuracy": 0.3})
    both = both.model_copy(update={"worst": (quick, *both.worst)})
    found = learning.worst(both, "8/255")
    assert found is not None and found.suite == "strict"


def test_the_table_names_the_network_that_lacks_least() -> None:
    cards = [
        card(0.5, 0.2, name="first"),
        card(0.6, 0.2, name="second"),
        card(0.9, 0.9, name="float", method="8-bit after training"),
    ]
    line = next(line for line in learning.section(cards) if line.startswith("| robust, at most 24 KiB"))
    assert "[second]" in line and line.endswith("| 5.0 |")


@pytest.mark.parametrize(
    ("method", "weights"),
    [
        ("ternary, STQ, JR 0.001", "ternary"),
        ("ternary with 3-, 4- and 8-bit layers, STQ, with noise", "ternary with 3-, 4- and 8-bit layers"),
    ],
)
def test_the_table_says_which_layers_are_wider(method: str, weights: str) -> None:
    line = next(line for line in learning.section([card(0.6, 0.2, method=method)]) if line.startswith("| robust"))
    assert f"), {weights} |" in line


def test_a_worst_case_of_another_suite_is_a_bound() -> None:
    """What strict would leave is less."""
    for worst, words in ((0.2, "at least 5.0"), (0.3, "at least 0.0")):
        found = learning.section([card(0.6, worst, suite="quick")])
        line = next(line for line in found if line.startswith("| robust, at most 24 KiB"))
        assert line.endswith(f"| {words} |")


def test_the_committed_picture_shows_what_is_stored() -> None:
    """Names and epochs; where fonts differ, coordinates do too."""
    committed = learning.PICTURE.read_text()
    for drawn in (committed, learning.picture()):
        assert all(name in drawn for name in learning.histories())
        assert drawn.count("<use ") == learning.picture().count("<use ")


def test_histories_are_kept_by_name_and_drawn(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(learning, "HISTORIES", tmp_path / "learning.json")
    learning.keep("b", HISTORY)
    learning.keep("a", [*HISTORY, {**HISTORY[0], "epoch": 3, "validation_robust_accuracy": 0.25}])
    learning.keep("b", HISTORY[:1])
    found = learning.histories()
    assert [*found] == ["a", "b"] and len(found["b"]) == 1
    assert found["a"][0]["validation_accuracy"] == 0.1235
    assert learning.picture().count("<svg") == 1
