"""The whole way after training in seconds: a toy network, the host board, clean and attacked samples."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pipeline.config import board
from pipeline.core.nouns import AttackInfo, Dataset, Split
from pipeline.stages import build, flash, lower, render, report, stream
from pipeline.stages.report import ReportInputs
from tests.support import tiny

pytestmark = pytest.mark.toolchain


def test_from_a_trained_network_to_the_report(tmp_path):
    host = board.load("host")
    model = lower.lower(tiny.trained())
    x = tiny.samples(model, 30)
    clean = Dataset("toy", model.input, model.classes, {"test": Split(x, np.arange(30) % 10, np.arange(30))})
    info = AttackInfo("noise", "linf", 3 / 255, "3/255", 3)
    moved = Split(np.clip(x.astype(int) + 3, -128, 127).astype(np.int8), np.arange(30) % 10, np.arange(30))
    attacked = dataclasses.replace(clean, splits={"test": moved}, parent=clean.digest, attack=info)

    sources = render.render(model, host)
    image = build.build(sources, host, tmp_path / "image")
    device = flash.flash(image, tmp_path / "image", host)
    assert device.digest == sources.digest
    trace = stream.stream(model, (clean, attacked), image, tmp_path / "image", host, tmp_path / "stream")
    stream.check(trace, tmp_path / "stream")
    inputs = ReportInputs(
        job={"name": "toy", "description": "", "seed": 1},
        board=host,
        qmodel=model,
        sources=sources,
        image=image,
        trace=trace,
        datasets=(clean, attacked),
    )
    numbers = report.report(inputs, tmp_path)

    assert numbers["agreement"]["device_twin_mismatches"] == 0
    assert numbers["agreement"]["samples"] == 60
    assert numbers["accuracy"]["attacks"][0]["change_lsb"] == 3
    assert len({numbers["digests"][noun] for noun in ("sources", "image", "device")}) == 1
    assert sum(numbers["memory"]["flash_groups"].values()) == numbers["memory"]["flash_bytes"]
    assert numbers["memory"]["arena_touched_bytes"] <= numbers["memory"]["arena_bytes"]
    assert numbers["memory"]["canaries_ok"]
    assert len(np.unique(trace.datasets[0].logits, axis=0)) > 10
    assert (tmp_path / "report.html").stat().st_size > 10_000
