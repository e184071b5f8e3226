"""plan: a stored network is taken from a folder of ours; of anything else is said what it is and what to do with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.core import store
from pipeline.core.errors import ConfigError
from pipeline.workflow.plan import plan_model
from tests.support import tiny


@pytest.mark.parametrize(
    ("file", "what", "instead"),
    [
        ("my.h5", "a Keras file", "tritmcu import "),
        ("my.keras", "a Keras file", "tritmcu import "),
        ("MY.TFLITE", "a TensorFlow Lite file", "tritmcu import "),
        ("notes.txt", "a file", "name the folder of a stored network"),
    ],
)
def test_a_file_of_another_tool_is_named_and_never_to_be_deleted(tmp_path, file, what, instead):
    (tmp_path / file).write_bytes(b"precious")
    with pytest.raises(ConfigError) as caught:
        plan_model(tmp_path / file, "digits", "host", tmp_path)
    assert f"{file}: is {what}" in str(caught.value)
    assert instead in caught.value.hint
    assert "delete" not in caught.value.hint


def test_a_foreign_folder_is_never_to_be_deleted(tmp_path):
    (tmp_path / "meta.json").write_text('{"name": "mine"}', encoding="utf-8")
    with pytest.raises(ConfigError, match="not written by tritmcu") as caught:
        plan_model(tmp_path, "digits", "host", tmp_path)
    assert "delete" not in caught.value.hint


def test_a_network_of_hostile_numbers_is_damaged(tmp_path):
    """Where shapes alone would fit: one value for all channels."""
    model = tiny.qmodel()
    layer = replace(model.layers[0], shift=np.full_like(model.layers[0].shift, 31))
    store.save(tmp_path / "q", replace(model, layers=(layer, *model.layers[1:])), "key")
    with pytest.raises(ConfigError, match=r"q: damaged QModel, .*layer 'stem'"):
        plan_model(tmp_path / "q", "digits", "host", tmp_path)


@pytest.mark.parametrize("change", [{"config": {}}, {"arrays": {}}, {"inputs": ("nobody",)}, {"inputs": ()}])
def test_a_trained_network_that_cannot_be_lowered_is_damaged(tmp_path, change):
    trained = tiny.trained()
    layer = replace(trained.layers[0], **change)
    store.save(tmp_path / "t", replace(trained, layers=(layer, *trained.layers[1:])), "key")
    with pytest.raises(ConfigError, match="t: damaged TrainedModel"):
        plan_model(tmp_path / "t", "digits", "host", tmp_path)
