"""The ablation: its table holds valid jobs, its results are stored run by run, and RESULTS.md is what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import results, sweeps
from bench.ablation import ABLATION
from bench.results import Difference, Measured, Share
from pipeline.analysis.trials import Record
from pipeline.config.sweep import Row
from pipeline.robustness import suites


def test_rows_that_differ_after_training_share_it():
    trials = [t for t in ABLATION.trials() if t.study == "digits" and t.seed == 1]
    same = [trial.training for trial in trials if trial.row.startswith("8 bits")]
    assert len(same) > 3 and len(set(same)) == 1


def test_a_row_is_trained_at_the_bits_another_one_chose():
    trials = ABLATION.trials()
    trial = next(t for t in trials if t.source and t.seed == 2)
    source = next(t for t in trials if t.key == trial.source)
    assert source.seed == 2 and source.job.layerwise is not None
    bits = {"conv1": 8, "conv2": 3}
    assert trial.at(bits).model.layer_bits == bits
    assert trial.at(bits).train == trial.job.train


def test_the_committed_results_are_the_generated_ones():
    assert results.PAGE.read_text() == results.page(), "run make results"


def test_stored_runs_belong_to_rows_of_the_table():
    known = {trial.key: (trial.study, trial.row, trial.seed) for trial in ABLATION.trials()}
    runs = ABLATION.records()
    assert runs
    for run in runs:
        assert known.get(run.key) == (run.study, run.row, run.seed)
        low, high = run.clean.interval
        assert low <= run.clean.accuracy <= high


def test_a_difference_counts_when_its_interval_does_not_hold_zero():
    small = results.difference(Share(520, 1000), Share(500, 1000))
    assert (round(small.points, 6), small.sign) == (2.0, 0)
    large = results.difference(Share(500, 1000), Share(620, 1000))
    assert (round(large.points, 6), large.sign) == (-12.0, -1)
    # 1.96 sqrt(.5 .5 / 1000 + .62 .38 / 1000)
    assert large.spread == pytest.approx(4.319, abs=1e-3)
    assert str(large) == "**\u221212.0 ± 4.3**"
    assert str(Difference(1.0, 2.0)) == "+1.0 ± 2.0"


def run(row: str, clean: float, robust: float, size: int, n: int = 1000) -> Record:
    point = {"interval": (0, 1), "n": n}
    attacked = {"data": "pgd eps=8/255", "accuracy": robust, **point}
    about = {"study": "digits", "row": row, "seed": 1, "key": row}
    return Record(**about, clean={"accuracy": clean, **point}, robust=(attacked,), weights_bytes=size)


def test_each_change_lands_in_the_list_its_numbers_say():
    study = ABLATION.load().study[0]
    rows = {
        "base": run("base", 0.9, 0.5, 100),
        "better": run("better", 0.9, 0.6, 100),
        "mixed": run("mixed", 0.8, 0.6, 100),
        "idle": run("idle", 0.905, 0.49, 100),
        "small": run("small", 0.9, 0.4, 50),
    }
    measured = {
        name: Measured(Row(name=name, against="" if name == "base" else "base"), [content])
        for name, content in rows.items()
    }
    text = "\n".join(results._verdicts(study, measured))
    sections = {part.split("\n")[0]: part for part in text.split("### digits: ")}
    assert "- better, against base: PGD-20 8/255 **+10.0" in sections["what helped"]
    assert "- mixed" in sections["what helped in one column and hurt in another"]
    assert "- idle, against base: no significant difference" in sections["what did not help"]
    assert "- small" in sections["what made it smaller, and its price"]
    assert sum(part.count("against base:") for part in sections.values()) == 4


def test_what_is_kept_is_not_done_again(tmp_path, monkeypatch, capsys):
    """The sweep of one kept row finds its record, shows it and keeps it."""
    first = ABLATION.records()[0].model_copy(update={"attacks": suites.VERSION})
    text = ABLATION.table.read_text()
    text = text[: text.index("[[study.row]]", text.index("[[study.row]]") + 1)].replace("[1, 2, 3]", f"[{first.seed}]")
    (tmp_path / "results").mkdir()
    (tmp_path / "ablation.toml").write_text(text)
    (tmp_path / "results" / "ablation.json").write_text(json.dumps({"runs": [first.model_dump(mode="json")]}))
    monkeypatch.setattr(sweeps, "HERE", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert ABLATION.main([]) == 0
    assert first.row in capsys.readouterr().out
    assert ABLATION.records() == [first]


def test_what_other_attacks_measured_is_kept_until_it_is_done_again_and_the_page_says_so(tmp_path, monkeypatch):
    outdated = ABLATION.records()[0].model_copy(update={"attacks": suites.VERSION - 1})
    monkeypatch.setattr(sweeps, "HERE", tmp_path)
    monkeypatch.chdir(tmp_path)
    table = Path(results.__file__).with_name("ablation.toml")
    (tmp_path / "ablation.toml").write_text(table.read_text())
    (tmp_path / "results").mkdir()
    ABLATION.stored.write_text(json.dumps({"runs": [outdated.model_dump(mode="json")]}))
    run = ABLATION.run()
    assert run.records == {}, "it is to be done"
    ABLATION.keep(run)
    assert ABLATION.records() == [outdated]
    assert results.OUTDATED in results.page()
    ABLATION.stored.write_text(json.dumps({"runs": [{**outdated.model_dump(mode="json"), "attacks": suites.VERSION}]}))
    assert results.OUTDATED not in results.page()
