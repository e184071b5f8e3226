"""conversion: what a stored network becomes for other tools is checked before it is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.cli import main
from pipeline.core import paths, store
from pipeline.core.errors import MismatchError
from pipeline.core.nouns import QModel
from pipeline.importers import tflite_writer
from pipeline.network import twin
from pipeline.workflow import conversion
from tests.support import networks, tiny


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: an empty one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(paths.USER_VARIABLE, raising=False)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main.main(list(words))
    return code, capsys.readouterr().err


def test_a_network_comes_back_from_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    code, err = run(capsys, "convert", "digits_stq_jr", "--to", "tflite")
    assert code == 0, err
    said = "digits_stq_jr.tflite: 0 differing logits on 256 random inputs; weights of fewer bits are int8 there"
    assert said in err
    assert run(capsys, "import", "digits_stq_jr.tflite", "--name", "back", "--dataset", "digits")[0] == 0
    back, model = store.load(Path("zoo/back"), QModel), networks.stored("digits_stq_jr")
    x = tiny.samples(model, 64)
    np.testing.assert_array_equal(twin.run(back, x).reshape(64, -1), twin.run(model, x).reshape(64, -1))
    code, err = run(capsys, "convert", "back", "--to", "tflite", "--output", "digits_stq_jr.tflite")
    assert (code, "digits_stq_jr.tflite: exists" in err) == (2, True)
    code, err = run(capsys, "convert", "back", "--to", "onnx")
    assert (code, "--to onnx: unknown" in err, "known: tflite" in err) == (2, True, True)


def test_what_cannot_be_said_is_named_with_its_network(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store.save(Path("zoo/mine"), replace(networks.strange_concatenation(), name="mine"), "")
    code, err = run(capsys, "convert", "mine", "--to", "tflite")
    assert (code, "error: network 'mine': layer 'joined'" in err) == (2, True), err
    assert [path.name for path in folder.iterdir()] == ["zoo"]


def test_a_file_that_answers_otherwise_is_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tflite_writer.contents(tiny.qmodel(seed=1))
    monkeypatch.setitem(conversion.FORMS, "tflite", lambda model: other)  # type: ignore[attr-defined]
    with pytest.raises(MismatchError, match=r"network 'tiny': \d+ of 2560 logits of its file differ"):
        conversion.convert(tiny.qmodel(), "tflite", Path("net.tflite"))
    assert list(folder.iterdir()) == []
