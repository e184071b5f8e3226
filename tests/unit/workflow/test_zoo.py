"""The zoo: every card says what its network is, and a finished run becomes an entry without anything typed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bench import learning, publish
from bench import zoo as maker
from pipeline.cli import console, main
from pipeline.codegen import select
from pipeline.config import job as jobs
from pipeline.core import paths, store, text
from pipeline.core.errors import ConfigError
from pipeline.core.nouns import QModel
from pipeline.network import twin
from pipeline.workflow import zoo

DATA = paths.data_folder()


def network(name: str) -> QModel:
    return store.load(zoo.shelf() / name, QModel)


def test_every_stored_network_has_a_card():
    assert zoo.names() == tuple(sorted(path.parent.name for path in zoo.shelf().glob("*/meta.json")))


@pytest.mark.parametrize("name", zoo.names())
def test_a_card_is_that_of_its_network(name):
    card, qmodel = zoo.card(name), network(name)
    assert (card.name, card.digest) == (qmodel.name, qmodel.digest) == (name, card.digest)
    assert select.table_bytes(qmodel) == {"weights_bytes": card.weights_bytes, "tables_bytes": card.tables_bytes}
    assert (zoo.shelf() / name / "README.md").read_text() == zoo.page(card)
    assert card.method == zoo.method(jobs.Job.model_validate(dict(qmodel.metrics["job"])))
    for point in (card.clean, *card.robust):
        assert point.interval[0] <= point.accuracy <= point.interval[1]
    stored = publish.cost(publish.read(), name)
    assert (card.cost and card.cost.model_dump()) == stored, "the cost is stale: python -m bench.zoo cost " + name
    if card.retrain:
        assert (paths.RESOURCES / card.retrain.split()[-1]).exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.names())
def test_the_twin_still_answers_as_the_card_says(name):
    """The first test samples: within the interval that the card's accuracy allows them."""
    card, qmodel = zoo.card(name), network(name)
    if card.dataset != "digits" and DATA is None:
        pytest.skip("TRITMCU_DATA is not set")
    job = jobs.Job.model_validate(dict(qmodel.metrics["job"]))
    split = maker.whole(job).splits["test"].take(400)
    accuracy = float(np.mean(twin.run(qmodel, split.x).argmax(axis=1) == split.y))
    spread = 4 * np.sqrt(card.clean.accuracy * (1 - card.clean.accuracy) / len(split))
    assert abs(accuracy - card.clean.accuracy) <= spread + 1e-9


def test_the_listing_is_complete(capsys):
    assert main.main(["zoo", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [card["name"] for card in listed] == list(zoo.names())
    assert main.main(["zoo"]) == 0
    table = capsys.readouterr().out
    for card in listed:
        assert card["name"] in table and card["method"] in table
        assert text.compact(card["cost"]["instructions"]) in table
    assert "not silicon" in table


def test_a_cost_says_what_is_an_estimate():
    cost = zoo.Cost(board="netduinoplus2", instructions=2_000_000, cycles=3_360_000, clock_hz=168_000_000)
    assert cost.milliseconds == 20.0
    assert "executed in the emulator; 20.0 ms at 168 MHz (model, not silicon)" in zoo.cost_line(cost)
    page = zoo.page(zoo.card(zoo.names()[0]).model_copy(update={"cost": None}))
    assert "not silicon" not in page, "nothing is said of what was not measured"


def test_a_network_is_found_by_name_and_by_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = zoo.names()[0]
    assert zoo.find(Path(name)) == zoo.find(Path("zoo") / name) == zoo.shelf() / name
    assert zoo.find(tmp_path) == tmp_path
    with pytest.raises(ConfigError) as caught:
        zoo.find(Path(f"{name}s"))
    assert f"did you mean {name!r}" in str(caught.value)


def test_a_damaged_card_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "shelf", lambda: tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / zoo.CARD).write_text('{"name": "broken"}')
    with pytest.raises(ConfigError, match=r"card\.json"):
        zoo.card("broken")


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ("digits", "ternary, STQ, JR 0.001"),
        ("digits_laq", "8-bit, JR 0.001, then laq within 1.75 x ternary"),
        ("cifar10_resnet8_stq_augmented", "ternary, STQ, started from the MLPerf-Tiny reference"),
        ("cifar10_stq_net", "ternary with 3- and 4-bit layers, STQ, JR 0.001"),
    ],
)
def test_a_recipe_in_words(job, words):
    assert zoo.method(jobs.load(paths.RESOURCES / "jobs" / f"{job}.toml")) == words


@pytest.mark.slow
def test_a_finished_run_becomes_an_entry(tmp_path, monkeypatch):
    """A real run, short: one epoch of a narrow network for digits."""
    toml = (paths.RESOURCES / "jobs" / "digits_laq.toml").read_text()
    small = toml.replace('"digits_laq"', '"small"').replace("weight_bits = 8", "weight_bits = 8\nwidth = 0.25")
    job_file = tmp_path / "small.toml"
    job_file.write_text(small.replace("epochs = 40", "epochs = 1").replace('"8/255", "16/255", "32/255"', '"16/255"'))
    run = tmp_path / "runs" / "small"
    for verb in ("train", "lower"):
        assert main.main([verb, str(job_file), "--run-dir", str(run)]) == 0
    monkeypatch.setattr(zoo, "shelf", lambda: tmp_path / "zoo")
    monkeypatch.setattr(learning, "HISTORIES", tmp_path / "learning.json")
    card = maker.add(run, name="entry", display=console.PlainDisplay())
    assert zoo.card("entry").model_dump() == {**card.model_dump(), "digest": network("entry").digest}
    assert card.clean.n == 359 == card.robust[0].n
    split = maker.whole(jobs.load(job_file)).splits["test"]
    hits = np.sum(twin.run(network("entry"), split.x).argmax(axis=1) == split.y)
    assert card.clean.accuracy == hits / 359 >= card.robust[0].accuracy
    assert (card.epochs, card.retrain, [r.eps for r in card.robust]) == (1, "", ["16/255"])
    assert "layerwise" in network("entry").metrics
    assert [epoch["epoch"] for epoch in learning.histories()["entry"]] == [1]
    shutil.rmtree(run / "trained")
    with pytest.raises(ConfigError, match="nothing stored here"):
        maker.add(run, name="again", display=console.PlainDisplay())
    assert zoo.names() == ("entry",)
