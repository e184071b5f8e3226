"""subjects: one word means the first that there is of a stored network, the zoo's, a job and a run."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from pipeline.cli import main, runs
from pipeline.core import store
from pipeline.core.errors import ConfigError
from pipeline.workflow import subjects
from tests.support import tiny


@dataclass
class Image:
    """As one was stored that said less of itself."""

    elf: str


def test_a_folder_a_network_of_the_zoo_a_job_and_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store.save(tmp_path / "runs" / "mine" / "qmodel", tiny.qmodel(), "key")
    found = {word: subjects.plan(word, "host", tmp_path / "runs") for word in ("mine", "runs/mine", "digits_laq")}
    assert found["mine"].model.digest == found["runs/mine"].model.digest
    assert found["mine"].name == "tiny"
    assert found["mine"].command("build") == f"`tritmcu build --model {tmp_path / 'runs' / 'mine'}`"
    assert found["runs/mine"].command("build") == "`tritmcu build --model runs/mine`"
    assert found["digits_laq"].job is not None and found["digits_laq"].model is None
    assert found["digits_laq"].command("train") == "`tritmcu train digits_laq`"
    store.save(tmp_path / "zoo" / "imported", tiny.qmodel(), "key")
    assert subjects.plan("imported", "host", tmp_path / "runs").name == "tiny"
    both = subjects.plan("digits_stq_jr", None, tmp_path / "runs")
    assert both.model is not None and both.board.name == both.job.board
    with pytest.raises(ConfigError, match="unknown network, run or job 'mime'; did you mean 'mine'") as caught:
        subjects.plan("mime", "host", tmp_path / "runs")
    assert "digits_stq_jr" in caught.value.hint


def test_model_takes_the_folder_of_a_run(tmp_path):
    store.save(tmp_path / "mine" / "qmodel", tiny.qmodel(), "key")
    words = ["build", "--board", "host", "--dataset", "random", "--model"]
    found = [runs.plan(main.parse([*words, str(place)])) for place in (tmp_path / "mine", tmp_path / "mine" / "qmodel")]
    assert found[0].model.digest == found[1].model.digest == tiny.qmodel().digest
    assert runs.subject(str(tmp_path / "mine"), main.parse(["size", str(tmp_path / "mine")])).called == "mine"


def test_an_image_of_an_earlier_version_is_to_be_built_again(tmp_path):
    store.save(tmp_path / "image", Image("firmware.elf"), "key")
    with pytest.raises(ConfigError, match="image: was built by an earlier version"):
        subjects.built_image(str(tmp_path), None)


def test_a_folder_of_another_noun_is_no_image(tmp_path):
    store.save(tmp_path / "q", tiny.qmodel(), "key")
    assert subjects.built_image(str(tmp_path / "q"), None) is None
