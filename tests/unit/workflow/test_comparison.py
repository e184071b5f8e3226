"""comparison: one firmware of each network is built and run; networks of different samples are refused."""

from __future__ import annotations

from contextlib import closing

import pytest

from pipeline.cli import console
from pipeline.core.errors import ConfigError
from pipeline.workflow import comparison, subjects


def compared(words: list[str], folder, **options):
    plans = [subjects.plan(word, "host", folder, **options) for word in words]
    with closing(console.PlainDisplay()) as display:
        return comparison.compare(plans, folder, display)


def test_networks_of_different_samples_are_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match="networks of different inputs: 'digits") as caught:
        compared(["digits_stq_jr", "kws_dscnn_stq"], tmp_path)
    assert "takes 8x8x1 samples of digits" in str(caught.value) or "samples of digits, 'kws" in str(caught.value)
    assert "samples of speech_commands" in str(caught.value)
    assert not list(tmp_path.iterdir()), "nothing was built"


def test_a_network_is_built_run_and_its_card_believed(tmp_path):
    (one,) = compared(["digits_stq_jr"], tmp_path, limit=20)
    assert (one.clean.n, one.board, one.kernels) == (20, "host", "auto")
    assert one.ticks is not None and set(one.layers) >= {"conv1", "logits"}
    assert one.flash["weights"] > 0 and one.ram["activations"] > 0
    assert any("8/255" in attack for attack in one.robust)
    assert not (tmp_path / "digits_stq_jr-host").exists(), "nobody's run is touched"
