"""What the machine says of its processor."""

from __future__ import annotations

import pytest

from pipeline.core import processor


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "processor : 0\nmodel name : A\nflags : sse2 avx512_bf16\n\nprocessor : 1\nflags : more",
            {"sse2", "avx512_bf16"},
        ),
        ("processor : 0\nFeatures : fp bf16\n", {"fp", "bf16"}),
        (None, set()),
    ],
)
def test_instruction_sets_are_those_of_the_first_core(tmp_path, monkeypatch, text, found):
    monkeypatch.setattr(processor, "INFO", tmp_path / "cpuinfo")
    if text is not None:
        processor.INFO.write_text(text)
    assert processor.instruction_sets() == found
