"""docs/COMPARISON.md is what the stored numbers say, and shows no card of other attacks."""

from __future__ import annotations

import numpy as np
import pytest

from bench import comparison, other_inputs, trial_networks
from bench.comparison import SWEEP
from pipeline.analysis.trials import Record
from pipeline.core import text
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import Dataset, Split
from pipeline.robustness import suites
from pipeline.workflow import zoo
from tests.support import tiny


def test_the_committed_page_and_figures_are_the_generated_ones():
    assert comparison.PAGE.read_text() == comparison.page(), "run make comparison"
    for path, drawn in ((comparison.PARETO, comparison.pareto()), (comparison.REGIMES, comparison.regimes())):
        assert path.read_text().split() == drawn.split(), "run make comparison"


def test_a_card_of_other_attacks_is_refused(monkeypatch):
    monkeypatch.setattr(suites, "VERSION", suites.VERSION + 1)
    with pytest.raises(
        ConfigError, match=r"zoo/cifar10_\w+: measured with version 1 of the attacks, .* version 2"
    ) as e:
        comparison.page()
    assert e.value.hint.startswith("python -m bench.zoo measure cifar10_")


def test_a_row_without_training_names_the_command_and_one_with_it_its_numbers(monkeypatch):
    trial = SWEEP.trials()[0]
    row = f"| {trial.study}: {trial.row} | {trial.job.dataset.name} | "
    monkeypatch.setattr(type(SWEEP), "records", lambda self: [])
    assert f'{row}not trained yet: `python -m bench.comparison train --study "{trial.study}"`' in comparison.page()
    point = {"accuracy": 0.5, "interval": (0.4, 0.6), "n": 100}
    robust = tuple({"data": data, **point} for data in ("pgd eps=1/255", "pgd eps=8/255", "quick eps=8/255"))
    known = {"study": trial.study, "row": trial.row, "seed": trial.seed, "key": trial.key}
    done = Record(**known, clean=point, robust=robust, tables_bytes=2048)
    monkeypatch.setattr(type(SWEEP), "records", lambda self: [done])
    shares = f"{row}50.0 | 50.0 at 1/255 | 50.0 at 8/255 | 50.0 at 8/255, quick, 100 | 2.0"
    monkeypatch.setattr(trial_networks, "stored", lambda: {})
    assert f"{shares} | – | – |" in comparison.page()
    paper_like = {"clean": 0.75, "fgsm": 0.5, "pgd": 0.25, "square": 0.625, "worst": 0.125}
    found = {"instructions": 1234567, "arena_bytes": 1024, "ram_extra_bytes": 512, "paper_like": paper_like}
    monkeypatch.setattr(trial_networks, "stored", lambda: {trial.key: found})
    page = comparison.page()
    assert f"{shares} | {text.count(1234567)} | 1.5 |" in page
    assert f"| {trial.study}: {trial.row} | 75.0 | 50.0 | 25.0 | 62.5 | 37.5 | 62.5 | 12.5 |" in page
    assert f"points at 1/255, {trial.study}: {trial.row} |" in page


def test_a_network_that_the_zoo_has_not_yet_says_how_it_gets_there(monkeypatch):
    monkeypatch.setattr(comparison, "SYSTEMS", (*comparison.SYSTEMS, comparison.System("a new one", "new")))
    assert (
        "| a new one | – | not in the zoo yet: `make zoo-add RUN=runs/new` | – | – | – | – | – | – |"
        in comparison.page()
    )
    assert [system.network for system in comparison.present()].count("new") == 0


def test_what_is_not_measured_says_how_it_is(monkeypatch):
    known = other_inputs.stored()
    left = {key: found for key, found in known.items() if key != other_inputs.key(zoo.card("kws_dscnn_stq"))}
    assert len(left) < len(known)
    monkeypatch.setattr(other_inputs, "stored", lambda: left)
    assert "| DS-CNN, ternary, STQ | not measured yet: `make comparison` | – | – |" in comparison.page()


def test_the_paper_like_regime_attacks_the_first_samples_at_one_grey_level():
    model, x = tiny.qmodel(), tiny.samples(tiny.qmodel(), 110)
    y = np.zeros(110, np.int64)
    data = Dataset("cifar10", model.input, model.classes, {"test": Split(x, y, np.arange(110))})
    found = comparison.attacked(model, data)
    assert set(found) == {"clean", "fgsm", "pgd", "square", "worst"}
    assert found["worst"] <= min(found["fgsm"], found["pgd"], found["square"]) <= found["clean"]
    changed = Split(np.concatenate([x[:100], x[:10]]), y, np.arange(110))
    assert comparison.attacked(model, Dataset("cifar10", model.input, model.classes, {"test": changed})) == found
