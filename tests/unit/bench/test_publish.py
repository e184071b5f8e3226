"""What becomes of measured and missing figures of CMSIS-NN, and what a run of one core leaves of the stored table."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bench import publish

SHAPE = "conv2d 3x3 32x32x16 -> 32x32x16"


def found(**more: int) -> dict[str, Any]:
    """Results of a network of one layer."""
    row = {"name": "net/conv", "core": "cortex-m4f", "shape": SHAPE, "instructions": 5, **more}
    return {"compiler": "gcc", "layers": [row], "networks": {"cortex-m4f": {"net": {"instructions": 5, **more}}}}


def test_a_measured_figure_is_kept() -> None:
    results = publish.with_recorded(found(cmsis_nn_instructions=7))
    (layer,), network = results["layers"], results["networks"]["cortex-m4f"]["net"]
    assert (layer["cmsis_nn_instructions"], layer["cmsis_nn_source"]) == (7, "measured")
    assert (network["cmsis_nn_instructions"], network["cmsis_nn_source"]) == (7, "measured")


def test_a_missing_figure_is_the_recorded_one_of_that_shape() -> None:
    results = publish.with_recorded(found())
    known = publish.recorded()["instructions"]["cortex-m4f"][SHAPE]
    assert results["layers"][0]["cmsis_nn_instructions"] == known
    assert results["networks"]["cortex-m4f"]["net"]["cmsis_nn_instructions"] == known
    assert {results["layers"][0]["cmsis_nn_source"], results["networks"]["cortex-m4f"]["net"]["cmsis_nn_source"]} == {
        "recorded"
    }


def test_an_unknown_shape_has_no_figure() -> None:
    results = found()
    results["layers"][0]["shape"] = "conv2d 7x7 1x1x1 -> 1x1x1"
    results = publish.with_recorded(results)
    assert results["layers"][0]["cmsis_nn_source"] == "none"
    assert results["networks"]["cortex-m4f"]["net"]["cmsis_nn_instructions"] is None


def test_recorded_figures_say_how_they_were_taken() -> None:
    assert "GCC" in publish.recorded()["conditions"]


def test_one_core_replaces_only_its_own_rows(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "RESULTS", tmp_path / "kernels.json")
    other = {**found()["layers"][0], "core": "cortex-m3", "instructions": 9}
    stored = {"compiler": "old", "layers": [other, *found()["layers"]], "networks": {"cortex-m3": {"net": {}}}}
    publish.RESULTS.write_text(json.dumps(publish.laid_out(stored)))
    results = publish.merged({**found(), "layers": [{**found()["layers"][0], "instructions": 4}]})
    assert [(row["core"], row["instructions"]) for row in results["layers"]] == [("cortex-m4f", 4), ("cortex-m3", 9)]
    assert list(results["networks_by_core"]) == ["cortex-m4f", "cortex-m3"]
    assert results["networks"] == found()["networks"]["cortex-m4f"]


def test_what_was_measured_of_cmsis_nn_outlives_a_run_without_it(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "RESULTS", tmp_path / "kernels.json")
    publish.RESULTS.write_text(json.dumps(publish.laid_out(publish.with_recorded(found(cmsis_nn_instructions=7)))))
    fresh = found()
    other_shape = {**fresh["layers"][0], "name": "net/new"}
    results = publish.merged(publish.with_recorded({**fresh, "layers": [*fresh["layers"], other_shape]}))
    figures = {row["name"]: (row["cmsis_nn_instructions"], row["cmsis_nn_source"]) for row in results["layers"]}
    recorded = publish.recorded()["instructions"]["cortex-m4f"][SHAPE]
    assert figures == {"net/conv": (7, "measured"), "net/new": (recorded, "recorded")}
    assert results["networks"]["net"]["cmsis_nn_source"] == "measured"
