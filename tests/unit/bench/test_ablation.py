"""The ablation: its table holds valid jobs, its results are stored run by run, and RESULTS.md is what they say."""

from __future__ import annotations

import json

import pytest

from bench import ablation, results
from bench.ablation import Run
from bench.results import Difference, Measured, Share


def test_every_row_is_a_job_and_no_two_are_the_same():
    runs = list(ablation.wanted(ablation.load()))
    assert len({run.key for run in runs}) == len(runs)
    for study in ablation.load().study:
        names = [row.name for row in study.row]
        assert len(set(names)) == len(names)
        assert all(row.against in ("", *names) and row.against != row.name for row in study.row)


def test_rows_that_differ_after_training_share_it():
    study = ablation.load().study[0]
    rows = [Run(study, row, 1) for row in study.row if row.name.startswith("8 bits")]
    assert len(rows) > 3
    assert len({ablation.training(run.job()) for run in rows}) == 1


def test_a_row_is_trained_at_the_bits_another_one_chose():
    study = ablation.load().study[0]
    row = next(row for row in study.row if row.bits_of)
    run = Run(study, row, 2)
    assert (run.source.row.name, run.source.seed) == (row.bits_of, 2)
    assert run.source.job().layerwise is not None
    bits = {"conv1": 8, "conv2": 3}
    assert run.job(bits).model.layer_bits == bits
    assert ablation.training(run.job(bits)) != ablation.training(run.job())


def test_tables_are_merged_key_by_key():
    base = {"train": {"epochs": 3, "stochastic": True}, "seed": 1}
    change = {"train": {"stochastic": False}, "layerwise": {"method": "laq"}}
    wanted = {"train": {"epochs": 3, "stochastic": False}, "seed": 1, "layerwise": {"method": "laq"}}
    assert ablation.merged(base, change) == wanted
    assert base["train"]["stochastic"] is True


def test_the_committed_results_are_the_generated_ones():
    assert results.PAGE.read_text() == results.page(), "run make results"


def test_stored_runs_belong_to_rows_of_the_table():
    known = {run.key: (run.study.name, run.row.name, run.seed) for run in ablation.wanted(ablation.load())}
    runs = ablation.stored()
    assert runs
    for run in runs:
        assert known.get(run["key"]) == (run["study"], run["row"], run["seed"])
        low, high = run["clean"]["interval"]
        assert low <= run["clean"]["accuracy"] <= high


def test_a_difference_counts_when_its_interval_does_not_hold_zero():
    small = results.difference(Share(520, 1000), Share(500, 1000))
    assert (round(small.points, 6), small.sign) == (2.0, 0)
    large = results.difference(Share(500, 1000), Share(620, 1000))
    assert (round(large.points, 6), large.sign) == (-12.0, -1)
    # 1.96 sqrt(.5 .5 / 1000 + .62 .38 / 1000)
    assert large.spread == pytest.approx(4.319, abs=1e-3)
    assert str(large) == "**\u221212.0 ± 4.3**"
    assert str(Difference(1.0, 2.0)) == "+1.0 ± 2.0"


def run(row: str, clean: float, robust: float, size: int, n: int = 1000) -> dict:
    point = {"interval": [0, 1], "n": n}
    return {
        "row": row,
        "clean": {"accuracy": clean, **point},
        "robust": [{"eps": "8/255", "accuracy": robust, **point}],
        "weights_bytes": size,
    }


def test_each_change_lands_in_the_list_its_numbers_say():
    study = ablation.load().study[0].model_copy(update={"eps": ("8/255",)})
    rows = {
        "base": run("base", 0.9, 0.5, 100),
        "better": run("better", 0.9, 0.6, 100),
        "mixed": run("mixed", 0.8, 0.6, 100),
        "idle": run("idle", 0.905, 0.49, 100),
        "small": run("small", 0.9, 0.4, 50),
    }
    measured = {
        name: Measured(ablation.Row(name=name, against="" if name == "base" else "base"), [content])
        for name, content in rows.items()
    }
    text = "\n".join(results._verdicts(study, measured))
    sections = {part.split("\n")[0]: part for part in text.split("### digits: ")}
    assert "- better, against base: PGD-20 8/255 **+10.0" in sections["what helped"]
    assert "- mixed" in sections["what helped here and hurt there"]
    assert "- idle, against base: no difference that counts" in sections["what did not help"]
    assert "- small" in sections["what made it smaller, and its price"]
    assert sum(part.count("against base:") for part in sections.values()) == 4


@pytest.mark.slow
def test_a_run_is_trained_attacked_and_not_repeated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ablation, "STORED", tmp_path / "stored.json")
    short = {"train": {"epochs": 1}, "model": {"width": 0.25}, "dataset": {"limit_train": 128}}
    row = ablation.Row(name="short", change=short)
    full = ablation.load().study[0]
    study = full.model_copy(update={"row": (row,), "seeds": (1,), "samples": 20, "eps": ("8/255",)})
    monkeypatch.setattr(ablation, "load", lambda: ablation.Table(study=(study,)))
    monkeypatch.setattr("sys.argv", ["ablation"])
    ablation.main()
    first = json.loads(ablation.STORED.read_text())["runs"]
    assert [(r["row"], r["clean"]["n"], r["robust"][0]["n"]) for r in first] == [("short", 359, 20)]
    monkeypatch.setattr(ablation, "perform", lambda run, results, display: pytest.fail("trained again"))
    ablation.main()
    assert json.loads(ablation.STORED.read_text())["runs"] == first
