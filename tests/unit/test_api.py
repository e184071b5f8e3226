"""The package from Python: the names `import pipeline` offers, over stored runs in a folder of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import pipeline
from pipeline.config.budget import CostBudget
from pipeline.core import store
from pipeline.network import twin
from pipeline.workflow.workflow import Workflow
from tests.support import tiny


class Recorder:
    """A Display that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def start(self, stage, *_):
        self.told.append(("start", stage))

    def progress(self, *_): ...

    def finish(self, stage, *_):
        self.told.append(("finish", stage))

    def skip(self, stage, *_):
        self.told.append(("skip", stage))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder that holds the tiny network in zoo/."""
    monkeypatch.chdir(tmp_path)
    store.save(tmp_path / "zoo" / "mine", tiny.qmodel(), "key")
    return tmp_path


def loaded(**options):
    return pipeline.load("mine", **{"board": "host", "dataset": "random", "display": pipeline.QUIET, **options})


def test_every_name_is_there_and_no_other():
    assert all(hasattr(pipeline, name) for name in pipeline.__all__)
    assert set(pipeline.__all__) <= set(dir(pipeline))
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        _ = pipeline.lode


def test_a_notebook_shows_a_network_in_few_words(here):
    network = loaded()
    assert repr(network) == "<Network 'tiny' on 'host'>"
    assert "array" not in repr(network.model) and "QLayer(name='stem', kind='conv2d'" in repr(network.model)


def test_known_names(here):
    assert {"mine", "digits_stq_jr", "digits"} <= set(pipeline.networks())
    assert {"host", "uno"} <= set(pipeline.boards())


def test_predict_is_the_twin_for_lattice_points_and_for_the_real_values_they_stand_for(here):
    network = loaded()
    x = network.data.splits["test"].x[:5]
    expected = twin.run(tiny.qmodel(), x)
    assert np.array_equal(network.predict(x), expected)
    assert np.array_equal(network.predict(network.model.input.quantization.dequantize(x)), expected)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda x: x[0], "x int8"),
        (lambda x: x[:0], r"x int8 \(0,"),
        (lambda x: x.astype(np.uint8), "x uint8"),
        (lambda x: np.where(np.arange(x.size).reshape(x.shape) == 3, np.nan, x), "holds NaN"),
    ],
)
def test_other_samples_are_refused_in_one_line(here, change, what):
    network = loaded()
    with pytest.raises(pipeline.ConfigError, match=what):
        network.predict(change(network.data.splits["test"].x))


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"network": "mime"}, "unknown network, run or job 'mime'; did you mean 'mine'"),
        ({"limit": 0}, "limit 0: not a positive integer"),
        ({"network": "digits", "dataset": "digits"}, "dataset 'digits': a job names its own data set"),
        ({"attacks": [{"name": "pgd"}]}, "attacks.0"),
        ({"board": "unno"}, "unknown board 'unno'; did you mean 'uno'"),
    ],
)
def test_what_is_not_known_is_refused(here, options, what):
    with pytest.raises(pipeline.ConfigError, match=what):
        pipeline.load(**{"network": "mine", "dataset": "random", **options})


def test_a_job_that_is_not_trained_names_the_command_and_trains_nothing(here):
    with pytest.raises(pipeline.ConfigError) as caught:
        _ = pipeline.load("digits", board="host", display=pipeline.QUIET).model
    assert caught.value.hint == "run this first: `tritmcu train digits`"


@pytest.mark.toolchain
def test_a_network_is_attacked_built_and_streamed_while_a_display_watches(here):
    watching = Recorder()
    network = loaded(limit=6, attacks=[{"name": "fgsm", "eps": ["0.1"]}], display=watching)
    attacked = network.attack()
    assert [data.label for data in attacked.datasets] == ["clean", "fgsm eps=0.1"]
    assert len(attacked.datasets[1].splits["test"]) == 6
    trace = network.stream()
    assert watching.told.count(("finish", "attack")) == 1 and ("skip", "attack") in watching.told
    assert [stage for what, stage in watching.told if what == "start"] == [
        "attack", "render", "build", "flash", "stream"
    ]  # fmt: skip
    logits = network.predict(attacked.datasets[1].splits["test"].x)
    assert np.array_equal(trace.datasets[1].logits, logits)
    with pytest.raises(pipeline.ConfigError, match="budget: instructions: the board counts us"):
        replace(network, plan=replace(network.plan, budget=CostBudget(instructions=9))).stream()
    sizes = network.size()
    assert sizes.flash_bytes > 0 and sizes.board == "host"


def test_export_writes_a_folder_and_says_how_to_build_it(here):
    network = loaded()
    assert network.export("firmware") == "cmake -G Ninja -B build && cmake --build build"
    assert (here / "firmware" / "generated" / "model.c").is_file()
    assert "cmake --build build" in network.export(here / "library", "library")
    assert (here / "library" / "src" / "tiny_model.h").is_file()
    with pytest.raises(pipeline.ConfigError, match="firmware: exists and is not empty"):
        network.export("firmware")
    with pytest.raises(pipeline.ConfigError, match="unknown format 'make'"):
        network.export("other", "make")


def test_a_network_that_takes_more_than_its_job_allows(here, monkeypatch):
    """Once the report is written, as on the command line."""
    layer = {"name": "stem", "instructions": {"max": 8}}
    written = {"latency": {"unit": "instructions", "instructions": {"max": 11}, "per_layer": [layer]}}
    monkeypatch.setattr(Workflow, "report", lambda work: written)
    network = loaded()
    assert network.report() is written
    enough, less = (replace(network.plan, budget=CostBudget(instructions=amount)) for amount in (11, 10))
    assert replace(network, plan=enough).report() is written
    with pytest.raises(pipeline.BudgetError, match="instructions: 11, 1 over the budget of 10; largest parts: stem 8"):
        replace(network, plan=less).report()


def test_nothing_is_not_compared(here):
    with pytest.raises(pipeline.ConfigError, match="compare: nothing"):
        pipeline.compare([])


def test_by_default_progress_is_written_to_standard_error(here, capsys):
    loaded(display=None, attacks=[{"name": "fgsm", "eps": ["0.1"]}], limit=2).attack()
    shown = capsys.readouterr()
    assert "attack   started" in shown.err and shown.out == ""
    loaded(attacks=[{"name": "fgsm", "eps": ["0.2"]}], limit=2).attack()
    assert capsys.readouterr().err == ""
